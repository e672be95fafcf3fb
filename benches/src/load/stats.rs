//! Percentiles of latencies, and medians of runs.

use std::time::Duration;

use serde::Serialize;

/// Percentiles of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(clippy::struct_field_names)] // The names end with the unit.
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latency {
    /// Returns the percentiles of these durations, or `None` if there are none.
    pub(crate) fn of(mut durations: Vec<Duration>) -> Option<Self> {
        durations.sort_unstable();
        let max = durations.last()?;
        // This is the smallest value that the given thousandths do not exceed.
        let at = |thousandths: usize| {
            let rank = (durations.len() * thousandths).div_ceil(1_000).max(1);
            milliseconds(durations[rank - 1])
        };
        Some(Self { p50_ms: at(500), p99_ms: at(990), p999_ms: at(999), max_ms: milliseconds(*max) })
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The median of values, the least and the largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns the spread of these values, or `None` if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        // The median of an even number of values is the mean of the two in the middle.
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let latency = Latency::of((1..=1_000).rev().map(Duration::from_millis).collect()).unwrap();
        assert_eq!(latency, Latency { p50_ms: 500.0, p99_ms: 990.0, p999_ms: 999.0, max_ms: 1_000.0 });
        let lone = Latency::of(vec![Duration::from_millis(3)]).unwrap();
        assert_eq!(lone, Latency { p50_ms: 3.0, p99_ms: 3.0, p999_ms: 3.0, max_ms: 3.0 });
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
