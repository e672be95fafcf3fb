//! The path of a trade through the ticks.

use std::ops::Range;

use crate::budget::Meter;
use crate::error::QuoteError;
use crate::trade::Direction;
use crate::wide::{mul_div_ceil, mul_div_floor, product, shl_div_ceil, shl_div_floor};

use super::fees::{ONE_PPM, StepFees, Stretch};
use super::sqrt_price;
use super::table::{MAX_TICK, MIN_TICK, TickTable};
use super::tick::PricedTick;

/// The place of the price among the ticks, and the liquidity in range there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(super) sqrt_price_x64: u128,
    pub(super) liquidity: u128,
    /// How many of the ticks are not above the current one.
    pub(super) ticks_below: usize,
}

/// A trade that moves the price from tick to tick.
#[derive(Debug)]
pub(crate) struct Walk<'a, F> {
    ticks: &'a [PricedTick],
    fees: F,
    is_fee_on_input: bool,
    direction: Direction,
    cursor: Cursor,
    /// The tick to which the last stretch led.
    heading: Option<&'a PricedTick>,
    /// What is left of the orders at the next tick, if the trade has filled some of them.
    orders_left: Option<u64>,
}

/// A part of a trade.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// The input, its fee included.
    taken: u128,
    /// The output, without its fee.
    given: u128,
}

impl<'a, F: StepFees> Walk<'a, F> {
    pub(super) const fn new(
        ticks: &'a [PricedTick],
        fees: F,
        is_fee_on_input: bool,
        cursor: Cursor,
        direction: Direction,
    ) -> Self {
        Self { ticks, fees, is_fee_on_input, direction, cursor, heading: None, orders_left: None }
    }

    /// Returns the place where the trade has moved the price.
    pub(super) const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Returns the square root of the price to which the trade has moved it.
    pub(crate) const fn sqrt_price(&self) -> u128 {
        self.cursor.sqrt_price_x64
    }

    /// Swaps the whole input, fee included, and returns the output.
    pub(crate) fn swap_exact_in(&mut self, amount_in: u128, meter: &impl Meter) -> Result<u128, QuoteError> {
        let (mut rest, mut out) = (amount_in, 0_u128);
        let mut book = |part: Part, rest: &mut u128| -> Result<(), QuoteError> {
            *rest = rest.checked_sub(part.taken).ok_or(QuoteError::Overflow)?;
            out = out.checked_add(part.given).ok_or(QuoteError::Overflow)?;
            Ok(())
        };
        while rest > 0 {
            meter.step()?;
            let tick = self.next()?;
            let stretch = self.enter(tick);
            book(self.stretch_in(rest, stretch)?, &mut rest)?;
            if self.cursor.sqrt_price_x64 == tick.sqrt_price_x64 {
                book(self.orders_in(rest, tick, stretch)?, &mut rest)?;
                self.cross(tick)?;
            }
            if rest > 0 {
                self.fees.leave(self.cursor.sqrt_price_x64, tick);
            }
        }
        Ok(out)
    }

    /// Swaps for the whole output and returns the input, fee included.
    pub(crate) fn swap_exact_out(
        &mut self,
        amount_out: u128,
        meter: &impl Meter,
    ) -> Result<u128, QuoteError> {
        let (mut rest, mut amount_in) = (amount_out, 0_u128);
        let mut book = |part: Part, rest: &mut u128| -> Result<(), QuoteError> {
            *rest = rest.saturating_sub(part.given);
            amount_in = amount_in.checked_add(part.taken).ok_or(QuoteError::Overflow)?;
            Ok(())
        };
        while rest > 0 {
            meter.step()?;
            let tick = self.next()?;
            let stretch = self.enter(tick);
            book(self.stretch_out(rest, stretch)?, &mut rest)?;
            if rest > 0 && self.cursor.sqrt_price_x64 == tick.sqrt_price_x64 {
                book(self.orders_out(rest, tick, stretch)?, &mut rest)?;
                if rest > 0 {
                    self.cross(tick)?;
                }
            }
            self.fees.leave(self.cursor.sqrt_price_x64, tick);
        }
        Ok(amount_in)
    }

