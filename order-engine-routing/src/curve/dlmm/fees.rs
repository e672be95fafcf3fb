//! The fee of a DLMM pool: a base fee that never changes, and a variable fee that grows with volatility.

use serde::{Deserialize, Serialize};

use crate::error::InvalidPool;
use crate::trade::Moment;
use crate::wide::{div_ceil, mul_div_ceil};

/// A fee rate of one. Rates are in parts of 10⁹.
pub(super) const ONE_RATE: u32 = 1_000_000_000;
/// The highest fee rate: a tenth.
const MAX_RATE: u32 = 100_000_000;
/// The whole, in basis points.
const ONE_BPS: u32 = 10_000;
/// The volatility that each crossed bin adds.
const VOLATILITY_PER_BIN: u32 = 10_000;
/// The scale of a variable fee before rounding.
const VARIABLE_SCALE: u128 = 100_000_000_000;

/// The fixed parameters of a DLMM pool's fee, named as in Meteora's `StaticParameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DlmmFees {
    /// The factor of the base fee, whose rate is `base_factor · bin_step · 10` parts of 10⁹.
    pub base_factor: u16,
    /// The power of ten by which the base fee is multiplied.
    #[serde(default)]
    pub base_fee_power_factor: u8,
    /// How fast the variable fee grows with volatility.
    pub variable_fee_control: u32,
    /// The seconds after a trade in which the next trade continues its volatility.
    pub filter_period_s: u16,
    /// The seconds after a trade from which volatility starts at zero again.
    pub decay_period_s: u16,
    /// The share of the volatility that remains between the two periods, in basis points.
    pub reduction_factor_bps: u16,
    /// The highest volatility.
    pub max_volatility_accumulator: u32,
}

/// How much the price of a DLMM pool has moved recently, named as in Meteora's `VariableParameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DlmmVolatility {
    /// The volatility at the end of the last trade.
    pub accumulator: u32,
    /// The volatility from which a trade starts.
    pub reference: u32,
    /// The bin from which the distance of a trade counts.
    pub index_reference: i32,
    /// The moment of the last trade.
    pub last_update: Moment,
}

impl DlmmFees {
    pub(super) const fn check(&self) -> Result<(), InvalidPool> {
        if self.reduction_factor_bps as u32 > ONE_BPS {
            return Err(InvalidPool { field: "reduction_factor_bps", reason: "must not be above 10000" });
        }
        Ok(())
    }

    /// Returns the rate of the base fee.
    pub(super) fn base_rate(&self, bin_step_bps: u16) -> u32 {
        let power = 10_u64.saturating_pow(u32::from(self.base_fee_power_factor));
        let rate = u64::from(self.base_factor) * u64::from(bin_step_bps) * 10;
        u32::try_from(rate.saturating_mul(power)).unwrap_or(u32::MAX).min(MAX_RATE)
    }

    /// Returns the rate of the whole fee at a volatility.
    pub(super) fn rate(&self, base_rate: u32, bin_step_bps: u16, volatility: u32) -> u32 {
        if self.variable_fee_control == 0 {
            return base_rate;
        }
        // The square of 48 bits times 32 bits fits 128.
        let moved = u128::from(volatility) * u128::from(bin_step_bps);
        let scaled = moved * moved * u128::from(self.variable_fee_control);
        let variable = u32::try_from(div_ceil(scaled, VARIABLE_SCALE)).unwrap_or(u32::MAX);
        base_rate.saturating_add(variable).min(MAX_RATE)
    }
}

impl DlmmVolatility {
    /// Returns the volatility from which a trade at a moment starts. It continues within the filter period,
    /// decays after it, and starts at zero after the decay period.
    pub(super) fn referenced(self, fees: &DlmmFees, active_id: i32, at: Moment) -> Self {
        // If the clock lags behind the last trade, no time has passed.
        let elapsed_s = at.unix_seconds().saturating_sub(self.last_update.unix_seconds());
        if elapsed_s < u64::from(fees.filter_period_s) {
            return self;
        }
        let decayed = u64::from(self.accumulator) * u64::from(fees.reduction_factor_bps) / u64::from(ONE_BPS);
        let remains = elapsed_s < u64::from(fees.decay_period_s);
        // The decayed volatility is not larger than the accumulator, so it fits.
        let reference = if remains { u32::try_from(decayed).unwrap_or(u32::MAX) } else { 0 };
        Self { reference, index_reference: active_id, ..self }
    }

    /// Returns the volatility in a bin.
    pub(super) fn in_bin(&self, fees: &DlmmFees, id: i32) -> u32 {
        let moved = self.index_reference.abs_diff(id).saturating_mul(VOLATILITY_PER_BIN);
        self.reference.saturating_add(moved).min(fees.max_volatility_accumulator)
    }
}

/// Returns the fee in an amount that includes it, rounded up.
pub(super) fn inside(amount: u128, rate: u32) -> u128 {
    // The fee is not larger than the amount, so it fits.
    mul_div_ceil(amount, u128::from(rate), u128::from(ONE_RATE)).unwrap_or(amount)
}

/// Returns a net amount with the fee on top, rounded up, or `None` if it does not fit.
pub(super) fn with_fee(net: u128, rate: u32) -> Option<u128> {
    mul_div_ceil(net, u128::from(ONE_RATE), u128::from(ONE_RATE - rate))
}
