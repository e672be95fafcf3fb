//! Concentrated liquidity, as in Raydium's CLMM: between two initialised ticks the pool is a constant
//! product of virtual reserves, and liquidity changes at each of them.
//!
//! The formulas are those of the Uniswap v3 whitepaper; steps, roundings and the price at a tick follow
//! the program `raydium-clmm` of July 2026, so exact-in quotes equal the program's to the last unit: with its dynamic
//! fee, with a fee on either token, and with limit orders, which a trade fills when it reaches their tick and before
//! it crosses it. An exact-out quote is the least input whose exact-in quote suffices; the program's own exact-out
//! instruction may take a few units more where the output ends on a tick.

mod dynamic_fee;

pub use dynamic_fee::{DynamicFee, DynamicFeeVolatility};

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::budget::{Meter, Unmetered};
use crate::error::{InvalidPool, QuoteError};
use crate::fee::FeeOn;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

use super::ticks::{Fees, Ladder, MAX_RATE_PPM, ONE_PPM, Place, Tick, TickOrders, TickTable, Walk};
use dynamic_fee::DynamicSteps;

/// A pool of concentrated liquidity, as far as its ticks are known.
///
/// Trades go as far as the outermost known tick: a snapshot of a few ticks around the price quotes
/// the trades within them and reports not enough liquidity beyond. The program trades only after the pool's
/// `open_time`, so that its [conditions](crate::Conditions) open it a second later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConcentratedState", into = "ConcentratedState")]
pub struct ConcentratedLiquidity {
    ladder: Ladder,
    fee_ppm: u32,
    fee_on: FeeOn,
    dynamic_fee: Option<DynamicFee>,
}

/// The on-chain state of a pool of concentrated liquidity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcentratedState {
    /// The square root of the price of token a in token b, in Q64.64.
    #[serde(with = "crate::decimal")]
    pub sqrt_price_x64: u128,
    /// The tick in which the price is. After a trade that moved the price down onto a tick, it is the
    /// tick below.
    pub tick_current: i32,
    /// The distance between two ticks that may be initialised.
    pub tick_spacing: u16,
    /// The liquidity in range.
    #[serde(with = "crate::decimal")]
    pub liquidity: u128,
    /// The fee, in millionths: the part of it that never changes.
    pub fee_ppm: u32,
    /// The ticks at which positions begin or end, ascending.
    pub ticks: Vec<Tick>,
    /// The amount of which the fee is taken: the input, or always token a or token b.
    #[serde(default, skip_serializing_if = "FeeOn::is_default")]
    pub fee_on: FeeOn,
    /// The part of the fee that grows as the price moves, if the pool has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_fee: Option<DynamicFee>,
    /// The limit orders that are not filled yet, by their ticks, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limit_orders: Vec<TickOrders>,
}

impl ConcentratedLiquidity {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If the price is not in the current tick, a tick is out of range, out of order or not a multiple of
    /// the spacing, the liquidity would overflow or fall below zero at some tick, the fee takes the
    /// whole input or is always on the output, or a parameter of the dynamic fee is impossible.
    pub fn new(state: &ConcentratedState) -> Result<Self, InvalidPool> {
        if state.fee_ppm >= ONE_PPM {
            return Err(InvalidPool { field: "fee_ppm", reason: "must be below a million" });
        }
        if state.fee_on == FeeOn::Output {
            return Err(InvalidPool { field: "fee_on", reason: "must be the input, token a or token b" });
        }
        if let Some(fee) = &state.dynamic_fee {
            fee.check(state.tick_spacing)?;
        }
        let place = Place {
            sqrt_price_x64: state.sqrt_price_x64,
            tick_current: state.tick_current,
            liquidity: state.liquidity,
        };
        let (ticks, orders) = (&state.ticks, &state.limit_orders);
        let ladder = Ladder::new(TickTable::Raydium, place, state.tick_spacing, ticks, orders)?;
        Ok(Self { ladder, fee_ppm: state.fee_ppm, fee_on: state.fee_on, dynamic_fee: state.dynamic_fee })
    }