    /// Returns the square root of the price at which the first unit trades, and its fee in millionths.
    pub(super) fn first_price(mut self) -> Result<(u128, u32), QuoteError> {
        loop {
            let tick = self.next()?;
            let stretch = self.enter(tick);
            if self.cursor.liquidity > 0 && self.cursor.sqrt_price_x64 != stretch.until {
                return Ok((self.cursor.sqrt_price_x64, stretch.rate_ppm));
            }
            self.cursor.sqrt_price_x64 = stretch.until;
            if stretch.until == tick.sqrt_price_x64 {
                if tick.orders > 0 {
                    return Ok((tick.sqrt_price_x64, stretch.rate_ppm));
                }
                self.cross(tick)?;
            }
            self.fees.leave(stretch.until, tick);
        }
    }

    /// Returns the fees as the trade leaves them.
    pub(crate) fn into_fees(mut self) -> F {
        if let Some(tick) = self.heading {
            self.fees.leave(self.cursor.sqrt_price_x64, tick);
        }
        self.fees
    }

    /// Returns the tick in which the price is.
    pub(super) fn current_tick(&self, table: TickTable) -> i32 {
        let Cursor { sqrt_price_x64, ticks_below, .. } = self.cursor;
        let low = ticks_below.checked_sub(1).map_or(MIN_TICK, |below| self.ticks[below].index);
        let high = self.ticks.get(ticks_below).map_or(MAX_TICK, |tick| tick.index);
        // The result is below the next tick, even if a trade left the price exactly on it without crossing it.
        table.tick_between(low, high - 1, sqrt_price_x64)
    }

    /// Returns the ticks that the trade has crossed, and what is left of the orders at the tick before which it has
    /// stopped, if it has filled some of them.
    pub(super) fn orders_met(&self, start: Cursor) -> (Range<usize>, Option<(usize, u64)>) {
        let (from, to) = (start.ticks_below, self.cursor.ticks_below);
        let stopped_at = match self.direction {
            Direction::AToB => to.checked_sub(1),
            Direction::BToA => Some(to),
        };
        (from.min(to)..from.max(to), stopped_at.zip(self.orders_left))
    }

    fn enter(&mut self, tick: &'a PricedTick) -> Stretch {
        self.heading = Some(tick);
        self.fees.enter(tick, self.cursor.liquidity)
    }

    /// Swaps as much of an input as fits into a stretch.
    fn stretch_in(&mut self, rest: u128, stretch: Stretch) -> Result<Part, QuoteError> {
        let (direction, Cursor { sqrt_price_x64: from, liquidity, .. }) = (self.direction, self.cursor);
        if liquidity == 0 || from == stretch.until {
            self.cursor.sqrt_price_x64 = stretch.until;
            return Ok(Part::default());
        }
        let net = self.net_in(rest, stretch)?;
        // An input reaches the end if and only if the price to which it leads, rounded against the trade, does.
        let stop =
            sqrt_price::after_input(direction, from, liquidity, net).filter(|&price| match direction {
                Direction::AToB => price > stretch.until,
                Direction::BToA => price < stretch.until,
            });
        let to = stop.unwrap_or(stretch.until);
        let given = sqrt_price::amount_out(direction, from, to, liquidity).ok_or(QuoteError::Overflow)?;
        let given = self.net_out(given, stretch)?;
        // The pool keeps even an input that is too small to move the price.
        let taken = if stop.is_some() { rest } else { self.gross_in(to, stretch)? };
        self.cursor.sqrt_price_x64 = to;
        Ok(Part { taken, given })
    }

