//! Concentrated liquidity, as in Raydium's CLMM: between two initialised ticks the pool is a constant
//! product of virtual reserves, and liquidity changes at each of them.
//!
//! The formulas are those of the Uniswap v3 whitepaper; steps, roundings and the price at a tick follow
//! the program `raydium-clmm`, so exact-in quotes equal the program's to the last unit. An exact-out
//! quote is the least input whose exact-in quote suffices; the program's own exact-out instruction may
//! take a few units more where the output ends on a tick.

mod sqrt_price;
mod tick;
mod walk;

pub use tick::Tick;

use std::sync::Arc;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::budget::{Meter, Unmetered};
use crate::error::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::Direction;
use sqrt_price::{MAX_TICK, MIN_TICK};
use tick::PricedTick;
use walk::{Cursor, ONE_PPM, Walk};

/// A pool of concentrated liquidity, as far as its ticks are known.
///
/// Trades go as far as the outermost known tick: a snapshot of a few ticks around the price quotes
/// the trades within them and reports not enough liquidity beyond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConcentratedState", into = "ConcentratedState")]
pub struct ConcentratedLiquidity {
    cursor: Cursor,
    tick_current: i32,
    tick_spacing: u16,
    fee_ppm: u32,
    ticks: Arc<[PricedTick]>,
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
    /// The fee on the input, in millionths.
    pub fee_ppm: u32,
    /// The initialised ticks, ascending.
    pub ticks: Vec<Tick>,
}

impl ConcentratedLiquidity {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If the price is not in the current tick, a tick is out of range, out of order or not a multiple of
    /// the spacing, the liquidity would overflow or fall below zero at some tick, or the fee takes the
    /// whole input.
    pub fn new(state: &ConcentratedState) -> Result<Self, InvalidPool> {
        check_price(state.sqrt_price_x64, state.tick_current)?;
        if state.fee_ppm >= ONE_PPM {
            return Err(InvalidPool { field: "fee_ppm", reason: "must be below a million" });
        }
        let mut ticks = priced_ticks(state)?;
        let ticks_below = ticks.partition_point(|priced| priced.tick.index <= state.tick_current);
        add_up_liquidity(&mut ticks, ticks_below, state.liquidity)
            .ok_or(InvalidPool { field: "liquidity", reason: "must stay within bounds at each tick" })?;
        let (sqrt_price_x64, liquidity) = (state.sqrt_price_x64, state.liquidity);
        Ok(Self {
            cursor: Cursor { sqrt_price_x64, liquidity, ticks_below },
            tick_current: state.tick_current,
            tick_spacing: state.tick_spacing,
            fee_ppm: state.fee_ppm,
            ticks: ticks.into(),
        })
    }

    /// Returns the pool at another price, with the liquidity in range there. The ticks are shared, and only a few of
    /// them are looked at.
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
        check_price(sqrt_price_x64, tick_current)?;
        let ticks_below = self.ticks.partition_point(|priced| priced.tick.index <= tick_current);
        let known = ticks_below.checked_sub(1).map(|below| self.ticks[below].liquidity_above);
        let known = known.or_else(|| {
            let first = self.ticks.first()?;
            first.liquidity_above.checked_add_signed(first.tick.liquidity_net.checked_neg()?)
        });
        if known.is_some_and(|known| known != liquidity) {
            return Err(InvalidPool { field: "liquidity", reason: "must be that of the known ticks" });
        }
        let cursor = Cursor { sqrt_price_x64, liquidity, ticks_below };
        Ok(Self { cursor, tick_current, ticks: Arc::clone(&self.ticks), ..*self })
    }

    /// Returns a price that no trade exceeds, without a walk: the one before any trade, fees deducted.
    pub(crate) fn best_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        price(direction, self.cursor.sqrt_price_x64, ONE_PPM - self.fee_ppm)
    }

    /// Returns the square root of the price at a tick in Q64.64, as the program computes it, or `None` if
    /// there is no such tick.
    pub fn sqrt_price_at_tick(tick: i32) -> Option<u128> {
        sqrt_price::at_tick(tick)
    }

    /// Returns the state of the pool.
    pub fn state(&self) -> ConcentratedState {
        ConcentratedState {
            sqrt_price_x64: self.cursor.sqrt_price_x64,
            tick_current: self.tick_current,
            tick_spacing: self.tick_spacing,
            liquidity: self.cursor.liquidity,
            fee_ppm: self.fee_ppm,
            ticks: self.ticks.iter().map(|priced| priced.tick).collect(),
        }
    }

    /// Returns what comes out for exactly `amount_in`, rounded down at each tick.
    ///
    /// # Errors
    /// If nothing would come out, or the trade would pass the outermost known tick.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        self.metered_out(direction, amount_in, &Unmetered)
    }

    /// Returns [`Self::amount_out`], unless the walk passes more ticks than the meter allows.
    pub(crate) fn metered_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        let out = self.walk(direction).swap_exact_in(amount_in.base_units(), meter)?;
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// Returns the least input for which at least `amount_out` comes out.
    ///
    /// # Errors
    /// If the amount is zero, or the trade would pass the outermost known tick.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        self.metered_in(direction, amount_out, &Unmetered)
    }

    /// Returns [`Self::amount_in`], unless the walk passes more ticks than the meter allows.
    pub(crate) fn metered_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        self.walk(direction).swap_exact_out(amount_out.base_units(), meter).map(Amount::new)
    }

    /// Returns the pool after exactly `amount_in` went in.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        let mut walk = self.walk(direction);
        if walk.swap_exact_in(amount_in.base_units(), &Unmetered)? == 0 {
            return Err(QuoteError::TooSmall);
        }
        let (cursor, tick_current) = (walk.cursor(), walk.current_tick());
        Ok(Self { cursor, tick_current, ticks: Arc::clone(&self.ticks), ..*self })
    }

    /// Returns the output per unit of input before any trade, fees deducted.
    ///
    /// # Errors
    /// If there is no liquidity in this direction.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let sqrt_price = self.walk(direction).first_liquid_price()?;
        price(direction, sqrt_price, ONE_PPM - self.fee_ppm)
    }

    /// Returns the output per unit of input before any trade, without fees.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        price(direction, self.cursor.sqrt_price_x64, ONE_PPM)
    }

    fn walk(&self, direction: Direction) -> Walk<'_> {
        Walk::new(&self.ticks, self.fee_ppm, self.cursor, direction)
    }
}

