//! The dynamic fee of a DAMM v2 pool: it grows with how far the last trades have moved the price.

use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::error::InvalidPool;
use crate::fee::ONE_BPS;
use crate::trade::Moment;
use crate::wide::div_ceil;

/// The scale of the fee before rounding.
const RATE_SCALE: u128 = 100_000_000_000;

/// The dynamic fee of a DAMM v2 pool, named as in the program's `DynamicFeeStruct`. A trade pays the fee that the trades
/// before it have left, however long ago, and changes it for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DammDynamicFee {
    /// The highest volatility.
    pub max_volatility_accumulator: u32,
    /// How fast the fee grows with the square of volatility.
    pub variable_fee_control: u32,
    /// The basis points of the square root of the price that count as one step.
    pub bin_step_bps: u16,
    /// The seconds after a trade in which the next trade continues its volatility.
    pub filter_period_s: u16,
    /// The seconds after a trade from which volatility starts at zero again.
    pub decay_period_s: u16,
    /// The share of the volatility that remains between the two periods, in basis points.
    pub reduction_factor_bps: u16,
    /// How much the price has moved recently.
    pub volatility: DammVolatility,
}

/// How much the price of a DAMM v2 pool has moved recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DammVolatility {
    /// The moment of the last trade that moved the price by a step.
    pub last_update: Moment,
    /// The square root of the price from which the distance of a trade counts, in Q64.64.
    #[serde(with = "crate::decimal")]
    pub sqrt_price_reference_x64: u128,
    /// The volatility after the last trade.
    pub accumulator: u32,
    /// The volatility from which a trade starts.
    pub reference: u32,
}

impl DammDynamicFee {
    pub(super) fn check(&self) -> Result<(), InvalidPool> {
        let invalid = |field, reason| Err(InvalidPool { field, reason });
        if self.bin_step_bps == 0 {
            return invalid("bin_step_bps", "must be greater than zero");
        }
        if u32::from(self.reduction_factor_bps) > ONE_BPS {
            return invalid("reduction_factor_bps", "must not be above 10000");
        }
        let DammVolatility { accumulator, reference, .. } = self.volatility;
        if accumulator.max(reference) > self.max_volatility_accumulator {
            return invalid("volatility", "must not be above the highest");
        }
        Ok(())
    }

    /// Returns the rate of the fee that a trade pays, in parts of 10⁹.
    pub(super) fn rate(&self) -> u64 {
        // The square of 48 bits times 32 bits fits 128.
        let moved = u128::from(self.volatility.accumulator) * u128::from(self.bin_step_bps);
        let rate = div_ceil(moved * moved * u128::from(self.variable_fee_control), RATE_SCALE);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Returns the fee as a trade leaves it that has moved the square root of the price.
    pub(super) fn after(&self, (from, to): (u128, u128), at: Moment) -> Self {
        let volatility = self.referenced(from, at);
        let moved =
            self.steps_between(to, volatility.sqrt_price_reference_x64).saturating_mul(u128::from(ONE_BPS));
        let accumulator = u128::from(volatility.reference).saturating_add(moved);
        let most = self.max_volatility_accumulator;
        let has_stepped = self.steps_between(from, to) > 0;
        let volatility = DammVolatility {
            accumulator: u32::try_from(accumulator).unwrap_or(u32::MAX).min(most),
            last_update: if has_stepped { at.max(volatility.last_update) } else { volatility.last_update },
            ..volatility
        };
        Self { volatility, ..*self }
    }

    fn referenced(&self, sqrt_price_x64: u128, at: Moment) -> DammVolatility {
        let volatility = self.volatility;
        let elapsed_s = at.unix_seconds().saturating_sub(volatility.last_update.unix_seconds());
        if elapsed_s < u64::from(self.filter_period_s) {
            return volatility;
        }
        let decayed =
            u64::from(volatility.accumulator) * u64::from(self.reduction_factor_bps) / u64::from(ONE_BPS);
        let remains = elapsed_s < u64::from(self.decay_period_s);
        // The decayed volatility is not larger than the accumulator, so it fits.
        let reference = if remains { u32::try_from(decayed).unwrap_or(u32::MAX) } else { 0 };
        DammVolatility { reference, sqrt_price_reference_x64: sqrt_price_x64, ..volatility }
    }

    /// Returns twice the number of steps between two square roots of prices, or the most if one of them is zero.
    fn steps_between(&self, one: u128, other: u128) -> u128 {
        let (low, high) = (one.min(other), one.max(other));
        if low == 0 {
            return u128::MAX;
        }
        let step = (u128::from(self.bin_step_bps) << 64) / u128::from(ONE_BPS);
        let ratio: U256 = (U256::from(high) << 64) / U256::from(low);
        let beyond = ratio - (U256::from(1) << 64);
        u128::try_from(beyond / U256::from(step)).unwrap_or(u128::MAX).saturating_mul(2)
    }
}
