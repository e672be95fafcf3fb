//! The path of a trade through the ticks.

use super::sqrt_price;
use super::tick::{PricedTick, Tick};
use crate::budget::Meter;
use crate::error::QuoteError;
use crate::trade::Direction;
use crate::wide::{mul_div_ceil, mul_div_floor};

/// The whole, in millionths.
pub(super) const ONE_PPM: u32 = 1_000_000;

/// The place of the price among the ticks, and the liquidity in range there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) sqrt_price_x64: u128,
    pub(super) liquidity: u128,
    /// How many of the ticks are not above the current one.
    pub(super) ticks_below: usize,
}

/// A trade that moves the price from tick to tick.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    ticks: &'a [PricedTick],
    fee_ppm: u32,
    direction: Direction,
    cursor: Cursor,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(
        ticks: &'a [PricedTick],
        fee_ppm: u32,
        cursor: Cursor,
        direction: Direction,
    ) -> Self {
        Self { ticks, fee_ppm, direction, cursor }
    }

    /// Returns the place where the trade has moved the price.
    pub(super) const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Swaps the whole input, fee included, and returns the output.
    pub(super) fn swap_exact_in(&mut self, amount_in: u128, meter: &impl Meter) -> Result<u128, QuoteError> {
        let (mut rest, mut out) = (amount_in, 0_u128);
        while rest > 0 {
            meter.step()?;
            let target = self.next()?.sqrt_price_x64;
            let (taken, given) = self.step_in(rest, target)?;
            rest = rest.checked_sub(taken).ok_or(QuoteError::Overflow)?;
            out = out.checked_add(given).ok_or(QuoteError::Overflow)?;
        }
        Ok(out)
    }

    /// Swaps for the whole output and returns the input, fee included.
    pub(super) fn swap_exact_out(
        &mut self,
        amount_out: u128,
        meter: &impl Meter,
    ) -> Result<u128, QuoteError> {
        let (mut rest, mut amount_in) = (amount_out, 0_u128);
        while rest > 0 {
            meter.step()?;
            let target = self.next()?.sqrt_price_x64;
            let (taken, given) = self.step_out(rest, target)?;
            rest -= given;
            amount_in = amount_in.checked_add(taken).ok_or(QuoteError::Overflow)?;
        }
        Ok(amount_in)
    }

    /// Returns the price at which the first unit trades.
    pub(super) fn first_liquid_price(mut self) -> Result<u128, QuoteError> {
        loop {
            let target = self.next()?.sqrt_price_x64;
            if self.cursor.liquidity > 0 && self.cursor.sqrt_price_x64 != target {
                return Ok(self.cursor.sqrt_price_x64);
            }
            self.cross(target)?;
        }
    }

    /// Returns the tick in which the price is.
    pub(super) fn current_tick(&self) -> i32 {
        let Cursor { sqrt_price_x64, ticks_below, .. } = self.cursor;
        let index = |priced: &PricedTick| priced.tick.index;
        let low = ticks_below.checked_sub(1).map_or(sqrt_price::MIN_TICK, |below| index(&self.ticks[below]));
        let high = self.ticks.get(ticks_below).map_or(sqrt_price::MAX_TICK, index);
        // The result is below the next tick, even if a trade downwards left the price exactly on it.
        sqrt_price::tick_between(low, high - 1, sqrt_price_x64)
    }

    /// Swaps as much of an input as fits before the next tick. Returns the input used, fee included, and
    /// the output.
    fn step_in(&mut self, rest: u128, target: u128) -> Result<(u128, u128), QuoteError> {
        let Cursor { sqrt_price_x64: from, liquidity, .. } = self.cursor;
        if liquidity == 0 {
            self.cross(target)?;
            return Ok((0, 0));
        }
        let direction = self.direction;
        let kept = u128::from(ONE_PPM - self.fee_ppm);
        let net = mul_div_floor(rest, kept, u128::from(ONE_PPM)).ok_or(QuoteError::Overflow)?;
        // An input reaches the tick if and only if the price to which it leads, rounded against the
        // trade, does.
        let stop =
            sqrt_price::after_input(direction, from, liquidity, net).filter(|&price| match direction {
                Direction::AToB => price > target,
                Direction::BToA => price < target,
            });
        let to = stop.unwrap_or(target);
        let given = sqrt_price::amount_out(direction, from, to, liquidity).ok_or(QuoteError::Overflow)?;
        if stop.is_some() {
            self.cursor.sqrt_price_x64 = to;
            // The pool keeps even an input that is too small to move the price.
            return Ok((rest, given));
        }
        let taken = self.gross_in(to)?;
        self.cross(target)?;
        Ok((taken, given))
    }

    /// Swaps for as much of an output as the pool holds before the next tick. Returns the input, fee
    /// included, and the output reached.
    fn step_out(&mut self, rest: u128, target: u128) -> Result<(u128, u128), QuoteError> {
        let Cursor { sqrt_price_x64: from, liquidity, .. } = self.cursor;
        if liquidity == 0 {
            self.cross(target)?;
            return Ok((0, 0));
        }
        let direction = self.direction;
        // If what the range holds does not fit 128 bits, it exceeds any output.
        match sqrt_price::amount_out(direction, from, target, liquidity).filter(|&most| most < rest) {
            Some(most) => {
                let taken = self.gross_in(target)?;
                self.cross(target)?;
                Ok((taken, most))
            }
            None => {
                let to = sqrt_price::after_output(direction, from, liquidity, rest);
                let to = to.ok_or(QuoteError::Overflow)?;
                let taken = self.gross_in(to)?;
                self.cursor.sqrt_price_x64 = to;
                Ok((taken, rest))
            }
        }
    }

    /// Returns the input, fee included, that moves the price to `to`.
    fn gross_in(&self, to: u128) -> Result<u128, QuoteError> {
        let Cursor { sqrt_price_x64: from, liquidity, .. } = self.cursor;
        let net = sqrt_price::amount_in(self.direction, from, to, liquidity);
        let whole = u128::from(ONE_PPM);
        let kept = whole - u128::from(self.fee_ppm);
        net.and_then(|net| mul_div_ceil(net, whole, kept)).ok_or(QuoteError::Overflow)
    }

    /// Returns the next tick in the direction of the trade.
    fn next(&self) -> Result<&'a PricedTick, QuoteError> {
        let index = match self.direction {
            Direction::AToB => self.cursor.ticks_below.checked_sub(1),
            Direction::BToA => Some(self.cursor.ticks_below),
        };
        index.and_then(|index| self.ticks.get(index)).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Crosses the next tick, whose price is `sqrt_price_x64`.
    fn cross(&mut self, sqrt_price_x64: u128) -> Result<(), QuoteError> {
        let Tick { index, liquidity_net: net } = self.next()?.tick;
        // The price approaches the first and the last tick, but never reaches them.
        if index == sqrt_price::MIN_TICK || index == sqrt_price::MAX_TICK {
            return Err(QuoteError::NotEnoughLiquidity);
        }
        let change = match self.direction {
            Direction::AToB => net.checked_neg(),
            Direction::BToA => Some(net),
        };
        // The pool's constructor has added up the same liquidity, so it fits.
        let liquidity = change.and_then(|change| self.cursor.liquidity.checked_add_signed(change));
        self.cursor.liquidity = liquidity.ok_or(QuoteError::Overflow)?;
        self.cursor.sqrt_price_x64 = sqrt_price_x64;
        match self.direction {
            Direction::AToB => self.cursor.ticks_below -= 1,
            Direction::BToA => self.cursor.ticks_below += 1,
        }
        Ok(())
    }
}