/// Returns the price of the input in the output, times `kept_ppm` millionths.
fn price(direction: Direction, sqrt_price_x64: u128, kept_ppm: u32) -> Result<Ratio, QuoteError> {
    let root = U256::from(sqrt_price_x64);
    // A root is below 2⁹⁷, so its square times a million fits.
    let (numerator, denominator) = direction.orient(root * root, U256::from(1) << 128);
    let ratio = Ratio::new(numerator * U256::from(kept_ppm), denominator * U256::from(ONE_PPM));
    ratio.ok_or(QuoteError::NotEnoughLiquidity)
}

fn check_price(sqrt_price_x64: u128, tick_current: i32) -> Result<(), InvalidPool> {
    let invalid = |field, reason| Err(InvalidPool { field, reason });
    if !(MIN_TICK..MAX_TICK).contains(&tick_current) {
        return invalid("tick_current", "must be a tick below the highest");
    }
    let (here, next) = (sqrt_price::at_tick(tick_current), sqrt_price::at_tick(tick_current + 1));
    match (here, next) {
        (Some(here), Some(next)) if (here..=next).contains(&sqrt_price_x64) => Ok(()),
        _ => invalid("sqrt_price_x64", "must be in the current tick"),
    }
}

fn priced_ticks(state: &ConcentratedState) -> Result<Vec<PricedTick>, InvalidPool> {
    let invalid = |reason| InvalidPool { field: "ticks", reason };
    if state.tick_spacing == 0 {
        return Err(InvalidPool { field: "tick_spacing", reason: "must be greater than zero" });
    }
    if !state.ticks.is_sorted_by(|one, next| one.index < next.index) {
        return Err(invalid("must be ascending"));
    }
    let priced = |tick: &Tick| {
        if tick.index % i32::from(state.tick_spacing) != 0 {
            return Err(invalid("must be multiples of the spacing"));
        }
        let sqrt_price_x64 = sqrt_price::at_tick(tick.index).ok_or(invalid("must be in range"))?;
        Ok(PricedTick { tick: *tick, sqrt_price_x64, liquidity_above: 0 })
    };
    state.ticks.iter().map(priced).collect()
}

/// Adds up the liquidity from the price to both ends, so that no trade overflows it. Returns `None` if it does not
/// stay within bounds.
fn add_up_liquidity(ticks: &mut [PricedTick], ticks_below: usize, liquidity: u128) -> Option<()> {
    let (below, above) = ticks.split_at_mut(ticks_below);
    let mut rising = liquidity;
    for priced in above {
        rising = rising.checked_add_signed(priced.tick.liquidity_net)?;
        priced.liquidity_above = rising;
    }
    let mut falling = liquidity;
    for priced in below.iter_mut().rev() {
        priced.liquidity_above = falling;
        falling = falling.checked_add_signed(priced.tick.liquidity_net.checked_neg()?)?;
    }
    Some(())
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
