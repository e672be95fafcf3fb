//! Random numbers that are the same in every run, and ranges of liquidity.

use std::collections::BTreeMap;

use order_engine_core::Amount;
use order_engine_routing::{Moment, QuoteError, Tick};

/// The time of all quotes.
pub(crate) const NOW: Moment = Moment::from_unix_seconds(1_767_225_600);

/// `SplitMix64`.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// Returns an amount of any order of magnitude up to this number of bits.
    pub(crate) fn magnitude(&mut self, bits: u64) -> u64 {
        let bit = self.between(0, bits - 1);
        (1 << bit) | (self.next() & ((1 << bit) - 1))
    }

    /// Returns the ends of eight ranges around tick zero, within this many spacings, and the liquidity at tick zero.
    pub(crate) fn ranges(&mut self, spacing: i32, reach: u64) -> (Vec<Tick>, u128) {
        let mut nets = BTreeMap::<i32, i128>::new();
        let mut liquidity = 0;
        for _ in 0..8 {
            let mut end = || i32::try_from(self.between(1, reach)).unwrap_or(1) * spacing;
            let (below, above) = (end(), end());
            let provided = self.between(1 << 36, 1 << 44);
            *nets.entry(-below).or_default() += i128::from(provided);
            *nets.entry(above).or_default() -= i128::from(provided);
            liquidity += u128::from(provided);
        }
        (nets.into_iter().map(|(index, liquidity_net)| Tick { index, liquidity_net }).collect(), liquidity)
    }
}

/// Returns what a quote pays: zero if the amount is too small, `None` if the pool has no room for it.
pub(crate) fn paid(quote: Result<Amount, QuoteError>) -> Option<u64> {
    match quote {
        Ok(out) => u64::try_from(out.base_units()).ok(),
        Err(QuoteError::TooSmall) => Some(0),
        Err(_) => None,
    }
}
