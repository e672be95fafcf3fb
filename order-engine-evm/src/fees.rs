//! What a transaction pays for its place in a block (EIP-1559).

/// A fee that replaces another one is higher by this share at least, in percent. Nodes refuse less.
pub const REPLACEMENT_PERCENT_MIN: u32 = 110;

/// How a transaction's gas limit and its fees are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeePolicy {
    /// From how many recent blocks tips are taken.
    pub blocks: u16,
    /// Which of the tips in each of these blocks counts, from 0, the least, to 100, the highest. Of the blocks the median
    /// counts.
    pub percentile: u8,
    /// The least tip for a unit of gas, in wei.
    pub tip_floor_wei: u128,
    /// The highest tip for a unit of gas, in wei.
    pub tip_cap_wei: u128,
    /// How high the base fee may rise before the transaction waits, in percent of the next block's. It rises by an eighth a block at
    /// most.
    pub base_fee_percent: u32,
    /// The most that one transaction may cost, in wei.
    pub cap_wei: u128,
    /// How far the gas limit is above the estimate, in percent. The state may change between the two: a swap that crosses
    /// more ticks uses more, and so does the first one of a block in a pair of V2, which then notes the time.
    pub gas_margin_percent: u32,
}

/// A gas limit and what is paid for each unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasFees {
    /// How much gas the transaction may use.
    pub gas_limit: u64,
    /// The most for a unit of gas, the tip included, in wei.
    pub max_fee_per_gas: u128,
    /// The tip for a unit of gas, in wei.
    pub max_priority_fee_per_gas: u128,
}

/// What blocks cost now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Market {
    /// The base fee of the next block.
    pub(crate) base_fee: u128,
    /// The tip at the percentile in each recent block that has transactions.
    pub(crate) tips: Vec<u128>,
}

impl Default for FeePolicy {
    /// The median tip of twenty blocks, at least one wei and at most 100 gwei; twice the base fee, which six full blocks do not
    /// reach; at most 0.05 of the chain's token an order, and half as much gas again as estimated.
    fn default() -> Self {
        Self {
            blocks: 20,
            percentile: 50,
            tip_floor_wei: 1,
            tip_cap_wei: 100_000_000_000,
            base_fee_percent: 200,
            cap_wei: 50_000_000_000_000_000,
            gas_margin_percent: 50,
        }
    }
}

impl FeePolicy {
    /// Sets [`blocks`](Self::blocks).
    #[must_use]
    pub const fn with_blocks(mut self, blocks: u16) -> Self {
        self.blocks = blocks;
        self
    }

    /// Sets [`percentile`](Self::percentile), at most 100.
    #[must_use]
    pub fn with_percentile(self, percentile: u8) -> Self {
        Self { percentile: percentile.min(100), ..self }
    }

    /// Sets [`tip_floor_wei`](Self::tip_floor_wei).
    #[must_use]
    pub const fn with_tip_floor_wei(mut self, floor: u128) -> Self {
        self.tip_floor_wei = floor;
        self
    }

    /// Sets [`tip_cap_wei`](Self::tip_cap_wei).
    #[must_use]
    pub const fn with_tip_cap_wei(mut self, cap: u128) -> Self {
        self.tip_cap_wei = cap;
        self
    }

    /// Sets [`base_fee_percent`](Self::base_fee_percent), at least 100.
    #[must_use]
    pub fn with_base_fee_percent(self, percent: u32) -> Self {
        Self { base_fee_percent: percent.max(100), ..self }
    }

    /// Sets [`cap_wei`](Self::cap_wei).
    #[must_use]
    pub const fn with_cap_wei(mut self, cap: u128) -> Self {
        self.cap_wei = cap;
        self
    }

    /// Sets [`gas_margin_percent`](Self::gas_margin_percent).
    #[must_use]
    pub const fn with_gas_margin_percent(mut self, margin: u32) -> Self {
        self.gas_margin_percent = margin;
        self
    }

    /// Returns the gas limit of a transaction that is estimated to use so much gas.
    pub(crate) fn gas_limit(&self, estimate: u64) -> u64 {
        let with_margin = u128::from(estimate) * (100 + u128::from(self.gas_margin_percent)) / 100;
        u64::try_from(with_margin).unwrap_or(u64::MAX)
    }

    /// Returns what a transaction with this gas limit pays; nothing if the next block costs more than the cap.
    pub(crate) fn fees(&self, gas_limit: u64, market: &Market) -> Option<GasFees> {
        let tip = median(&market.tips).max(self.tip_floor_wei).min(self.tip_cap_wei);
        let base_fee = scaled(market.base_fee, self.base_fee_percent);
        let most = self.cap_wei / u128::from(gas_limit.max(1));
        let max_fee_per_gas = base_fee.saturating_add(tip).min(most);
        let max_priority_fee_per_gas = tip.min(max_fee_per_gas.checked_sub(market.base_fee)?);
        Some(GasFees { gas_limit, max_fee_per_gas, max_priority_fee_per_gas })
    }