    /// Returns the pool at another price, with the liquidity in range there. The ticks are shared, and only a few of
    /// them are looked at. A dynamic fee stays as it is: see [`Self::with_volatility`].
    ///
    /// # Errors
    /// If the price is not in the tick, or the liquidity is not the one that the known ticks say. Then the ticks have
    /// changed, too, and the pool has to be read again. So it has if limit orders rest in it, because nothing here says
    /// which of them were filled.
    pub fn at_price(
        &self,
        sqrt_price_x64: u128,
        tick_current: i32,
        liquidity: u128,
    ) -> Result<Self, InvalidPool> {
        let ladder = self.ladder.at(Place { sqrt_price_x64, tick_current, liquidity })?;
        Ok(Self { ladder, ..*self })
    }

    /// Returns the pool with another volatility of its dynamic fee.
    ///
    /// # Errors
    /// If the pool has no dynamic fee, or the volatility is above the highest.
    pub fn with_volatility(mut self, volatility: DynamicFeeVolatility) -> Result<Self, InvalidPool> {
        let no_fee = InvalidPool { field: "dynamic_fee", reason: "must be there to have a volatility" };
        let fee = DynamicFee { volatility, ..self.dynamic_fee.ok_or(no_fee)? };
        fee.check(self.ladder.tick_spacing())?;
        self.dynamic_fee = Some(fee);
        Ok(self)
    }

    /// Returns a price that no trade exceeds, without a walk: the one before any trade, less the part of the fee that
    /// never changes.
    pub(crate) fn best_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let least_fee =
            if self.dynamic_fee.is_some() { self.fee_ppm.min(MAX_RATE_PPM) } else { self.fee_ppm };
        self.ladder.price(direction, least_fee)
    }

    /// Returns whether the pool may pay more for one unit than for the unit before it: its fee may fall while a trade
    /// leads the price back, and limit orders sell at a price that is rounded.
    pub(crate) const fn may_bend_upwards(&self) -> bool {
        self.dynamic_fee.is_some() || self.ladder.has_orders()
    }

    /// Returns the square root of the price at a tick in Q64.64, as the program computes it, or `None` if
    /// there is no such tick.
    pub fn sqrt_price_at_tick(tick: i32) -> Option<u128> {
        TickTable::Raydium.sqrt_price(tick)
    }

    /// Returns the state of the pool.
    pub fn state(&self) -> ConcentratedState {
        let Place { sqrt_price_x64, tick_current, liquidity } = self.ladder.place();
        ConcentratedState {
            sqrt_price_x64,
            tick_current,
            tick_spacing: self.ladder.tick_spacing(),
            liquidity,
            fee_ppm: self.fee_ppm,
            ticks: self.ladder.ticks(),
            fee_on: self.fee_on,
            dynamic_fee: self.dynamic_fee,
            limit_orders: self.ladder.orders(),
        }
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

    /// Returns [`Self::amount_out`], unless the walk passes more ticks than the meter allows.
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

    /// Returns [`Self::amount_in`], unless the walk passes more ticks than the meter allows.
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
        let dynamic_fee = match (self.dynamic_fee, walk.into_fees()) {
            (Some(fee), Fees::Changing(steps)) => Some(fee.after(&steps)),
            (fee, _) => fee,
        };
        Ok(Self { ladder, dynamic_fee, ..*self })
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

    fn walk(&self, direction: Direction, at: Moment) -> Walk<'_, Fees<DynamicSteps>> {
        self.ladder.walk(direction, self.fees(direction, at), self.fee_on.is_input(direction))
    }

    fn fees(&self, direction: Direction, at: Moment) -> Fees<DynamicSteps> {
        let (tick, spacing) = (self.ladder.place().tick_current, self.ladder.tick_spacing());
        self.dynamic_fee.map_or(Fees::Fixed(self.fee_ppm), |fee| {
            Fees::Changing(fee.steps(self.fee_ppm, direction, (tick, spacing), at))
        })
    }
}

impl TryFrom<ConcentratedState> for ConcentratedLiquidity {
    type Error = InvalidPool;

    fn try_from(state: ConcentratedState) -> Result<Self, InvalidPool> {
        Self::new(&state)
    }
}

impl From<ConcentratedLiquidity> for ConcentratedState {
    fn from(pool: ConcentratedLiquidity) -> Self {
        pool.state()
    }
}
