//! Orca's Whirlpools: concentrated liquidity with a tick table of its own, and a fee that may adapt to volatility.
//!
//! Steps, roundings and the price at a tick follow the program `whirlpools` of August 2026, so exact-in quotes equal the
//! program's to the last unit. The protocol's fee is a share of the trade's fee; it changes no quote, and no snapshot
//! has it. An exact-out quote is the least input whose exact-in quote suffices.

mod adaptive_fee;

pub use adaptive_fee::{AdaptiveFee, AdaptiveFeeVolatility};

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::budget::{Meter, Unmetered};
use crate::error::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

use super::ticks::{Fees, Ladder, Place, Tick, TickTable, Walk};
use adaptive_fee::AdaptiveSteps;

/// The highest fee that the program sets, in millionths.
const MAX_FEE_PPM: u32 = 60_000;

/// A Whirlpool, as far as its ticks are known.
///
/// Trades go as far as the outermost known tick, and report not enough liquidity beyond. A pool that cannot be traded
/// before a moment (`trade_enable_timestamp` of its oracle account) has it in its [conditions](crate::Conditions).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WhirlpoolState", into = "WhirlpoolState")]
pub struct Whirlpool {
    ladder: Ladder,
    fee_ppm: u32,
    adaptive_fee: Option<AdaptiveFee>,
}

/// The on-chain state of a Whirlpool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhirlpoolState {
    /// The square root of the price of token a in token b, in Q64.64: `sqrt_price`.
    #[serde(with = "crate::decimal")]
    pub sqrt_price_x64: u128,
    /// The tick in which the price is: `tick_current_index`. After a trade that moved the price down onto a tick, it is
    /// the tick below.
    pub tick_current: i32,
    /// The distance between two ticks that may be initialised.
    pub tick_spacing: u16,
    /// The liquidity in range.
    #[serde(with = "crate::decimal")]
    pub liquidity: u128,
    /// The fee on the input, in millionths: `fee_rate`, the part of it that never changes.
    pub fee_ppm: u32,
    /// The initialised ticks, ascending.
    pub ticks: Vec<Tick>,
    /// The part of the fee that adapts to volatility, if the pool's oracle account has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_fee: Option<AdaptiveFee>,
}

impl Whirlpool {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If the price is not in the current tick, a tick is out of range, out of order or not a multiple of
    /// the spacing, the liquidity would overflow or fall below zero at some tick, the fee is above six percent, or a
    /// parameter of the adaptive fee is impossible.
    pub fn new(state: &WhirlpoolState) -> Result<Self, InvalidPool> {
        if state.fee_ppm > MAX_FEE_PPM {
            return Err(InvalidPool { field: "fee_ppm", reason: "must not be above 60000" });
        }
        if let Some(fee) = &state.adaptive_fee {
            fee.check(state.tick_spacing)?;
        }
        let place = Place {
            sqrt_price_x64: state.sqrt_price_x64,
            tick_current: state.tick_current,
            liquidity: state.liquidity,
        };
        let ladder = Ladder::new(TickTable::Orca, place, state.tick_spacing, &state.ticks, &[])?;
        Ok(Self { ladder, fee_ppm: state.fee_ppm, adaptive_fee: state.adaptive_fee })
    }

    /// Returns the pool at another price, with the liquidity in range there. The ticks are shared, and only a few of
    /// them are looked at. An adaptive fee stays as it is: see [`Self::with_volatility`].
    ///
    /// # Errors
    /// If the price is not in the tick, or the liquidity is not the one that the known ticks say. Then the ticks have
    /// changed, too, and the pool has to be read again.
    pub fn at_price(
        &self,
        sqrt_price_x64: u128,
        tick_current: i32,
        liquidity: u128,
    ) -> Result<Self, InvalidPool> {
        let ladder = self.ladder.at(Place { sqrt_price_x64, tick_current, liquidity })?;
        Ok(Self { ladder, ..*self })
    }

    /// Returns the pool with another volatility of its adaptive fee.
    ///
    /// # Errors
    /// If the pool has no adaptive fee, or the volatility is impossible.
    pub fn with_volatility(mut self, volatility: AdaptiveFeeVolatility) -> Result<Self, InvalidPool> {
        let no_fee = InvalidPool { field: "adaptive_fee", reason: "must be there to have a volatility" };
        let fee = AdaptiveFee { volatility, ..self.adaptive_fee.ok_or(no_fee)? };
        fee.check(self.ladder.tick_spacing())?;
        self.adaptive_fee = Some(fee);
        Ok(self)
    }