    /// Swaps for as much of an output as the pool holds on a stretch.
    fn stretch_out(&mut self, rest: u128, stretch: Stretch) -> Result<Part, QuoteError> {
        let (direction, Cursor { sqrt_price_x64: from, liquidity, .. }) = (self.direction, self.cursor);
        if liquidity == 0 || from == stretch.until {
            self.cursor.sqrt_price_x64 = stretch.until;
            return Ok(Part::default());
        }
        // If what the stretch holds does not fit 128 bits, it exceeds any output.
        let most = sqrt_price::amount_out(direction, from, stretch.until, liquidity);
        let most = most.map(|most| self.net_out(most, stretch)).transpose()?.filter(|&most| most < rest);
        let (to, given) = match most {
            Some(most) => (stretch.until, most),
            None => {
                let gross = self.gross_out(rest, stretch)?;
                let to = sqrt_price::after_output(direction, from, liquidity, gross);
                (to.ok_or(QuoteError::Overflow)?, rest)
            }
        };
        let taken = self.gross_in(to, stretch)?;
        self.cursor.sqrt_price_x64 = to;
        Ok(Part { taken, given })
    }

    /// Swaps an input with the limit orders at a tick which the price has reached, at the tick's price.
    fn orders_in(&mut self, rest: u128, tick: &PricedTick, stretch: Stretch) -> Result<Part, QuoteError> {
        if tick.orders == 0 || rest == 0 {
            self.orders_left = (tick.orders > 0).then_some(tick.orders);
            return Ok(Part::default());
        }
        let orders = u128::from(tick.orders);
        let price = OrderPrice::at(tick, self.direction)?;
        // A value that does not fit is more than the orders sell.
        let worth = price.out_of(self.net_in(rest, stretch)?).unwrap_or(u128::MAX);
        let (taken, sold) = if worth > orders {
            let net = price.in_for(orders).ok_or(QuoteError::Overflow)?;
            (self.with_fee(net, stretch)?, orders)
        } else {
            (rest, worth)
        };
        // The orders sell what fits 64 bits.
        let left = u64::try_from(orders - sold).unwrap_or_default();
        self.orders_left = (left > 0).then_some(left);
        Ok(Part { taken, given: self.net_out(sold, stretch)? })
    }

    /// Swaps for an output with the limit orders at a tick which the price has reached.
    fn orders_out(&mut self, rest: u128, tick: &PricedTick, stretch: Stretch) -> Result<Part, QuoteError> {
        if tick.orders == 0 {
            return Ok(Part::default());
        }
        let orders = u128::from(tick.orders);
        let most = self.net_out(orders, stretch)?;
        let (sold, given) = if most < rest { (orders, most) } else { (self.gross_out(rest, stretch)?, rest) };
        let net = OrderPrice::at(tick, self.direction)?.in_for(sold).ok_or(QuoteError::Overflow)?;
        Ok(Part { taken: self.with_fee(net, stretch)?, given })
    }

    /// Returns what of an input moves the price.
    fn net_in(&self, gross: u128, stretch: Stretch) -> Result<u128, QuoteError> {
        let rate = if self.is_fee_on_input { stretch.rate_ppm } else { 0 };
        without_fee(gross, rate)
    }

    /// Returns what of an output reaches the trader.
    fn net_out(&self, gross: u128, stretch: Stretch) -> Result<u128, QuoteError> {
        let rate = if self.is_fee_on_input { 0 } else { stretch.rate_ppm };
        without_fee(gross, rate)
    }

    /// Returns the least output of which so much reaches the trader.
    fn gross_out(&self, net: u128, stretch: Stretch) -> Result<u128, QuoteError> {
        let rate = if self.is_fee_on_input { 0 } else { stretch.rate_ppm };
        before_fee(net, rate)
    }

    /// Returns a net input with its fee.
    fn with_fee(&self, net: u128, stretch: Stretch) -> Result<u128, QuoteError> {
        let rate = if self.is_fee_on_input { stretch.rate_ppm } else { 0 };
        before_fee(net, rate)
    }

