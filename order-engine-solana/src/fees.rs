//! What a transaction pays for its place in a block.

use crate::instructions::compute_budget::UNITS_MAX;

/// What each signature of a transaction costs, in lamports.
pub const LAMPORTS_PER_SIGNATURE: u64 = 5_000;

const MICRO: u128 = 1_000_000;

/// How a transaction's compute units and its priority fee are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeePolicy {
    /// Which of the recent fees of the written accounts is paid, from 0, the least, to 100, the highest.
    pub percentile: u8,
    /// The least price of a compute unit, in millionths of a lamport.
    pub floor_micro_lamports: u64,
    /// The most that the priority fee of one transaction may be, in lamports.
    pub cap_lamports: u64,
    /// How far the limit of compute units is above what the simulation used, in percent. The state may change between
    /// the two, and a swap that crosses more ticks uses more.
    pub unit_margin_percent: u32,
}

/// A limit and a price of compute units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputeBudget {
    /// How many compute units the transaction may use.
    pub unit_limit: u32,
    /// The price of each unit of the limit, in millionths of a lamport.
    pub unit_price_micro_lamports: u64,
}

impl Default for FeePolicy {
    /// The median of recent fees, at least a thousandth of a lamport a unit, at most a hundredth of a SOL an order, and
    /// a fifth more units than simulated.
    fn default() -> Self {
        Self {
            percentile: 50,
            floor_micro_lamports: 1_000,
            cap_lamports: 10_000_000,
            unit_margin_percent: 20,
        }
    }
}

impl FeePolicy {
    /// Sets [`percentile`](Self::percentile), at most 100.
    #[must_use]
    pub fn with_percentile(self, percentile: u8) -> Self {
        Self { percentile: percentile.min(100), ..self }
    }

    /// Sets [`floor_micro_lamports`](Self::floor_micro_lamports).
    #[must_use]
    pub const fn with_floor_micro_lamports(mut self, floor: u64) -> Self {
        self.floor_micro_lamports = floor;
        self
    }

    /// Sets [`cap_lamports`](Self::cap_lamports).
    #[must_use]
    pub const fn with_cap_lamports(mut self, cap: u64) -> Self {
        self.cap_lamports = cap;
        self
    }

    /// Sets [`unit_margin_percent`](Self::unit_margin_percent).
    #[must_use]
    pub const fn with_unit_margin_percent(mut self, margin: u32) -> Self {
        self.unit_margin_percent = margin;
        self
    }

    /// Returns the budget of a transaction whose simulation used so many units, and whose written accounts cost these
    /// prices in recent blocks, in millionths of a lamport.
    pub fn budget(&self, units_consumed: u64, recent_prices: &[u64]) -> ComputeBudget {
        let with_margin = u128::from(units_consumed) * (100 + u128::from(self.unit_margin_percent)) / 100;
        // A transaction that used nothing still has to pay its budget instructions.
        let unit_limit = u32::try_from(with_margin).unwrap_or(UNITS_MAX).clamp(1_000, UNITS_MAX);
        let most = u128::from(self.cap_lamports) * MICRO / u128::from(unit_limit);
        let wanted = self.of_recent(recent_prices).max(self.floor_micro_lamports);
        let unit_price_micro_lamports = wanted.min(u64::try_from(most).unwrap_or(u64::MAX));
        ComputeBudget { unit_limit, unit_price_micro_lamports }
    }

    /// Returns the percentile of the recent prices, by the nearest rank; zero of none.
    fn of_recent(&self, prices: &[u64]) -> u64 {
        let mut prices = prices.to_vec();
        prices.sort_unstable();
        let rank = (prices.len() * usize::from(self.percentile)).div_ceil(100).max(1);
        prices.get(rank - 1).copied().unwrap_or(0)
    }
}

impl ComputeBudget {
    /// Returns the priority fee, in lamports. It is for the limit, whatever is used of it.
    pub fn priority_fee_lamports(&self) -> u64 {
        let fee = u128::from(self.unit_limit) * u128::from(self.unit_price_micro_lamports);
        u64::try_from(fee.div_ceil(MICRO)).unwrap_or(u64::MAX)
    }

    /// Returns all that the chain takes for a transaction with so many signatures, in lamports.
    pub fn fee_lamports(&self, signatures: u64) -> u64 {
        self.priority_fee_lamports().saturating_add(signatures.saturating_mul(LAMPORTS_PER_SIGNATURE))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_percentile_is_by_nearest_rank() {
        let price = |percentile, prices: &[u64]| {
            let policy = FeePolicy::default().with_percentile(percentile).with_floor_micro_lamports(0);
            policy.budget(100_000, prices).unit_price_micro_lamports
        };
        assert_eq!(price(50, &[]), 0);
        assert_eq!(price(50, &[7]), 7);
        assert_eq!(price(50, &[3, 1, 2, 4]), 2);
        assert_eq!(price(75, &[3, 1, 2, 4]), 3);
        assert_eq!((price(0, &[5, 9]), price(100, &[5, 9])), (5, 9));
    }

    #[test]
    fn the_limit_has_a_margin_and_stays_within_the_chains() {
        let limit = |units| FeePolicy::default().budget(units, &[]).unit_limit;
        assert_eq!(limit(100_000), 120_000);
        assert_eq!(limit(1_300_000), UNITS_MAX);
        assert_eq!(limit(u64::MAX), UNITS_MAX);
        assert_eq!(limit(0), 1_000);
    }

    #[test]
    fn a_fee_is_rounded_up_as_the_chain_does() {
        let budget = ComputeBudget { unit_limit: 3, unit_price_micro_lamports: 333_334 };
        assert_eq!(budget.priority_fee_lamports(), 2);
        assert_eq!(budget.fee_lamports(2), 10_002);
    }

    proptest! {
        #[test]
        fn the_fee_is_never_above_the_cap_and_not_below_the_floor_unless_the_cap_is(
            prices in proptest::collection::vec(any::<u64>(), 0..8),
            units in 0_u64..2_000_000,
            floor in 0_u64..10_000_000,
            cap in 0_u64..100_000_000,
            percentile in 0_u8..=100,
        ) {
            let policy = FeePolicy::default()
                .with_percentile(percentile)
                .with_floor_micro_lamports(floor)
                .with_cap_lamports(cap);
            let budget = policy.budget(units, &prices);
            prop_assert!(budget.priority_fee_lamports() <= cap);
            let at_floor = ComputeBudget { unit_price_micro_lamports: floor, ..budget };
            if at_floor.priority_fee_lamports() < cap {
                prop_assert!(budget.unit_price_micro_lamports >= floor);
            }
        }
    }
}
