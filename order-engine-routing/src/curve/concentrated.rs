//! Concentrated liquidity, as in Raydium's CLMM: between two initialised ticks the pool is a constant
//! product of virtual reserves, and liquidity changes at each of them.
//!
//! The formulas are those of the Uniswap v3 whitepaper; steps, roundings and the price at a tick follow
//! the program `raydium-clmm`, so exact-in quotes are the program's to the last unit. Exact-out quotes
//! are the least input whose exact-in quote suffices; the program's own exact-out may ask for a few
//! units more where the output ends on a tick.

mod sqrt_price;
mod walk;

use std::sync::Arc;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::pool::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::Direction;
use sqrt_price::{MAX_TICK, MIN_TICK};
use walk::Walk;

/// The whole of which a fee is so many parts: a million.
const ONE_PPM: u32 = 1_000_000;

/// A pool of concentrated liquidity, as far as its ticks are known.
///
/// Trades go as far as the outermost known tick: a snapshot of a few ticks around the price quotes
/// what they allow and finds not enough liquidity beyond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConcentratedState", into = "ConcentratedState")]
pub struct ConcentratedLiquidity {
    sqrt_price_x64: u128,
    tick_current: i32,
    tick_spacing: u16,
    liquidity: u128,
    fee_ppm: u32,
    /// How many of the ticks are not above the current one.
    ticks_below: usize,
    ticks: Arc<[Boundary]>,
}

/// What a snapshot of a pool of concentrated liquidity says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcentratedState {
    /// The square root of the price of token a in token b, in Q64.64.
    #[serde(with = "crate::decimal")]
    pub sqrt_price_x64: u128,
    /// The tick in which the price is. Right after a trade downwards that ended on a tick, it is the
    /// one below.
    pub tick_current: i32,
    /// Of how many ticks one may be initialised.
    pub tick_spacing: u16,
    /// The liquidity in range.
    #[serde(with = "crate::decimal")]
    pub liquidity: u128,
    /// The fee on what goes in, in millionths.
    pub fee_ppm: u32,
    /// The initialised ticks, ascending.
    pub ticks: Vec<Tick>,
}

/// An initialised tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Which one.
    pub index: i32,
    /// The liquidity that is added where the price rises across the tick.
    #[serde(with = "crate::decimal")]
    pub liquidity_net: i128,
}

/// An initialised tick and the price there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Boundary {
    tick: Tick,
    sqrt_price_x64: u128,
}

impl ConcentratedLiquidity {
    /// The pool of a snapshot.
    ///
    /// # Errors
    /// If the price is not in the current tick, a tick is out of range, out of order or out of step,
    /// liquidity would fall below zero or overflow somewhere, or the fee takes everything.
    pub fn new(state: &ConcentratedState) -> Result<Self, InvalidPool> {
        check_price(state)?;
        if state.fee_ppm >= ONE_PPM {
            return Err(InvalidPool { field: "fee_ppm", reason: "must be below a million" });
        }
        let ticks = boundaries(state)?;
        let ticks_below = ticks.partition_point(|boundary| boundary.tick.index <= state.tick_current);
        check_liquidity(state, ticks_below)?;
        Ok(Self {
            sqrt_price_x64: state.sqrt_price_x64,
            tick_current: state.tick_current,
            tick_spacing: state.tick_spacing,
            liquidity: state.liquidity,
            fee_ppm: state.fee_ppm,
            ticks_below,
            ticks,
        })
    }

    /// The square root of the price at a tick in Q64.64, as the program computes it. Nothing if there
    /// is no such tick.
    pub fn sqrt_price_at_tick(tick: i32) -> Option<u128> {
        sqrt_price::at_tick(tick)
    }

    /// The snapshot of the pool.
    pub fn state(&self) -> ConcentratedState {
        ConcentratedState {
            sqrt_price_x64: self.sqrt_price_x64,
            tick_current: self.tick_current,
            tick_spacing: self.tick_spacing,
            liquidity: self.liquidity,
            fee_ppm: self.fee_ppm,
            ticks: self.ticks.iter().map(|boundary| boundary.tick).collect(),
        }
    }

