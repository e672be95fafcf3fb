//! Meteora's DAMM v2: a constant product of virtual reserves between two prices, or of whole reserves to which a part of
//! the fee is added, with a fee that may change with time, price, size and volatility.
//!
//! Steps and roundings follow the program `damm-v2` of June 2026, so exact-in quotes equal the program's to the last unit.

mod base_fee;
mod dynamic_fee;

pub use base_fee::{DammBaseFee, DammReduction};
pub use dynamic_fee::{DammDynamicFee, DammVolatility};

use order_engine_core::Amount;
use ruint::aliases::{U256, U512};
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::fee::{FeeOn, ONE_BPS};
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};
use crate::wide::{mul_div_ceil, mul_div_floor, product};

use base_fee::{Circumstances, ONE_RATE};

/// The lowest and the highest square root of a price, in Q64.64.
const SQRT_PRICES: (u128, u128) = (4_295_048_016, 79_226_673_521_066_979_257_578_248_091);

/// A DAMM v2 pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DammState", into = "DammState")]
pub struct DammV2 {
    state: DammState,
}

/// The on-chain state of a DAMM v2 pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DammState {
    /// What the pool holds.
    pub liquidity: DammLiquidity,
    /// The part of the fee that may follow a schedule or the size of a trade.
    pub base_fee: DammBaseFee,
    /// The part of the fee that follows volatility, if the pool has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_fee: Option<DammDynamicFee>,
    /// The amount of which the fee is taken: the output, or always token b (`collect_fee_mode`).
    pub fee_on: FeeOn,
    /// The highest rate of the whole fee, in parts of 10⁹: half for fee version 0, 990,000,000 for version 1.
    pub max_fee_rate: u64,
    /// The moment from which schedules count: `activation_point`.
    pub activated_at: Moment,
}

/// What a DAMM v2 pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DammLiquidity {
    /// Liquidity between two prices.
    Range {
        /// The square root of the price of token a in token b, in Q64.64.
        #[serde(with = "crate::decimal")]
        sqrt_price_x64: u128,
        /// The lowest square root of the price.
        #[serde(with = "crate::decimal")]
        sqrt_min_price_x64: u128,
        /// The highest square root of the price.
        #[serde(with = "crate::decimal")]
        sqrt_max_price_x64: u128,
        /// The liquidity, in Q64.64.
        #[serde(with = "crate::decimal")]
        liquidity_x64: u128,
    },
    /// Reserves at any price, to which a part of the fee is added.
    Compounding {
        /// The reserve of token a.
        reserve_a: Amount,
        /// The reserve of token b.
        reserve_b: Amount,
        /// The percentage of the fee for the exchange: `protocol_fee_percent`.
        protocol_fee_percent: u8,
        /// The share of the rest that is added to the reserves, in basis points: `compounding_fee_bps`.
        compounding_fee_bps: u16,
    },
}

/// A trade without its fee.
struct Swap {
    given: u128,
    /// The square root of the price after it, for liquidity in a range.
    sqrt_price_x64: u128,
}

/// The fee of a trade.
#[derive(Clone, Copy, Debug)]
struct Toll {
    rate: u64,
    is_on_input: bool,
}

impl Toll {
    fn of(self, amount: u128) -> u128 {
        // The fee is not larger than the amount, so it fits.
        mul_div_ceil(amount, u128::from(self.rate), u128::from(ONE_RATE)).unwrap_or(amount)
    }

    fn before(self, net: u128) -> Option<u128> {
        mul_div_ceil(net, u128::from(ONE_RATE), u128::from(ONE_RATE - self.rate))
    }
}

impl DammV2 {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If the price is not in its range, there is no liquidity or a reserve is zero, the fee is not on the output or
    /// token b, or a parameter of a fee is impossible.
    pub fn new(state: DammState) -> Result<Self, InvalidPool> {
        let invalid = |field, reason| Err(InvalidPool { field, reason });
        state.base_fee.check()?;
        state.dynamic_fee.map_or(Ok(()), |fee| fee.check())?;
        if state.max_fee_rate >= ONE_RATE {
            return invalid("max_fee_rate", "must be below one");
        }
        let is_on_b = match state.fee_on {
            FeeOn::Output => false,
            FeeOn::TokenB => true,
            _ => return invalid("fee_on", "must be the output or token b"),
        };
        if !is_on_b && matches!(state.base_fee, DammBaseFee::RateLimiter { .. }) {
            return invalid("fee_on", "must be token b where a limiter is");
        }
        match state.liquidity {
            DammLiquidity::Range {
                sqrt_price_x64,
                sqrt_min_price_x64,
                sqrt_max_price_x64,
                liquidity_x64,
            } => {
                if sqrt_min_price_x64 < SQRT_PRICES.0 || sqrt_max_price_x64 > SQRT_PRICES.1 {
                    return invalid("sqrt_min_price_x64", "must be in range, as the highest price");
                }
                if !(sqrt_min_price_x64..=sqrt_max_price_x64).contains(&sqrt_price_x64) {
                    return invalid("sqrt_price_x64", "must be in its range");
                }
                if liquidity_x64 == 0 {
                    return invalid("liquidity_x64", "must be greater than zero");
                }
            }
            DammLiquidity::Compounding {
                reserve_a,
                reserve_b,
                protocol_fee_percent,
                compounding_fee_bps,
            } => {
                if !is_on_b {
                    return invalid("fee_on", "must be token b where fees compound");
                }
                if reserve_a.is_zero() || reserve_b.is_zero() {
                    return invalid("liquidity", "must have reserves greater than zero");
                }
                if protocol_fee_percent > 100 || compounding_fee_bps > 10_000 {
                    return invalid("liquidity", "must not share out more than the fee");
                }
            }
        }
        Ok(Self { state })
    }

