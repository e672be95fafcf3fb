//! A trade's way through the ticks.

use std::sync::Arc;

use super::{Boundary, ConcentratedLiquidity, ONE_PPM, Tick, sqrt_price};
use crate::pool::QuoteError;
use crate::trade::Direction;
use crate::wide::{mul_div_ceil, mul_div_floor};

/// A trade on its way: where the price stands, and what is in range there.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pool: &'a ConcentratedLiquidity,
    direction: Direction,
    sqrt_price: u128,
    liquidity: u128,
    ticks_below: usize,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(pool: &'a ConcentratedLiquidity, direction: Direction) -> Self {
        Self {
            pool,
            direction,
            sqrt_price: pool.sqrt_price_x64,
            liquidity: pool.liquidity,
            ticks_below: pool.ticks_below,
        }
    }

    /// Takes all of an input, fee included, and says what comes out.
    pub(super) fn take_in(&mut self, amount_in: u128) -> Result<u128, QuoteError> {
        let (mut rest, mut out) = (amount_in, 0_u128);
        while rest > 0 {
            let target = self.next()?.sqrt_price_x64;
            let (taken, given) = self.step_in(rest, target)?;
            rest = rest.checked_sub(taken).ok_or(QuoteError::Overflow)?;
            out = out.checked_add(given).ok_or(QuoteError::Overflow)?;
        }
        Ok(out)
    }

    /// Gives an output and says what must go in, fee included.
    pub(super) fn give_out(&mut self, amount_out: u128) -> Result<u128, QuoteError> {
        let (mut rest, mut amount_in) = (amount_out, 0_u128);
        while rest > 0 {
            let target = self.next()?.sqrt_price_x64;
            let (taken, given) = self.step_out(rest, target)?;
            rest -= given;
            amount_in = amount_in.checked_add(taken).ok_or(QuoteError::Overflow)?;
        }
        Ok(amount_in)
    }

    /// The price at which the first unit trades.
    pub(super) fn first_liquid_price(mut self) -> Result<u128, QuoteError> {
        loop {
            let target = self.next()?.sqrt_price_x64;
            if self.liquidity > 0 && self.sqrt_price != target {
                return Ok(self.sqrt_price);
            }
            self.cross(target)?;
        }
    }

    /// The pool where the trade stopped.
    pub(super) fn into_pool(self) -> ConcentratedLiquidity {
        let ticks = &self.pool.ticks;
        let index = |boundary: &Boundary| boundary.tick.index;
        let low = self.ticks_below.checked_sub(1).map_or(sqrt_price::MIN_TICK, |below| index(&ticks[below]));
        let high = ticks.get(self.ticks_below).map_or(sqrt_price::MAX_TICK, index);
        // Below the next boundary, even where the price stands on it after a trade downwards.
        let tick_current = sqrt_price::tick_between(low, high - 1, self.sqrt_price);
        ConcentratedLiquidity {
            sqrt_price_x64: self.sqrt_price,
            tick_current,
            liquidity: self.liquidity,
            ticks_below: self.ticks_below,
            ticks: Arc::clone(ticks),
            ..*self.pool
        }
    }

    /// Goes as far as an input reaches, at most to the next boundary: what is taken, fee included,
    /// and what is given.
    fn step_in(&mut self, rest: u128, target: u128) -> Result<(u128, u128), QuoteError> {
        if self.liquidity == 0 {
            self.cross(target)?;
            return Ok((0, 0));
        }
        let (direction, from, liquidity) = (self.direction, self.sqrt_price, self.liquidity);
        let kept = u128::from(ONE_PPM - self.pool.fee_ppm);
        let net = mul_div_floor(rest, kept, u128::from(ONE_PPM)).ok_or(QuoteError::Overflow)?;
        // An input reaches the boundary if and only if its price, rounded against it, does.
        let stop =
            sqrt_price::after_input(direction, from, liquidity, net).filter(|&price| match direction {
                Direction::AToB => price > target,
                Direction::BToA => price < target,
            });
        let to = stop.unwrap_or(target);
        let given = sqrt_price::amount_out(direction, from, to, liquidity).ok_or(QuoteError::Overflow)?;
        if stop.is_some() {
            self.sqrt_price = to;
            // What moves the price by nothing is the pool's, too.
            return Ok((rest, given));
        }
        let taken = self.gross_in(to)?;
        self.cross(target)?;
        Ok((taken, given))
    }

    /// Goes as far as an output needs, at most to the next boundary: what is taken, fee included, and
    /// what is given.
    fn step_out(&mut self, rest: u128, target: u128) -> Result<(u128, u128), QuoteError> {
        if self.liquidity == 0 {
            self.cross(target)?;
            return Ok((0, 0));
        }
        let (direction, from, liquidity) = (self.direction, self.sqrt_price, self.liquidity);
        // If what the range holds does not fit, it is more than anybody asks for.
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
                self.sqrt_price = to;
                Ok((taken, rest))
            }
        }
    }

    /// What must go in, fee included, to move the price so far.
    fn gross_in(&self, to: u128) -> Result<u128, QuoteError> {
        let net = sqrt_price::amount_in(self.direction, self.sqrt_price, to, self.liquidity);
        let whole = u128::from(ONE_PPM);
        let kept = whole - u128::from(self.pool.fee_ppm);
        net.and_then(|net| mul_div_ceil(net, whole, kept)).ok_or(QuoteError::Overflow)
    }

    /// The next boundary in the direction of the trade.
    fn next(&self) -> Result<&'a Boundary, QuoteError> {
        let index = match self.direction {
            Direction::AToB => self.ticks_below.checked_sub(1),
            Direction::BToA => Some(self.ticks_below),
        };
        index.and_then(|index| self.pool.ticks.get(index)).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Crosses the next boundary, whose price is given.
    fn cross(&mut self, sqrt_price: u128) -> Result<(), QuoteError> {
        let Tick { index, liquidity_net: net } = self.next()?.tick;
        // The price approaches the first and the last tick, but never reaches them.
        if index == sqrt_price::MIN_TICK || index == sqrt_price::MAX_TICK {
            return Err(QuoteError::NotEnoughLiquidity);
        }
        let change = match self.direction {
            Direction::AToB => net.checked_neg(),
            Direction::BToA => Some(net),
        };
        // The constructor walked the same way, so that this fits.
        let liquidity = change.and_then(|change| self.liquidity.checked_add_signed(change));
        self.liquidity = liquidity.ok_or(QuoteError::Overflow)?;
        self.sqrt_price = sqrt_price;
        match self.direction {
            Direction::AToB => self.ticks_below -= 1,
            Direction::BToA => self.ticks_below += 1,
        }
        Ok(())
    }
}
