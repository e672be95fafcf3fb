//! The base fee of a DAMM v2 pool: fixed, falling with time or with the price, or rising with the size of a trade.

use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::fee::ONE_BPS;
use crate::trade::{Direction, Moment};

/// A rate of one. Rates are in parts of 10⁹.
pub(super) const ONE_RATE: u64 = 1_000_000_000;
/// A basis point as a rate.
const BPS_RATE: u64 = ONE_RATE / ONE_BPS as u64;
/// One in Q64.64.
const ONE: u128 = 1 << 64;

/// The base fee of a DAMM v2 pool, as its modes name it. Rates are in parts of 10⁹, times in seconds: a pool whose points
/// are slots, and whose fee still changes, has to be refused by [`Feature::ScheduledFee`](crate::Feature::ScheduledFee) or
/// [`Feature::RateLimit`](crate::Feature::RateLimit), because no quote knows the slot of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DammBaseFee {
    /// A fee that never changes.
    Fixed {
        /// The rate.
        rate: u64,
    },
    /// A fee that falls with time.
    TimeScheduler {
        /// The rate at the beginning: `cliff_fee_numerator`.
        cliff_rate: u64,
        /// The number of periods in which it falls.
        periods: u16,
        /// The seconds of a period: `period_frequency`.
        period_s: u64,
        /// How it falls in each period.
        reduction: DammReduction,
    },
    /// A fee that falls as the price rises, until it expires.
    MarketCapScheduler {
        /// The rate at the beginning: `cliff_fee_numerator`.
        cliff_rate: u64,
        /// The number of steps in which it falls.
        periods: u16,
        /// By how many basis points of the first one the square root of the price rises in a step.
        sqrt_price_step_bps: u32,
        /// The seconds after which the fee is at its lowest.
        expires_after_s: u32,
        /// The first square root of the price, in Q64.64: `init_sqrt_price`.
        #[serde(with = "crate::decimal")]
        initial_sqrt_price_x64: u128,
        /// How it falls in each step.
        reduction: DammReduction,
    },
    /// A fee on token b that rises with the amount, for a while after the activation.
    RateLimiter {
        /// The rate of the first part: `cliff_fee_numerator`.
        cliff_rate: u64,
        /// By how many basis points each part has a higher rate than the one before.
        increment_bps: u16,
        /// The highest rate of a part, in basis points.
        max_fee_bps: u32,
        /// The size of a part, in base units of token b.
        reference_amount: u64,
        /// The seconds for which the limiter lasts.
        duration_s: u32,
    },
}

/// How a scheduled fee falls in each of its periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DammReduction {
    /// By a rate.
    Linear(u64),
    /// By a share of what it is, in basis points.
    Exponential(u16),
}

/// What the base fee of a trade depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) direction: Direction,
    pub(super) sqrt_price_x64: u128,
    pub(super) activated_at: Moment,
    pub(super) at: Moment,
}

impl Circumstances {
    /// Returns the seconds since the activation. A trade before it counts as one at it: no fee is higher then.
    fn elapsed_s(&self) -> u64 {
        self.at.unix_seconds().saturating_sub(self.activated_at.unix_seconds())
    }
}

impl DammReduction {
    /// Returns a rate after some periods.
    fn after(self, cliff_rate: u64, periods: u16) -> Option<u64> {
        match self {
            Self::Linear(rate) => cliff_rate.checked_sub(rate.checked_mul(u64::from(periods))?),
            Self::Exponential(0) => Some(cliff_rate),
            Self::Exponential(bps) => {
                let base = ONE.checked_sub((u128::from(bps) << 64) / u128::from(ONE_BPS))?;
                // The program has no rate where the power vanishes.
                let power = power(base, u32::from(periods)).filter(|power| *power > 0)?;
                u64::try_from((power * u128::from(cliff_rate)) >> 64).ok()
            }
        }
    }
}

/// Returns a power of a number below one in Q64.64, rounded down after each product.
fn power(base: u128, exponent: u32) -> Option<u128> {
    let (mut square, mut power) = (base, ONE);
    for bit in 0..u16::BITS {
        if exponent >> bit & 1 == 1 {
            power = power.checked_mul(square)? >> 64;
        }
        square = square.checked_mul(square)? >> 64;
    }
    Some(power)
}

