//! Uniswap v3: concentrated liquidity with prices of 160 bits.
//!
//! Steps, roundings and the price at a tick follow the contract `UniswapV3Pool`, so exact-in quotes equal its swaps to the last
//! unit. It looks for the next tick within a word of its bitmap of ticks, 256 of them, and rounds at the edge of
//! each word as at a tick: so a quote knows which words a snapshot has. The protocol's fee is a share of the trade's fee; it
//! changes no quote, and no snapshot has it. An exact-out quote is the least input whose exact-in quote suffices.

mod math;
mod tick_price;
mod walk;

use std::sync::Arc;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::budget::{Meter, Unmetered};
use crate::error::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::Direction;

use super::ticks::Tick;
use tick_price::{MAX_TICK, MIN_TICK, sqrt_price_at_tick};
use walk::{Place, Walk};

/// Fees are millionths.
const ONE_PPM: u32 = 1_000_000;
/// How many ticks a word of the bitmap has.
const WORD_TICKS: i32 = 256;

/// A pool of Uniswap v3, as far as its ticks are known.
///
/// Trades go as far as the known words of its bitmap, and report not enough liquidity beyond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UniswapV3State", into = "UniswapV3State")]
pub struct UniswapV3 {
    place: Place,
    fee_ppm: u32,
    ticks: Arc<Ticks>,
}

/// The state of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniswapV3State {
    /// The square root of the price of token a in token b, in Q64.96: `sqrtPriceX96`.
    #[serde(with = "crate::decimal")]
    pub sqrt_price_x96: U256,
    /// The tick in which the price is: `tick`. After a trade that moved the price down onto a tick, it is the tick below.
    pub tick_current: i32,
    /// The distance between two ticks that may be initialised: `tickSpacing`.
    pub tick_spacing: u16,
    /// The liquidity in range: `liquidity`.
    #[serde(with = "crate::decimal")]
    pub liquidity: u128,
    /// The fee on the input, in millionths: `fee`.
    pub fee_ppm: u32,
    /// The initialised ticks in the known words, ascending.
    pub ticks: Vec<Tick>,
    /// The first word of the bitmap that is known: `tickBitmap`.
    pub first_word: i16,
    /// The last word of the bitmap that is known.
    pub last_word: i16,
}

/// What is known of the ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ticks {
    spacing: i32,
    first_word: i32,
    last_word: i32,
    initialised: Vec<PricedTick>,
}

/// An initialised tick and its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PricedTick {
    index: i32,
    liquidity_net: i128,
    sqrt_price_x96: U256,
}

impl UniswapV3 {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If the price is not in the current tick or no price at all, a tick is out of range, out of order, not a multiple of the
    /// spacing or in no known word, the liquidity would overflow or fall below zero at some tick, or the fee takes the
    /// whole input.
    pub fn new(state: &UniswapV3State) -> Result<Self, InvalidPool> {
        let invalid = |field, reason| Err(InvalidPool { field, reason });
        if state.fee_ppm >= ONE_PPM {
            return invalid("fee_ppm", "must be below a million");
        }
        if state.tick_spacing == 0 {
            return invalid("tick_spacing", "must be greater than zero");
        }
        let tick = state.tick_current;
        if !(MIN_TICK..MAX_TICK).contains(&tick) {
            return invalid("tick_current", "is out of range");
        }
        let ends = [tick, tick + 1].map(|tick| sqrt_price_at_tick(tick).unwrap_or_default());
        if state.sqrt_price_x96 < ends[0] || state.sqrt_price_x96 > ends[1] {
            return invalid("sqrt_price_x96", "must be in the current tick");
        }
        let ticks = Ticks::new(state)?;
        ticks.check_liquidity(tick, state.liquidity)?;
        let place = Place { sqrt_price_x96: state.sqrt_price_x96, tick, liquidity: state.liquidity };
        Ok(Self { place, fee_ppm: state.fee_ppm, ticks: Arc::new(ticks) })
    }

    /// Returns the state of the pool.
    pub fn state(&self) -> UniswapV3State {
        let Place { sqrt_price_x96, tick, liquidity } = self.place;
        let Ticks { spacing, first_word, last_word, initialised } = &*self.ticks;
        let tick_of = |tick: &PricedTick| Tick { index: tick.index, liquidity_net: tick.liquidity_net };
        // They were made from integers of these sizes.
        let word = |word: i32| i16::try_from(word).unwrap_or_default();
        UniswapV3State {
            sqrt_price_x96,
            tick_current: tick,
            tick_spacing: u16::try_from(*spacing).unwrap_or_default(),
            liquidity,
            fee_ppm: self.fee_ppm,
            ticks: initialised.iter().map(tick_of).collect(),
            first_word: word(*first_word),
            last_word: word(*last_word),
        }
    }

    /// Returns the square root of the price at a tick in Q64.96, as the contract computes it, or `None` if there is no such
    /// tick.
    pub fn sqrt_price_at_tick(tick: i32) -> Option<U256> {
        sqrt_price_at_tick(tick)
    }