    /// Returns the input, fee included, that moves the price to `to`.
    fn gross_in(&self, to: u128, stretch: Stretch) -> Result<u128, QuoteError> {
        let Cursor { sqrt_price_x64: from, liquidity, .. } = self.cursor;
        let net = sqrt_price::amount_in(self.direction, from, to, liquidity);
        self.with_fee(net.ok_or(QuoteError::Overflow)?, stretch)
    }

    /// Returns the next tick in the direction of the trade.
    fn next(&self) -> Result<&'a PricedTick, QuoteError> {
        let index = match self.direction {
            Direction::AToB => self.cursor.ticks_below.checked_sub(1),
            Direction::BToA => Some(self.cursor.ticks_below),
        };
        index.and_then(|index| self.ticks.get(index)).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Crosses the next tick, which the price has reached, unless orders are left there.
    fn cross(&mut self, tick: &PricedTick) -> Result<(), QuoteError> {
        if self.orders_left.is_some() {
            return Ok(());
        }
        // The price approaches the first and the last tick, but never reaches them.
        if tick.index == MIN_TICK || tick.index == MAX_TICK {
            return Err(QuoteError::NotEnoughLiquidity);
        }
        let change = match self.direction {
            Direction::AToB => tick.liquidity_net.checked_neg(),
            Direction::BToA => Some(tick.liquidity_net),
        };
        // The pool's constructor has added up the same liquidity, so it fits.
        let liquidity = change.and_then(|change| self.cursor.liquidity.checked_add_signed(change));
        self.cursor.liquidity = liquidity.ok_or(QuoteError::Overflow)?;
        match self.direction {
            Direction::AToB => self.cursor.ticks_below -= 1,
            Direction::BToA => self.cursor.ticks_below += 1,
        }
        Ok(())
    }
}

/// The price at which limit orders sell: that of their tick in Q64.64, rounded against the trade.
#[derive(Clone, Copy)]
struct OrderPrice {
    direction: Direction,
    price_x64: u128,
}

impl OrderPrice {
    fn at(tick: &PricedTick, direction: Direction) -> Result<Self, QuoteError> {
        let square = product(tick.sqrt_price_x64, tick.sqrt_price_x64);
        let is_whole = square.as_limbs()[0] == 0;
        let floor = u128::try_from(square >> 64).map_err(|_| QuoteError::Overflow)?;
        let price_x64 = match direction {
            Direction::BToA if !is_whole => floor.checked_add(1).ok_or(QuoteError::Overflow)?,
            _ => floor,
        };
        Ok(Self { direction, price_x64 })
    }

    /// Returns the output for a net input, rounded down, or `None` if it does not fit.
    fn out_of(self, net_in: u128) -> Option<u128> {
        match self.direction {
            Direction::AToB => mul_div_floor(net_in, self.price_x64, 1 << 64),
            Direction::BToA => shl_div_floor(net_in, self.price_x64),
        }
    }

    /// Returns the least net input for an output, or `None` if it does not fit.
    fn in_for(self, out: u128) -> Option<u128> {
        match self.direction {
            Direction::AToB => shl_div_ceil(out, self.price_x64),
            Direction::BToA => mul_div_ceil(out, self.price_x64, 1 << 64),
        }
    }
}

/// Returns an amount without the fee in it, which is rounded up.
fn without_fee(gross: u128, rate_ppm: u32) -> Result<u128, QuoteError> {
    if rate_ppm == 0 {
        return Ok(gross);
    }
    let kept = u128::from(ONE_PPM - rate_ppm);
    mul_div_floor(gross, kept, u128::from(ONE_PPM)).ok_or(QuoteError::Overflow)
}

/// Returns the least amount that leaves `net` without its fee.
fn before_fee(net: u128, rate_ppm: u32) -> Result<u128, QuoteError> {
    if rate_ppm == 0 {
        return Ok(net);
    }
    let kept = u128::from(ONE_PPM - rate_ppm);
    mul_div_ceil(net, u128::from(ONE_PPM), kept).ok_or(QuoteError::Overflow)
}