impl DammBaseFee {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), InvalidPool> {
        let invalid = |reason| Err(InvalidPool { field: "base_fee", reason });
        let lowest = match *self {
            Self::Fixed { rate } => Some(rate),
            Self::TimeScheduler { cliff_rate, periods, period_s, reduction } => {
                if period_s == 0 {
                    return invalid("must have periods that last");
                }
                reduction.after(cliff_rate, periods)
            }
            Self::MarketCapScheduler {
                cliff_rate,
                periods,
                sqrt_price_step_bps,
                initial_sqrt_price_x64,
                reduction,
                ..
            } => {
                if sqrt_price_step_bps == 0 || initial_sqrt_price_x64 == 0 {
                    return invalid("must have steps from a first price");
                }
                reduction.after(cliff_rate, periods)
            }
            Self::RateLimiter { cliff_rate, increment_bps, max_fee_bps, reference_amount, .. } => {
                let max_rate = u64::from(max_fee_bps) * BPS_RATE;
                if increment_bps == 0
                    || reference_amount == 0
                    || max_rate >= ONE_RATE
                    || cliff_rate > max_rate
                {
                    return invalid("must have parts whose rates rise to one below the whole");
                }
                Some(cliff_rate)
            }
        };
        match lowest {
            Some(_) if self.cliff_rate() < ONE_RATE => Ok(()),
            _ => invalid("must be below one and not below zero"),
        }
    }

    const fn cliff_rate(&self) -> u64 {
        match *self {
            Self::Fixed { rate } => rate,
            Self::TimeScheduler { cliff_rate, .. }
            | Self::MarketCapScheduler { cliff_rate, .. }
            | Self::RateLimiter { cliff_rate, .. } => cliff_rate,
        }
    }

    /// Returns a rate that the fee never falls below.
    pub(super) fn least_rate(&self) -> u64 {
        let least = match *self {
            Self::Fixed { rate } => Some(rate),
            Self::TimeScheduler { cliff_rate, periods, reduction, .. }
            | Self::MarketCapScheduler { cliff_rate, periods, reduction, .. } => {
                reduction.after(cliff_rate, periods)
            }
            Self::RateLimiter { cliff_rate, .. } => Some(cliff_rate),
        };
        least.unwrap_or(0)
    }

    /// Returns whether the fee depends on the size of a trade.
    pub(super) fn limits(&self, circumstances: &Circumstances) -> bool {
        match *self {
            Self::RateLimiter { duration_s, .. } => {
                circumstances.direction == Direction::BToA
                    && circumstances.elapsed_s() <= u64::from(duration_s)
            }
            _ => false,
        }
    }

    /// Returns the rate of a trade of an amount, its fee included.
    pub(super) fn rate(&self, circumstances: &Circumstances, amount: u128) -> Result<u64, QuoteError> {
        let rate = match *self {
            Self::Fixed { rate } => Some(rate),
            Self::TimeScheduler { cliff_rate, periods, period_s, reduction } => {
                let passed = circumstances.elapsed_s() / period_s;
                reduction.after(cliff_rate, u16::try_from(passed).unwrap_or(u16::MAX).min(periods))
            }
            Self::MarketCapScheduler {
                cliff_rate,
                periods,
                sqrt_price_step_bps,
                expires_after_s,
                initial_sqrt_price_x64,
                reduction,
            } => {
                let risen = circumstances.sqrt_price_x64.saturating_sub(initial_sqrt_price_x64);
                let risen_bps = U256::from(risen) * U256::from(ONE_BPS) / U256::from(initial_sqrt_price_x64);
                let steps = u16::try_from(risen_bps / U256::from(sqrt_price_step_bps)).unwrap_or(u16::MAX);
                let has_expired = circumstances.elapsed_s() > u64::from(expires_after_s);
                reduction.after(cliff_rate, if has_expired { periods } else { steps.min(periods) })
            }
            Self::RateLimiter { cliff_rate, increment_bps, max_fee_bps, reference_amount, .. } => {
                if !self.limits(circumstances) || amount <= u128::from(reference_amount) {
                    return Ok(cliff_rate);
                }
                let max_rate = u64::from(max_fee_bps) * BPS_RATE;
                let parts = Parts {
                    cliff_rate,
                    increment: u64::from(increment_bps) * BPS_RATE,
                    max_rate,
                    reference_amount,
                };
                parts.rate_of(amount)
            }
        };
        rate.ok_or(QuoteError::Overflow)
    }
}

/// The parts of an amount, each of which has a higher rate than the one before.
struct Parts {
    cliff_rate: u64,
    increment: u64,
    max_rate: u64,
    reference_amount: u64,
}

impl Parts {
    /// Returns the rate of the whole fee on an amount of more than one part, rounded up twice as the program does.
    fn rate_of(&self, amount: u128) -> Option<u64> {
        let wide = |number: u64| U256::from(number);
        let (one, part) = (U256::from(1), wide(self.reference_amount));
        let (cliff, increment) = (wide(self.cliff_rate), wide(self.increment));
        let beyond = U256::from(amount) - part;
        let last = wide((self.max_rate - self.cliff_rate) / self.increment);
        let full = (beyond / part).min(last);
        // The parts whose rates rise, and the rest at the rate of the next part, or at the highest.
        let rising = part * (cliff + cliff * full + increment * full * (full + one) / U256::from(2));
        let rate_of_rest = if full < last { cliff + increment * (full + one) } else { wide(self.max_rate) };
        let scaled = rising + (beyond - full * part) * rate_of_rest;
        let fee = scaled.div_ceil(wide(ONE_RATE));
        u64::try_from((fee * wide(ONE_RATE)).div_ceil(U256::from(amount))).ok()
    }
}