    /// Returns what a transaction with this gas limit pays to replace one with other fees: at least so many percent of
    /// each of them, and no less than a new one pays. If the cap forbids that, but not the least that nodes accept, the cap
    /// counts; nothing if it forbids that as well.
    pub(crate) fn replacement(
        &self,
        gas_limit: u64,
        fees: GasFees,
        (percent, market): (u32, &Market),
    ) -> Option<GasFees> {
        let most = self.cap_wei / u128::from(gas_limit.max(1));
        let fresh = self.fees(gas_limit, market);
        let higher = |old: u128, fresh: u128| {
            let least = scaled(old, REPLACEMENT_PERCENT_MIN);
            let wanted = scaled(old, percent).max(least).max(fresh);
            (least <= most).then_some(wanted.min(most))
        };
        Some(GasFees {
            gas_limit,
            max_fee_per_gas: higher(fees.max_fee_per_gas, fresh.map_or(0, |fresh| fresh.max_fee_per_gas))?,
            max_priority_fee_per_gas: higher(
                fees.max_priority_fee_per_gas,
                fresh.map_or(0, |fresh| fresh.max_priority_fee_per_gas),
            )?,
        })
    }
}

impl GasFees {
    /// Returns the most that the chain may take for the transaction, in wei.
    pub const fn max_fee_wei(&self) -> u128 {
        self.max_fee_per_gas.saturating_mul(self.gas_limit as u128)
    }
}

/// Returns so many percent of a fee, rounded up.
fn scaled(fee: u128, percent: u32) -> u128 {
    fee.saturating_mul(u128::from(percent)).div_ceil(100)
}

/// Returns the lower median; zero of none.
fn median(tips: &[u128]) -> u128 {
    let mut tips = tips.to_vec();
    tips.sort_unstable();
    tips.get(tips.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn market(base_fee: u128, tips: &[u128]) -> Market {
        Market { base_fee, tips: tips.to_vec() }
    }

    #[test]
    fn the_median_tip_counts_between_floor_and_cap() {
        let tip = |tips: &[u128]| {
            let policy = FeePolicy::default().with_tip_floor_wei(3).with_tip_cap_wei(50);
            policy.fees(100_000, &market(1_000, tips)).unwrap().max_priority_fee_per_gas
        };
        assert_eq!(tip(&[]), 3);
        assert_eq!(tip(&[1, 1, 9]), 3);
        assert_eq!(tip(&[9, 4, 8, 70]), 8);
        assert_eq!(tip(&[90, 80]), 50);
    }

    #[test]
    fn the_base_fee_may_rise_and_the_cap_ends_it() {
        let policy = FeePolicy::default().with_tip_floor_wei(5).with_cap_wei(100_000 * 1_500);
        let fees = |base_fee| policy.fees(100_000, &market(base_fee, &[]));
        let [low, high] = [700, 1_498].map(|base_fee| fees(base_fee).unwrap());
        assert_eq!((low.max_fee_per_gas, low.max_priority_fee_per_gas), (1_405, 5));
        assert_eq!((high.max_fee_per_gas, high.max_priority_fee_per_gas), (1_500, 2));
        assert_eq!(fees(1_501), None, "the next block costs more than the cap");
        assert_eq!(low.max_fee_wei(), 140_500_000);
    }

    #[test]
    fn a_replacement_is_also_worth_its_place_now() {
        let policy = FeePolicy::default().with_tip_floor_wei(1);
        let old = GasFees { gas_limit: 100_000, max_fee_per_gas: 1_001, max_priority_fee_per_gas: 0 };
        let new = policy.replacement(100_000, old, (100, &market(0, &[]))).unwrap();
        assert_eq!(
            (new.max_fee_per_gas, new.max_priority_fee_per_gas),
            (1_102, 1),
            "percent below the least"
        );
        let new = policy.replacement(100_000, old, (125, &market(10_000, &[7]))).unwrap();
        assert_eq!((new.max_fee_per_gas, new.max_priority_fee_per_gas), (20_007, 7));
    }

    #[test]
    fn a_replacement_stays_below_the_cap_and_is_none_if_nodes_would_refuse_it() {
        let old = GasFees { gas_limit: 1_000, max_fee_per_gas: 100, max_priority_fee_per_gas: 1 };
        let fee = |cap_per_gas: u128| {
            let policy = FeePolicy::default().with_cap_wei(cap_per_gas * 1_000);
            policy.replacement(1_000, old, (150, &market(0, &[]))).map(|new| new.max_fee_per_gas)
        };
        assert_eq!(fee(200), Some(150));
        assert_eq!(fee(120), Some(120));
        assert_eq!(fee(110), Some(110));
        assert_eq!(fee(109), None);
    }

    proptest! {
        #[test]
        fn every_replacement_is_a_tenth_higher_in_both_fees_and_within_the_cap(
            max_fee in 0_u128..1 << 60, tip in 0_u128..1 << 60, percent in 0_u32..400,
            base_fee in 0_u128..1 << 60, cap in 0_u128..1 << 90, gas_limit in 21_000_u64..1_000_000,
        ) {
            let old = GasFees { gas_limit, max_fee_per_gas: max_fee.max(tip), max_priority_fee_per_gas: tip };
            let policy = FeePolicy::default().with_cap_wei(cap);
            if let Some(new) = policy.replacement(gas_limit, old, (percent, &market(base_fee, &[tip / 2]))) {
                prop_assert!(new.max_fee_per_gas * 100 >= old.max_fee_per_gas * 110);
                prop_assert!(new.max_priority_fee_per_gas * 100 >= old.max_priority_fee_per_gas * 110);
                prop_assert!(new.max_priority_fee_per_gas <= new.max_fee_per_gas);
                prop_assert!(new.max_fee_wei() <= cap);
            }
        }
    }
}