    /// Returns what comes out for exactly `amount_in`, rounded down at each step.
    ///
    /// # Errors
    /// If nothing would come out, or the trade would pass the last known word.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        self.metered_out(direction, amount_in, &Unmetered)
    }

    /// Returns [`Self::amount_out`], unless the walk makes more steps than the meter allows.
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
    /// If the amount is zero, or the trade would pass the last known word.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        self.metered_in(direction, amount_out, &Unmetered)
    }

    /// Returns [`Self::amount_in`], unless the walks make more steps than the meter allows.
    pub(crate) fn metered_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let about = self.walk(direction).swap_exact_out(amount_out.base_units(), meter)?;
        let suffices = |amount_in: u128| match self.walk(direction).swap_exact_in(amount_in, meter) {
            Ok(out) => Ok(out >= amount_out.base_units()),
            Err(QuoteError::TooSmall) => Ok(false),
            Err(error) => Err(error),
        };
        least(about, suffices).map(Amount::new)
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
        let (place, ticks) = (walk.place(), Arc::clone(&self.ticks));
        Ok(Self { place, ticks, ..*self })
    }

    /// Returns the output per unit of input before any trade, the fee deducted.
    ///
    /// # Errors
    /// If there is no liquidity in this direction.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let sqrt_price_x96 = self.walk(direction).first_price()?;
        price(direction, sqrt_price_x96, self.fee_ppm).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Returns the output per unit of input before any trade, without the fee.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        price(direction, self.place.sqrt_price_x96, 0).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Returns a price that no trade exceeds, without a walk: the one before any trade, less the fee.
    pub(crate) fn best_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        price(direction, self.place.sqrt_price_x96, self.fee_ppm).ok_or(QuoteError::NotEnoughLiquidity)
    }

    fn walk(&self, direction: Direction) -> Walk<'_> {
        Walk::new(direction, self.fee_ppm, self.place, &self.ticks)
    }
}

impl Ticks {
    fn new(state: &UniswapV3State) -> Result<Self, InvalidPool> {
        let invalid = |reason| InvalidPool { field: "ticks", reason };
        let spacing = i32::from(state.tick_spacing);
        let (first_word, last_word) = (i32::from(state.first_word), i32::from(state.last_word));
        let mut initialised: Vec<PricedTick> = Vec::with_capacity(state.ticks.len());
        for &Tick { index, liquidity_net } in &state.ticks {
            let sqrt_price_x96 = sqrt_price_at_tick(index).ok_or(invalid("must be in range"))?;
            if index % spacing != 0 {
                return Err(invalid("must be multiples of the spacing"));
            }
            if initialised.last().is_some_and(|last| last.index >= index) {
                return Err(invalid("must ascend"));
            }
            if !(first_word..=last_word).contains(&(index.div_euclid(spacing).div_euclid(WORD_TICKS))) {
                return Err(invalid("must be in known words"));
            }
            initialised.push(PricedTick { index, liquidity_net, sqrt_price_x96 });
        }
        Ok(Self { spacing, first_word, last_word, initialised })
    }

    /// Checks that the liquidity stays one at every known tick.
    fn check_liquidity(&self, tick: i32, liquidity: u128) -> Result<(), InvalidPool> {
        let invalid = InvalidPool { field: "ticks", reason: "must add up to a possible liquidity" };
        let above = self.initialised.partition_point(|one| one.index <= tick);
        let (below, above) = self.initialised.split_at(above);
        let up = above
            .iter()
            .try_fold(liquidity, |liquidity, tick| liquidity.checked_add_signed(tick.liquidity_net));
        let down = below.iter().rev().try_fold(liquidity, |liquidity, tick| {
            liquidity.checked_add_signed(tick.liquidity_net.checked_neg()?)
        });
        up.and(down).map(|_| ()).ok_or(invalid)
    }
}

/// Returns the least number that suffices, near one that about does. Greater ones suffice as well.
fn least(about: u128, suffices: impl Fn(u128) -> Result<bool, QuoteError>) -> Result<u128, QuoteError> {
    let mut enough = about.max(1);
    let mut step = 1_u128;
    while !suffices(enough)? {
        enough = enough.checked_add(step).ok_or(QuoteError::Overflow)?;
        step = step.saturating_mul(2);
    }
    let mut step = 1;
    let mut too_little = loop {
        let lower = enough.saturating_sub(step);
        if lower == 0 || !suffices(lower)? {
            break lower;
        }
        enough = lower;
        step = step.saturating_mul(2);
    };
    while enough - too_little > 1 {
        let middle = too_little + (enough - too_little) / 2;
        if suffices(middle)? { enough = middle } else { too_little = middle }
    }
    Ok(enough)
}

/// Returns the output per unit of input at a square root of a price, the fee deducted, and no less than that: of a long
/// root only the first hundred bits count.
fn price(direction: Direction, sqrt_price_x96: U256, fee_ppm: u32) -> Option<Ratio> {
    let shift = sqrt_price_x96.bit_len().saturating_sub(100);
    let mut root: U256 = sqrt_price_x96 >> shift;
    if direction == Direction::AToB && root << shift != sqrt_price_x96 {
        root += U256::ONE;
    }
    let (square, kept, whole) = (root * root, U256::from(ONE_PPM - fee_ppm), U256::from(ONE_PPM));
    let one: U256 = U256::ONE << (192 - 2 * shift);
    match direction {
        Direction::AToB => Ratio::new(square * kept, one * whole),
        Direction::BToA => Ratio::new(one * kept, square * whole),
    }
}

impl TryFrom<UniswapV3State> for UniswapV3 {
    type Error = InvalidPool;

    fn try_from(state: UniswapV3State) -> Result<Self, InvalidPool> {
        Self::new(&state)
    }
}

impl From<UniswapV3> for UniswapV3State {
    fn from(pool: UniswapV3) -> Self {
        pool.state()
    }
}