    /// Returns the square root of the price at a tick in Q64.64, as the program computes it, or `None` if
    /// there is no such tick.
    pub fn sqrt_price_at_tick(tick: i32) -> Option<u128> {
        TickTable::Orca.sqrt_price(tick)
    }

    /// Returns the state of the pool.
    pub fn state(&self) -> WhirlpoolState {
        let Place { sqrt_price_x64, tick_current, liquidity } = self.ladder.place();
        WhirlpoolState {
            sqrt_price_x64,
            tick_current,
            tick_spacing: self.ladder.tick_spacing(),
            liquidity,
            fee_ppm: self.fee_ppm,
            ticks: self.ladder.ticks(),
            adaptive_fee: self.adaptive_fee,
        }
    }

    /// Returns a price that no trade exceeds, without a walk: the one before any trade, less the part of the fee that
    /// never changes.
    pub(crate) fn best_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.ladder.price(direction, self.fee_ppm)
    }

    /// Returns whether the fee may fall while a trade leads the price back.
    pub(crate) const fn may_bend_upwards(&self) -> bool {
        self.adaptive_fee.is_some()
    }

    /// Returns what comes out for exactly `amount_in`, rounded down at each tick.
    ///
    /// # Errors
    /// If nothing would come out, or the trade would pass the outermost known tick.
    pub fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.metered_out(direction, amount_in, at, &Unmetered)
    }

    /// Returns [`Self::amount_out`], unless the walk passes more ticks or groups than the meter allows.
    pub(crate) fn metered_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        let out = self.walk(direction, at).swap_exact_in(amount_in.base_units(), meter)?;
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// Returns the least input for which at least `amount_out` comes out.
    ///
    /// # Errors
    /// If the amount is zero, or the trade would pass the outermost known tick.
    pub fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.metered_in(direction, amount_out, at, &Unmetered)
    }

    /// Returns [`Self::amount_in`], unless the walk passes more ticks or groups than the meter allows.
    pub(crate) fn metered_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        self.walk(direction, at).swap_exact_out(amount_out.base_units(), meter).map(Amount::new)
    }

    /// Returns the pool after exactly `amount_in` went in.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount, at: Moment) -> Result<Self, QuoteError> {
        let mut walk = self.walk(direction, at);
        if walk.swap_exact_in(amount_in.base_units(), &Unmetered)? == 0 {
            return Err(QuoteError::TooSmall);
        }
        let ladder = self.ladder.after(&walk);
        let moved = (self.ladder.place().sqrt_price_x64, walk.sqrt_price());
        let adaptive_fee = match (self.adaptive_fee, walk.into_fees()) {
            (Some(fee), Fees::Changing(steps)) => Some(fee.after(&steps, moved, at)),
            (fee, _) => fee,
        };
        Ok(Self { ladder, adaptive_fee, ..*self })
    }

    /// Returns the output per unit of input before any trade, fees deducted.
    ///
    /// # Errors
    /// If there is no liquidity in this direction.
    pub fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        self.ladder.first_price(direction, self.fees(direction, at))
    }

    /// Returns the output per unit of input before any trade, without fees.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.ladder.price(direction, 0)
    }

    fn walk(&self, direction: Direction, at: Moment) -> Walk<'_, Fees<AdaptiveSteps>> {
        self.ladder.walk(direction, self.fees(direction, at), true)
    }

    fn fees(&self, direction: Direction, at: Moment) -> Fees<AdaptiveSteps> {
        let tick = self.ladder.place().tick_current;
        self.adaptive_fee.map_or(Fees::Fixed(self.fee_ppm), |fee| {
            Fees::Changing(fee.steps(self.fee_ppm, direction, tick, at))
        })
    }
}

impl TryFrom<WhirlpoolState> for Whirlpool {
    type Error = InvalidPool;

    fn try_from(state: WhirlpoolState) -> Result<Self, InvalidPool> {
        Self::new(&state)
    }
}

impl From<Whirlpool> for WhirlpoolState {
    fn from(pool: Whirlpool) -> Self {
        pool.state()
    }
}