    /// Returns the state of the pool.
    pub const fn state(&self) -> DammState {
        self.state
    }

    /// Returns what comes out for exactly `amount_in`, rounded down.
    ///
    /// # Errors
    /// If nothing would come out, or the trade would lead the price out of its range.
    pub fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        let (toll, swap) = self.swap_in(direction, amount_in.base_units(), at)?;
        let out = if toll.is_on_input { swap.given } else { swap.given - toll.of(swap.given) };
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// Returns the least input for which at least `amount_out` comes out. While a limiter applies, an input even smaller
    /// may suffice, too, because the program rounds the rate of the whole amount; one unit less does not.
    ///
    /// # Errors
    /// If the amount is zero, or the trade would lead the price out of its range.
    pub fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let circumstances = self.circumstances(direction, at);
        if self.state.base_fee.limits(&circumstances) {
            return self.limited_in(direction, amount_out, at);
        }
        let toll = self.toll(&circumstances, 0)?;
        let gross = if toll.is_on_input {
            Some(amount_out.base_units())
        } else {
            toll.before(amount_out.base_units())
        };
        let gross = gross.ok_or(QuoteError::NotEnoughLiquidity)?;
        let net = self.net_in(direction, gross)?;
        let amount_in = if toll.is_on_input { toll.before(net).ok_or(QuoteError::Overflow)? } else { net };
        self.swap_in(direction, amount_in, at)?;
        Ok(Amount::new(amount_in))
    }

    /// Returns the pool after exactly `amount_in` went in.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount, at: Moment) -> Result<Self, QuoteError> {
        self.amount_out(direction, amount_in, at)?;
        let (toll, swap) = self.swap_in(direction, amount_in.base_units(), at)?;
        let old_price = self.sqrt_price()?;
        let fee = toll.of(if toll.is_on_input { amount_in.base_units() } else { swap.given });
        let mut next = *self;
        match &mut next.state.liquidity {
            DammLiquidity::Range { sqrt_price_x64, .. } => *sqrt_price_x64 = swap.sqrt_price_x64,
            DammLiquidity::Compounding {
                reserve_a,
                reserve_b,
                protocol_fee_percent,
                compounding_fee_bps,
            } => {
                let taken =
                    if toll.is_on_input { amount_in.base_units() - fee } else { amount_in.base_units() };
                let (into, out_of) = direction.orient(*reserve_a, *reserve_b);
                let into = into.checked_add(Amount::new(taken)).ok_or(QuoteError::Overflow)?;
                let out_of =
                    out_of.checked_sub(Amount::new(swap.given)).ok_or(QuoteError::NotEnoughLiquidity)?;
                (*reserve_a, *reserve_b) = direction.orient(into, out_of);
                // Neither share is larger than the fee, so both fit.
                let of = |amount, share, whole| mul_div_floor(amount, share, whole).unwrap_or(0);
                let trading = fee - of(fee, u128::from(*protocol_fee_percent), 100);
                let compounding = of(trading, u128::from(*compounding_fee_bps), u128::from(ONE_BPS));
                let compounding = Amount::new(compounding);
                *reserve_b = reserve_b.checked_add(compounding).ok_or(QuoteError::Overflow)?;
            }
        }
        let moved = (old_price, next.sqrt_price()?);
        next.state.dynamic_fee = self.state.dynamic_fee.map(|fee| fee.after(moved, at));
        Self::new(next.state).map_err(|_| QuoteError::Overflow)
    }

    /// Returns the output per unit of input before any trade, fees deducted.
    ///
    /// # Errors
    /// If no price fits.
    pub fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        self.price(direction, self.toll(&self.circumstances(direction, at), 0)?.rate)
    }

    /// Returns the output per unit of input before any trade, without fees.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, 0)
    }

    /// Returns a price that no trade exceeds at any moment.
    pub(crate) fn best_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, self.state.base_fee.least_rate().min(self.state.max_fee_rate))
    }

    /// Returns whether a larger trade may have a higher rate, whose rounding makes the output uneven.
    pub(crate) const fn may_bend_upwards(&self) -> bool {
        matches!(self.state.base_fee, DammBaseFee::RateLimiter { .. })
    }

    fn price(&self, direction: Direction, rate: u64) -> Result<Ratio, QuoteError> {
        let (a, b) = match self.state.liquidity {
            DammLiquidity::Range { sqrt_price_x64, .. } => {
                // A root is below 2⁹⁷, so its square times 2³⁰ fits.
                (U256::from(1) << 128, U256::from(sqrt_price_x64) * U256::from(sqrt_price_x64))
            }
            DammLiquidity::Compounding { reserve_a, reserve_b, .. } => {
                (U256::from(reserve_a.base_units()), U256::from(reserve_b.base_units()))
            }
        };
        let (input, output) = direction.orient(a, b);
        let ratio = Ratio::new(output * U256::from(ONE_RATE - rate), input * U256::from(ONE_RATE));
        ratio.ok_or(QuoteError::NotEnoughLiquidity)
    }

    fn sqrt_price(&self) -> Result<u128, QuoteError> {
        match self.state.liquidity {
            DammLiquidity::Range { sqrt_price_x64, .. } => Ok(sqrt_price_x64),
            DammLiquidity::Compounding { reserve_a, reserve_b, .. } => {
                let shifted: U512 = U512::from(reserve_b.base_units()) << 128;
                let price: U512 = shifted / U512::from(reserve_a.base_units());
                u128::try_from(price.root(2)).map_err(|_| QuoteError::Overflow)
            }
        }
    }

    fn circumstances(&self, direction: Direction, at: Moment) -> Circumstances {
        // Only a schedule by the price looks at it; where it does not fit, there is no schedule.
        let sqrt_price_x64 = match self.state.base_fee {
            DammBaseFee::MarketCapScheduler { .. } => self.sqrt_price().unwrap_or(0),
            _ => 0,
        };
        Circumstances { direction, sqrt_price_x64, activated_at: self.state.activated_at, at }
    }

    fn toll(&self, circumstances: &Circumstances, amount_in: u128) -> Result<Toll, QuoteError> {
        let base = self.state.base_fee.rate(circumstances, amount_in)?;
        let rate = base.saturating_add(self.state.dynamic_fee.map_or(0, |fee| fee.rate()));
        let is_on_input = self.state.fee_on.is_input(circumstances.direction);
        Ok(Toll { rate: rate.min(self.state.max_fee_rate), is_on_input })
    }

    /// Swaps an input, its fee included.
    fn swap_in(&self, direction: Direction, amount_in: u128, at: Moment) -> Result<(Toll, Swap), QuoteError> {
        let toll = self.toll(&self.circumstances(direction, at), amount_in)?;
        let net = if toll.is_on_input { amount_in - toll.of(amount_in) } else { amount_in };
        Ok((toll, self.swap(direction, net)?))
    }

    /// Swaps an input without a fee.
    fn swap(&self, direction: Direction, net: u128) -> Result<Swap, QuoteError> {
        match self.state.liquidity {
            DammLiquidity::Range {
                sqrt_price_x64,
                sqrt_min_price_x64,
                sqrt_max_price_x64,
                liquidity_x64,
            } => {
                let range = Range { from: sqrt_price_x64, liquidity: liquidity_x64 };
                let to = range.after_input(direction, net).ok_or(QuoteError::NotEnoughLiquidity)?;
                if !(sqrt_min_price_x64..=sqrt_max_price_x64).contains(&to) {
                    return Err(QuoteError::NotEnoughLiquidity);
                }
                let given = range.amount_out(direction, to).ok_or(QuoteError::Overflow)?;
                Ok(Swap { given, sqrt_price_x64: to })
            }
            DammLiquidity::Compounding { reserve_a, reserve_b, .. } => {
                let (into, out_of) = direction.orient(reserve_a.base_units(), reserve_b.base_units());
                let whole = into.checked_add(net).ok_or(QuoteError::Overflow)?;
                let given = mul_div_floor(out_of, net, whole).ok_or(QuoteError::Overflow)?;
                Ok(Swap { given, sqrt_price_x64: 0 })
            }
        }
    }

    /// Returns the least input without a fee for an output before its fee.
    fn net_in(&self, direction: Direction, gross: u128) -> Result<u128, QuoteError> {
        match self.state.liquidity {
            DammLiquidity::Range {
                sqrt_price_x64,
                sqrt_min_price_x64,
                sqrt_max_price_x64,
                liquidity_x64,
            } => {
                let range = Range { from: sqrt_price_x64, liquidity: liquidity_x64 };
                let to = range.after_output(direction, gross);
                let to = to.filter(|to| (sqrt_min_price_x64..=sqrt_max_price_x64).contains(to));
                let to = to.ok_or(QuoteError::NotEnoughLiquidity)?;
                range.amount_in(direction, to).ok_or(QuoteError::Overflow)
            }
            DammLiquidity::Compounding { reserve_a, reserve_b, .. } => {
                let (into, out_of) = direction.orient(reserve_a.base_units(), reserve_b.base_units());
                let rest = out_of.checked_sub(gross).filter(|rest| *rest > 0);
                let rest = rest.ok_or(QuoteError::NotEnoughLiquidity)?;
                mul_div_ceil(into, gross, rest).ok_or(QuoteError::Overflow)
            }
        }
    }

    /// Returns an input that suffices while one unit less does not, by bisection.
    fn limited_in(&self, direction: Direction, wanted: Amount, at: Moment) -> Result<Amount, QuoteError> {
        let suffices =
            |amount_in| self.amount_out(direction, Amount::new(amount_in), at).is_ok_and(|out| out >= wanted);
        // Without any fee no smaller input would do.
        let mut low = self.net_in(direction, wanted.base_units())?.saturating_sub(1);
        let mut high = low.max(1);
        while !suffices(high) {
            match self.amount_out(direction, Amount::new(high), at) {
                Ok(_) | Err(QuoteError::TooSmall) => {}
                Err(error) => return Err(error),
            }
            low = high;
            high = high.checked_add(high.div_ceil(16)).ok_or(QuoteError::NotEnoughLiquidity)?;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if suffices(middle) { high = middle } else { low = middle }
        }
        Ok(Amount::new(high))
    }
}

