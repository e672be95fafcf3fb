//! What is read of the server's metrics: rates between two looks, and latencies.

use std::collections::BTreeMap;

/// Some of the metrics of a process, as they stood at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Orders that came to each status.
    orders: BTreeMap<String, f64>,
    /// How many orders took at most so many seconds from acceptance to confirmation.
    buckets: Vec<(f64, f64)>,
}

impl Sample {
    /// Reads Prometheus' text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut sample = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                rest.split('"').next()
            };
            match (name, label("status")) {
                ("order_engine_orders_total", Some(status)) => {
                    sample.orders.insert(status.to_owned(), value);
                }
                ("order_engine_order_seconds_bucket", Some("confirmed")) => {
                    let bound = label("le").and_then(|bound| bound.parse().ok()).unwrap_or(f64::INFINITY);
                    sample.buckets.push((bound, value));
                }
                _ => {}
            }
        }
        sample.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        sample
    }

    /// Returns how many orders came to a status each second since an earlier look. A process that began anew counts from 0.
    pub(crate) fn rate(&self, earlier: &Self, status: &str, seconds: f64) -> f64 {
        let count = |sample: &Self| sample.orders.get(status).copied().unwrap_or(0.0);
        let (now, then) = (count(self), count(earlier));
        (if now < then { now } else { now - then }) / seconds
    }

    /// Returns the bound in seconds that so large a part of the orders confirmed since an earlier look did not exceed, or
    /// since the process began if there were none. Nothing if there were none at all.
    pub(crate) fn latency(&self, earlier: &Self, part: f64) -> Option<f64> {
        let since: Vec<(f64, f64)> = self
            .buckets
            .iter()
            .map(|(bound, count)| {
                let before = earlier
                    .buckets
                    .iter()
                    .find(|(other, _)| other.total_cmp(bound).is_eq())
                    .map_or(0.0, |(_, count)| *count);
                (*bound, count - before)
            })
            .collect();
        let is_new = since.last().is_some_and(|(_, count)| *count > 0.0);
        let buckets = if is_new { &since } else { &self.buckets };
        let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        buckets.iter().find(|(_, count)| *count >= all * part).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = r#"# TYPE order_engine_orders_total counter
order_engine_orders_total{status="confirmed"} 10
order_engine_order_seconds_bucket{status="confirmed",le="0.5"} 8
order_engine_order_seconds_bucket{status="confirmed",le="1"} 10
order_engine_order_seconds_bucket{status="confirmed",le="+Inf"} 10
order_engine_order_seconds_bucket{status="failed",le="+Inf"} 99
"#;

    #[test]
    #[allow(clippy::float_cmp, reason = "these are exact")]
    fn rates_and_latencies_are_of_the_time_between_two_looks() {
        let earlier = Sample::parse(EARLIER);
        let later = EARLIER.replace("} 10", "} 14");
        let later = Sample::parse(&later);
        assert_eq!(later.rate(&earlier, "confirmed", 2.0), 2.0);
        assert_eq!(later.rate(&earlier, "failed", 2.0), 0.0);
        assert_eq!(later.latency(&earlier, 0.5), Some(1.0), "the four new ones took a second");
        assert_eq!(earlier.latency(&earlier, 0.5), Some(0.5), "there are no new ones");
        assert_eq!(earlier.rate(&later, "confirmed", 1.0), 10.0, "the process began anew");
        assert_eq!(Sample::default().latency(&Sample::default(), 0.5), None);
    }
}
