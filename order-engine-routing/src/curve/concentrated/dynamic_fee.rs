//! The dynamic fee of Raydium's CLMM: it grows with the distance of the price from where it was, in steps of the tick
//! spacing, and decays with time.

use serde::{Deserialize, Serialize};

use crate::curve::ticks::{Groups, PricedTick, StepFees, Stretch, TickTable};
use crate::error::InvalidPool;
use crate::fee::ONE_BPS;
use crate::trade::{Direction, Moment};

/// The bound of the control factor: one, in hundred thousandths.
const ONE_CONTROL: u32 = 100_000;

/// The dynamic fee of a pool, named as in the program's `DynamicFeeInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicFee {
    /// The seconds after the last change of the reference in which a trade continues the volatility.
    pub filter_period_s: u16,
    /// The seconds after which volatility starts at zero again.
    pub decay_period_s: u16,
    /// The share of the volatility that remains between the two periods, in basis points.
    pub reduction_factor_bps: u16,
    /// How fast the fee grows with the square of volatility, in hundred thousandths: `dynamic_fee_control`.
    pub control_factor: u32,
    /// The highest volatility.
    pub max_volatility_accumulator: u32,
    /// How much the price has moved recently.
    pub volatility: DynamicFeeVolatility,
}

/// How much the price of a pool with a dynamic fee has moved recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicFeeVolatility {
    /// The volatility at the end of the last trade.
    pub accumulator: u32,
    /// The volatility from which a trade starts.
    pub reference: u32,
    /// The tick, divided by the spacing, from which the distance of a trade counts.
    pub index_reference: i32,
    /// The moment at which the reference last changed.
    pub last_update: Moment,
}

impl DynamicFee {
    pub(super) fn check(&self, tick_spacing: u16) -> Result<(), InvalidPool> {
        let invalid = |field, reason| Err(InvalidPool { field, reason });
        if self.filter_period_s == 0 || self.decay_period_s <= self.filter_period_s {
            return invalid("decay_period_s", "must be longer than the filter period, which is not zero");
        }
        if !(1..ONE_BPS).contains(&u32::from(self.reduction_factor_bps)) {
            return invalid("reduction_factor_bps", "must be between 1 and 9999");
        }
        if !(1..ONE_CONTROL).contains(&self.control_factor) {
            return invalid("control_factor", "must be between 1 and 99999");
        }
        let DynamicFeeVolatility { accumulator, reference, .. } = self.volatility;
        if accumulator.max(reference) > self.max_volatility_accumulator {
            return invalid("volatility", "must not be above the highest");
        }
        Groups::check(tick_spacing, self.max_volatility_accumulator)
    }

    /// Returns the fee of a trade on its way, from a tick of a pool with a spacing.
    pub(super) fn steps(
        &self,
        base_ppm: u32,
        direction: Direction,
        (tick, tick_spacing): (i32, u16),
        at: Moment,
    ) -> DynamicSteps {
        let group = Groups::of(tick, tick_spacing);
        let volatility = self.referenced(group, at);
        let groups = Groups {
            table: TickTable::Raydium,
            size: tick_spacing,
            control_factor: self.control_factor,
            max_accumulator: self.max_volatility_accumulator,
            reference: volatility.reference,
            index_reference: volatility.index_reference,
        };
        DynamicSteps { groups, base_ppm, direction, group, volatility, is_skipping: false }
    }

    /// Returns the fee as a trade leaves it.
    pub(super) fn after(self, steps: &DynamicSteps) -> Self {
        Self { volatility: steps.volatility, ..self }
    }

    /// Returns the volatility from which a trade at a moment starts: the program's `update_reference`.
    fn referenced(&self, group: i32, at: Moment) -> DynamicFeeVolatility {
        let volatility = self.volatility;
        // If the clock lags behind the last change, no time has passed.
        let elapsed_s = at.unix_seconds().saturating_sub(volatility.last_update.unix_seconds());
        if elapsed_s < u64::from(self.filter_period_s) {
            return volatility;
        }
        let decayed = Groups::decayed(volatility.accumulator, self.reduction_factor_bps);
        let remains = elapsed_s < u64::from(self.decay_period_s);
        DynamicFeeVolatility {
            reference: if remains { decayed } else { 0 },
            index_reference: group,
            last_update: at,
            ..volatility
        }
    }
}

/// The dynamic fee of a trade on its way.
#[derive(Clone, Debug)]
pub(super) struct DynamicSteps {
    groups: Groups,
    base_ppm: u32,
    direction: Direction,
    /// The group in which the next stretch lies.
    group: i32,
    volatility: DynamicFeeVolatility,
    /// Whether the last stretch leads through any number of groups.
    is_skipping: bool,
}

impl StepFees for DynamicSteps {
    /// Where volatility is at its highest, or nothing can be traded, the program goes straight to the next tick.
    fn enter(&mut self, target: &PricedTick, liquidity: u128) -> Stretch {
        self.volatility.accumulator = self.groups.accumulator(self.group);
        let accumulator = self.volatility.accumulator;
        self.is_skipping = liquidity == 0 || accumulator == self.groups.max_accumulator;
        let until = if self.is_skipping {
            target.sqrt_price_x64
        } else {
            let end = self.groups.end_of(self.group, self.direction);
            let end = self.groups.table.clamped_sqrt_price(end);
            Groups::nearer(self.direction, end, target.sqrt_price_x64)
        };
        Stretch { rate_ppm: self.groups.rate_ppm(self.base_ppm, accumulator), until }
    }

    fn leave(&mut self, sqrt_price: u128, target: &PricedTick) {
        // A stretch through several groups ends at a tick, unless the trade ends on it at the highest volatility.
        if self.is_skipping && sqrt_price == target.sqrt_price_x64 {
            let above = Groups::of(target.index, self.groups.size);
            self.group = match self.direction {
                Direction::AToB => above,
                Direction::BToA => above - 1,
            };
            if self.volatility.accumulator != self.groups.max_accumulator {
                self.volatility.accumulator = self.groups.accumulator(self.group);
            }
        }
        self.group = Groups::next(self.group, self.direction);
    }
}