    /// What comes out for exactly `amount_in`, rounded down at each tick.
    ///
    /// # Errors
    /// If nothing would come out, or the ticks do not suffice.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let out = Walk::new(self, direction).take_in(amount_in.base_units())?;
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// The least that must go in for at least `amount_out` to come out.
    ///
    /// # Errors
    /// If the ticks do not suffice.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        Walk::new(self, direction).give_out(amount_out.base_units()).map(Amount::new)
    }

    /// The pool after exactly `amount_in` went in.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        let mut walk = Walk::new(self, direction);
        if walk.take_in(amount_in.base_units())? == 0 {
            return Err(QuoteError::TooSmall);
        }
        Ok(walk.into_pool())
    }

    /// Output per input before any trade, fees deducted.
    ///
    /// # Errors
    /// If there is no liquidity in this direction.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let sqrt_price = Walk::new(self, direction).first_liquid_price()?;
        price(direction, sqrt_price, ONE_PPM - self.fee_ppm)
    }

    /// Output per input before any trade and without fees.
    ///
    /// # Errors
    /// Never; other curves may hold nothing.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        price(direction, self.sqrt_price_x64, ONE_PPM)
    }
}

/// The price of the input in the output, of which so many millionths are kept.
fn price(direction: Direction, sqrt_price_x64: u128, kept_ppm: u32) -> Result<Ratio, QuoteError> {
    let root = U256::from(sqrt_price_x64);
    // A root is below 2⁹⁷, so that its square times a million fits.
    let (numerator, denominator) = direction.orient(root * root, U256::from(1) << 128);
    let ratio = Ratio::new(numerator * U256::from(kept_ppm), denominator * U256::from(ONE_PPM));
    ratio.ok_or(QuoteError::NotEnoughLiquidity)
}

fn check_price(state: &ConcentratedState) -> Result<(), InvalidPool> {
    let invalid = |field, reason| Err(InvalidPool { field, reason });
    if !(MIN_TICK..MAX_TICK).contains(&state.tick_current) {
        return invalid("tick_current", "must be a tick below the highest");
    }
    let (here, next) = (sqrt_price::at_tick(state.tick_current), sqrt_price::at_tick(state.tick_current + 1));
    match (here, next) {
        (Some(here), Some(next)) if (here..=next).contains(&state.sqrt_price_x64) => Ok(()),
        _ => invalid("sqrt_price_x64", "must be in the current tick"),
    }
}

fn boundaries(state: &ConcentratedState) -> Result<Arc<[Boundary]>, InvalidPool> {
    let invalid = |reason| InvalidPool { field: "ticks", reason };
    if state.tick_spacing == 0 {
        return Err(InvalidPool { field: "tick_spacing", reason: "must be greater than zero" });
    }
    if !state.ticks.is_sorted_by(|one, next| one.index < next.index) {
        return Err(invalid("must be ascending"));
    }
    let boundary = |tick: &Tick| {
        if tick.index % i32::from(state.tick_spacing) != 0 {
            return Err(invalid("must be multiples of the spacing"));
        }
        let sqrt_price_x64 = sqrt_price::at_tick(tick.index).ok_or(invalid("must be in range"))?;
        Ok(Boundary { tick: *tick, sqrt_price_x64 })
    };
    state.ticks.iter().map(boundary).collect()
}

/// Walks from the price to both ends, as no trade could otherwise.
fn check_liquidity(state: &ConcentratedState, ticks_below: usize) -> Result<(), InvalidPool> {
    let (below, above) = state.ticks.split_at(ticks_below);
    let rising =
        above.iter().try_fold(state.liquidity, |sum, tick| sum.checked_add_signed(tick.liquidity_net));
    let falling = below.iter().rev().try_fold(state.liquidity, |sum, tick| {
        let negated = tick.liquidity_net.checked_neg()?;
        sum.checked_add_signed(negated)
    });
    match rising.and(falling) {
        Some(_) => Ok(()),
        None => Err(InvalidPool { field: "liquidity", reason: "must stay within bounds at each tick" }),
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
