//! The fee of a DLMM pool: a base that never changes and a part that grows with volatility.

use serde::{Deserialize, Serialize};

use crate::pool::InvalidPool;
use crate::trade::Moment;
use crate::wide::{div_ceil, mul_div_ceil};

/// The whole of which a rate is so many parts.
pub(super) const ONE_RATE: u32 = 1_000_000_000;
/// The highest rate: a tenth.
const MAX_RATE: u32 = 100_000_000;
/// The whole in basis points, and what a bin adds to volatility.
const ONE_BPS: u32 = 10_000;
/// By how much a variable fee is scaled up before rounding.
const VARIABLE_SCALE: u128 = 100_000_000_000;

/// What never changes about the fee of a DLMM pool, in the terms of Meteora's `StaticParameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DlmmFees {
    /// The base fee in units of a tenth of a bin step's basis point.
    pub base_factor: u16,
    /// By how many powers of ten the base fee is larger.
    #[serde(default)]
    pub base_fee_power_factor: u8,
    /// How fast the variable fee grows with volatility.
    pub variable_fee_control: u32,
    /// For so long after a trade another one continues its volatility, in seconds.
    pub filter_period_s: u16,
    /// After so long volatility is forgotten, in seconds.
    pub decay_period_s: u16,
    /// What of volatility remains between the two periods, in basis points.
    pub reduction_factor_bps: u16,
    /// Above this, volatility does not grow.
    pub max_volatility_accumulator: u32,
}

/// How much a DLMM pool has moved lately, in the terms of Meteora's `VariableParameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DlmmVolatility {
    /// The volatility at the end of the last trade.
    pub accumulator: u32,
    /// The volatility from which a trade starts.
    pub reference: u32,
    /// The bin from which distance counts.
    pub index_reference: i32,
    /// When the last trade was.
    pub last_update: Moment,
}

impl DlmmFees {
    pub(super) const fn check(&self) -> Result<(), InvalidPool> {
        if self.reduction_factor_bps as u32 > ONE_BPS {
            return Err(InvalidPool { field: "reduction_factor_bps", reason: "must not be above 10000" });
        }
        Ok(())
    }

    /// The part of the rate that does not depend on volatility.
    pub(super) fn base_rate(&self, bin_step_bps: u16) -> u32 {
        let power = 10_u64.saturating_pow(u32::from(self.base_fee_power_factor));
        let rate = u64::from(self.base_factor) * u64::from(bin_step_bps) * 10;
        u32::try_from(rate.saturating_mul(power)).unwrap_or(u32::MAX).min(MAX_RATE)
    }

    /// The rate of the fee at a volatility.
    pub(super) fn rate(&self, base_rate: u32, bin_step_bps: u16, volatility: u32) -> u32 {
        if self.variable_fee_control == 0 {
            return base_rate;
        }
        // 48 bits, squared and times 32 more: at most 128.
        let moved = u128::from(volatility) * u128::from(bin_step_bps);
        let scaled = moved * moved * u128::from(self.variable_fee_control);
        let variable = u32::try_from(div_ceil(scaled, VARIABLE_SCALE)).unwrap_or(u32::MAX);
        base_rate.saturating_add(variable).min(MAX_RATE)
    }
}

impl DlmmVolatility {
    /// What a trade at a moment starts from: volatility goes on within the filter period, decays after
    /// it, and is forgotten after the decay period.
    pub(super) fn referenced(self, fees: &DlmmFees, active_id: i32, at: Moment) -> Self {
        // A clock that lags behind the last trade counts as no time at all.
        let elapsed_s = at.unix_seconds().saturating_sub(self.last_update.unix_seconds());
        if elapsed_s < u64::from(fees.filter_period_s) {
            return self;
        }
        let decayed = u64::from(self.accumulator) * u64::from(fees.reduction_factor_bps) / u64::from(ONE_BPS);
        let remains = elapsed_s < u64::from(fees.decay_period_s);
        // What decays is not above what was there, so it fits.
        let reference = if remains { u32::try_from(decayed).unwrap_or(u32::MAX) } else { 0 };
        Self { reference, index_reference: active_id, ..self }
    }

    /// The volatility in a bin.
    pub(super) fn in_bin(&self, fees: &DlmmFees, id: i32) -> u32 {
        let moved = self.index_reference.abs_diff(id).saturating_mul(ONE_BPS);
        self.reference.saturating_add(moved).min(fees.max_volatility_accumulator)
    }
}

/// What of an amount with the fee in it is the fee, rounded up.
pub(super) fn inside(amount: u128, rate: u32) -> u128 {
    // The fee is not above the amount, so it fits.
    mul_div_ceil(amount, u128::from(rate), u128::from(ONE_RATE)).unwrap_or(amount)
}

/// A net amount with its fee on top, rounded up. Nothing if it does not fit.
pub(super) fn with_fee(net: u128, rate: u32) -> Option<u128> {
    mul_div_ceil(net, u128::from(ONE_RATE), u128::from(ONE_RATE - rate))
}