/// Liquidity in Q64.64 and a square root of a price.
struct Range {
    from: u128,
    liquidity: u128,
}

impl Range {
    /// Returns the square root of the price to which a net input leads, rounded against the trade.
    fn after_input(&self, direction: Direction, net: u128) -> Option<u128> {
        let scaled = product(self.liquidity, self.from);
        match direction {
            // ⌈L·√P / (L + a·√P)⌉
            Direction::AToB => {
                u128::try_from(scaled.div_ceil(U256::from(self.liquidity) + product(net, self.from))).ok()
            }
            // √P + ⌊b·2¹²⁸ / L⌋
            Direction::BToA => {
                let shifted: U256 = U256::from(net) << 128;
                self.from.checked_add(u128::try_from(shifted / U256::from(self.liquidity)).ok()?)
            }
        }
    }

    /// Returns the square root of the price to which an output leads, rounded so that it suffices.
    fn after_output(&self, direction: Direction, gross: u128) -> Option<u128> {
        match direction {
            // √P − ⌈b·2¹²⁸ / L⌉
            Direction::AToB => {
                let shifted: U256 = U256::from(gross) << 128;
                self.from.checked_sub(u128::try_from(shifted.div_ceil(U256::from(self.liquidity))).ok()?)
            }
            // ⌈L·√P / (L − a·√P)⌉
            Direction::BToA => {
                let rest = U256::from(self.liquidity).checked_sub(product(gross, self.from));
                let rest = rest.filter(|rest| !rest.is_zero())?;
                u128::try_from(product(self.liquidity, self.from).div_ceil(rest)).ok()
            }
        }
    }

    /// Returns the net input that leads to a price, rounded up.
    fn amount_in(&self, direction: Direction, to: u128) -> Option<u128> {
        let scaled = product(self.liquidity, self.from.abs_diff(to));
        let amount = match direction {
            Direction::AToB => scaled.div_ceil(product(self.from, to)),
            Direction::BToA => scaled.div_ceil(U256::from(1) << 128),
        };
        u128::try_from(amount).ok()
    }

    /// Returns the output on the way to a price, rounded down.
    fn amount_out(&self, direction: Direction, to: u128) -> Option<u128> {
        let scaled = product(self.liquidity, self.from.abs_diff(to));
        let amount: U256 = match direction {
            Direction::AToB => scaled >> 128,
            Direction::BToA => scaled / product(self.from, to),
        };
        u128::try_from(amount).ok()
    }
}

impl TryFrom<DammState> for DammV2 {
    type Error = InvalidPool;

    fn try_from(state: DammState) -> Result<Self, InvalidPool> {
        Self::new(state)
    }
}

impl From<DammV2> for DammState {
    fn from(pool: DammV2) -> Self {
        pool.state
    }
}
