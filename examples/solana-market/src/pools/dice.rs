//! What is chosen at random.

use order_engine_core::Entropy as _;
use order_engine_core::testing::SeededEntropy;

/// Random numbers from a seed.
pub struct Dice(SeededEntropy);

impl Dice {
    /// Returns the numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// Returns a number below another one.
    pub fn below(&self, end: u64) -> u64 {
        u64::try_from(self.0.next_u128() % u128::from(end)).unwrap()
    }

    /// Returns an amount of any magnitude up to about 2^bits.
    pub fn amount(&self, bits: u64) -> u64 {
        1 + self.below(1 << (1 + self.below(bits)))
    }
}
