use std::sync::atomic::{AtomicU64, Ordering};

use crate::ports::runtime::Entropy;

/// The increment of the state with each roll: the golden ratio, with which it takes every value.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// The whole, in millionths.
const ONE_PPM: u64 = 1_000_000;

/// A pseudo-random number generator: a seed always gives the same numbers.
///
/// It is fast rather than unpredictable, for tests that need millions of numbers.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// Returns the dice of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(mix(seed)))
    }

    /// Returns independent dice for one purpose. Their rolls do not change these dice.
    pub fn fork(&self, purpose: u64) -> Self {
        Self(AtomicU64::new(mix(self.0.load(Ordering::Relaxed) ^ mix(purpose))))
    }

    /// Returns 64 random bits.
    pub fn roll(&self) -> u64 {
        mix(self.0.fetch_add(STEP, Ordering::Relaxed))
    }

    /// Returns `true` with this probability, in millionths.
    pub fn happens(&self, probability_ppm: u32) -> bool {
        probability_ppm > 0 && self.roll() % ONE_PPM < u64::from(probability_ppm)
    }

    /// Returns a number between `low` and `high`, both included.
    ///
    /// # Panics
    /// If `high` is below `low`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    /// Returns a random index into a slice of this length.
    ///
    /// # Panics
    /// If the length is zero.
    pub fn choose(&self, among: usize) -> usize {
        usize::try_from(self.roll() % among as u64).unwrap_or(0)
    }
}

impl Entropy for Dice {
    fn next_u128(&self) -> u128 {
        u128::from(self.roll()) << 64 | u128::from(self.roll())
    }
}

/// One step of `SplitMix64`: a bijection in which every bit of the input changes every bit of the output.
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_falls_the_same_and_forks_fall_on_their_own() {
        let rolls = |dice: &Dice| -> Vec<u64> { (0..8).map(|_| dice.roll()).collect() };
        assert_eq!(rolls(&Dice::new(7)), rolls(&Dice::new(7)));
        assert_ne!(rolls(&Dice::new(7)), rolls(&Dice::new(8)));
        let dice = Dice::new(7);
        let (one, other) = (dice.fork(1), dice.fork(2));
        assert_ne!(rolls(&one), rolls(&other));
        assert_eq!(rolls(&dice), rolls(&Dice::new(7)), "the forks took nothing from it");
    }

    #[test]
    fn a_probability_is_kept_over_many_rolls() {
        for (ppm, expected) in [(0, 0..=0), (50_000, 4_700..=5_300), (1_000_000, 100_000..=100_000)] {
            let dice = Dice::new(9);
            let count = (0..100_000).filter(|_| dice.happens(ppm)).count();
            assert!(expected.contains(&count), "{count} of 100000 at {ppm} ppm");
        }
    }
}
