//! Noise that can be computed for any slot directly.
//!
//! A random walk needs all its earlier steps. This noise is instead the sum of a few waves, each a chain of
//! random points joined by straight lines. It is bounded, its mean is zero, it always returns to its mean,
//! and its value at a slot is a pure function of the seed and the slot.

use crate::chance::{Chance, Purpose};

/// The waves: the slots between two points, and the wave's share of the swing in percent. A quick small wave
/// makes quotes stale; slow large waves change which exchange is the better one.
const WAVES: [(u64, i64); 3] = [(16, 10), (256, 30), (2_048, 60)];

/// The value one, in the unit of the points.
const ONE: i64 = 1_000_000;

/// Returns the noise of one subject at a slot, between minus and plus `swing_ppm`.
pub(crate) fn noise_ppm(chance: Chance, purpose: Purpose, subject: u64, swing_ppm: u32, slot: u64) -> i64 {
    let sum: i64 = (0_u64..)
        .zip(WAVES)
        .map(|(wave, (period, percent))| {
            percent * wave_at(chance, purpose, subject.wrapping_add(wave), period, slot)
        })
        .sum();
    sum / 100 * i64::from(swing_ppm) / ONE
}

/// Returns the largest change of the noise from one slot to the next.
#[cfg(test)]
fn most_change_ppm(swing_ppm: u32) -> i64 {
    let steepest: i64 =
        WAVES.iter().map(|&(period, percent)| 2 * ONE * percent / 100 / period.cast_signed()).sum();
    // Each of the two roundings adds less than one.
    steepest * i64::from(swing_ppm) / ONE + 2
}

/// Returns the value of a wave at a slot, between minus and plus [`ONE`].
fn wave_at(chance: Chance, purpose: Purpose, subject: u64, period: u64, slot: u64) -> i64 {
    let point =
        |index: u64| chance.between(0, 2 * ONE.unsigned_abs(), purpose, subject, index).cast_signed() - ONE;
    let (from, to) = (point(slot / period), point(slot / period + 1));
    // Periods are small, so neither cast changes the sign.
    let (done, period) = ((slot % period).cast_signed(), period.cast_signed());
    (from * (period - done) + to * done) / period
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_bounded_and_moves_slowly(seed: u64, subject: u64, swing_ppm in 0_u32..100_000, slot in 0..u64::MAX / 2) {
            let at = |slot| noise_ppm(Chance::new(seed), Purpose::Market, subject, swing_ppm, slot);
            prop_assert!(at(slot).abs() <= i64::from(swing_ppm));
            prop_assert!((at(slot + 1) - at(slot)).abs() <= most_change_ppm(swing_ppm));
            prop_assert_eq!(at(slot), at(slot));
        }

        #[test]
        fn it_reverts_to_its_mean(seed: u64, start in 0_u64..1_000_000_000_000) {
            let swing_ppm = 10_000;
            let values: Vec<i64> = (0..4_096)
                .map(|n| noise_ppm(Chance::new(seed), Purpose::Stray, 1, swing_ppm, start + n * 1_024))
                .collect();
            // The noise has a standard deviation of a third of the swing, and these are some 2 000
            // independent values: 500 is seven standard deviations of their mean.
            let mean = values.iter().sum::<i64>() / 4_096;
            prop_assert!(mean.abs() < 500, "mean {}", mean);
            prop_assert!(values.iter().any(|&value| value > 1_000));
            prop_assert!(values.iter().any(|&value| value < -1_000));
        }
    }
}
