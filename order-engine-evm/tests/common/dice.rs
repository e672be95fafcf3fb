//! Numbers that look random, the same ones each time.

/// Xorshift, as Marsaglia published it.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Returns dice that fall as the seed says.
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero; and the first numbers of small seeds are small, and alike.
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(1);
        }
        dice
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Whether something happens that does so many times in a thousand.
    pub(crate) fn strikes(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() {
            return None;
        }
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap())
    }

    /// An amount of any order of magnitude up to so many bits.
    pub(crate) fn amount(&mut self, bits: u64) -> u128 {
        let high = u128::from(self.below(u64::MAX)) << 64 | u128::from(self.below(u64::MAX));
        let bits = 1 + self.below(bits);
        (high >> (128 - bits)).max(1)
    }
}
