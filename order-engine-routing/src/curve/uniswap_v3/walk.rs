//! The walk of a trade through the ticks.

use ruint::aliases::U256;

use crate::budget::Meter;
use crate::error::QuoteError;
use crate::trade::Direction;

use super::tick_price::{MAX_SQRT_PRICE, MAX_TICK, MIN_SQRT_PRICE, MIN_TICK, sqrt_price_at_tick, tick_at};
use super::{ONE_PPM, PricedTick, Ticks, WORD_TICKS, math};

/// Where the price is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sqrt_price_x96: U256,
    pub(super) tick: i32,
    pub(super) liquidity: u128,
}

/// A trade on its way.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    direction: Direction,
    fee_ppm: u32,
    place: Place,
    ticks: &'a Ticks,
}

/// How far a step goes at most: an initialised tick, or the edge of a word.
struct Target<'a> {
    tick: i32,
    sqrt_price_x96: U256,
    initialised: Option<&'a PricedTick>,
}

/// What a step took, fee included, and gave.
struct Part {
    taken: u128,
    given: u128,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(direction: Direction, fee_ppm: u32, place: Place, ticks: &'a Ticks) -> Self {
        Self { direction, fee_ppm, place, ticks }
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// Swaps the whole input, fee included, and returns the output.
    pub(super) fn swap_exact_in(&mut self, amount_in: u128, meter: &impl Meter) -> Result<u128, QuoteError> {
        let (mut rest, mut out) = (amount_in, 0_u128);
        while rest > 0 {
            meter.step()?;
            let target = self.next()?;
            let Part { taken, given } = self.step_in(rest, &target).ok_or(QuoteError::Overflow)?;
            rest = rest.checked_sub(taken).ok_or(QuoteError::Overflow)?;
            out = out.checked_add(given).ok_or(QuoteError::Overflow)?;
        }
        Ok(out)
    }

    /// Swaps for the whole output and returns about the input, fee included.
    pub(super) fn swap_exact_out(
        &mut self,
        amount_out: u128,
        meter: &impl Meter,
    ) -> Result<u128, QuoteError> {
        let (mut rest, mut amount_in) = (amount_out, 0_u128);
        while rest > 0 {
            meter.step()?;
            let target = self.next()?;
            let Part { taken, given } = self.step_out(rest, &target).ok_or(QuoteError::Overflow)?;
            rest -= given;
            amount_in = amount_in.checked_add(taken).ok_or(QuoteError::Overflow)?;
        }
        Ok(amount_in)
    }

    /// Returns the square root of the price at which the first unit trades.
    pub(super) fn first_price(mut self) -> Result<U256, QuoteError> {
        loop {
            let target = self.next()?;
            if self.place.liquidity > 0 && self.place.sqrt_price_x96 != target.sqrt_price_x96 {
                return Ok(self.place.sqrt_price_x96);
            }
            self.arrive(target.sqrt_price_x96, &target).ok_or(QuoteError::Overflow)?;
        }
    }

    /// Returns how far the next step goes at most.
    fn next(&self) -> Result<Target<'a>, QuoteError> {
        let Ticks { spacing, first_word, last_word, initialised } = self.ticks;
        let compressed = self.place.tick.div_euclid(*spacing);
        let is_down = self.direction == Direction::AToB;
        let from = if is_down { compressed } else { compressed + 1 };
        let word = from.div_euclid(WORD_TICKS);
        if !(*first_word..=*last_word).contains(&word) {
            return Err(QuoteError::NotEnoughLiquidity);
        }
        let (edge, found) = if is_down {
            let above = initialised.partition_point(|tick| tick.index <= from * spacing);
            (word * WORD_TICKS, above.checked_sub(1).map(|index| &initialised[index]))
        } else {
            let first = initialised.partition_point(|tick| tick.index < from * spacing);
            (word * WORD_TICKS + WORD_TICKS - 1, initialised.get(first))
        };
        let edge = (edge * spacing).clamp(MIN_TICK, MAX_TICK);
        let in_word = |tick: &&PricedTick| if is_down { tick.index >= edge } else { tick.index <= edge };
        let initialised = found.filter(in_word);
        let target = match initialised {
            Some(tick) => Target { tick: tick.index, sqrt_price_x96: tick.sqrt_price_x96, initialised },
            None => {
                let sqrt_price_x96 = sqrt_price_at_tick(edge).ok_or(QuoteError::NotEnoughLiquidity)?;
                Target { tick: edge, sqrt_price_x96, initialised }
            }
        };
        // Routers trade up to a price before those of the outermost ticks, and take nothing beyond.
        let limits = [MIN_SQRT_PRICE, MAX_SQRT_PRICE];
        if limits.contains(&target.sqrt_price_x96) { Err(QuoteError::NotEnoughLiquidity) } else { Ok(target) }
    }

    /// Swaps as much of an input as fits before the target.
    fn step_in(&mut self, rest: u128, target: &Target<'_>) -> Option<Part> {
        let Place { sqrt_price_x96: from, liquidity, .. } = self.place;
        let net = math::share(U256::from(rest), ONE_PPM - self.fee_ppm)?;
        let needed = math::amount_in(self.direction, from, target.sqrt_price_x96, liquidity)?;
        let to = if net >= needed {
            target.sqrt_price_x96
        } else {
            math::after_input(self.direction, from, liquidity, net)?
        };
        let given = math::amount_out(self.direction, from, to, liquidity)?;
        // The pool keeps what does not suffice to move the price on.
        let taken = if to == target.sqrt_price_x96 {
            narrow(needed.checked_add(math::fee_on(needed, self.fee_ppm)?)?)?
        } else {
            rest
        };
        self.arrive(to, target)?;
        Some(Part { taken, given: narrow(given)? })
    }

    /// Swaps for as much of an output as there is before the target.
    fn step_out(&mut self, rest: u128, target: &Target<'_>) -> Option<Part> {
        let Place { sqrt_price_x96: from, liquidity, .. } = self.place;
        let most = math::amount_out(self.direction, from, target.sqrt_price_x96, liquidity)?;
        let wanted = U256::from(rest);
        let to = if wanted >= most {
            target.sqrt_price_x96
        } else {
            math::after_output(self.direction, from, liquidity, wanted)?
        };
        let net = math::amount_in(self.direction, from, to, liquidity)?;
        let taken = narrow(net.checked_add(math::fee_on(net, self.fee_ppm)?)?)?;
        self.arrive(to, target)?;
        Some(Part { taken, given: narrow(most.min(wanted))? })
    }

    /// Moves the price, and crosses the target's tick if it is there.
    fn arrive(&mut self, to: U256, target: &Target<'_>) -> Option<()> {
        let from = std::mem::replace(&mut self.place.sqrt_price_x96, to);
        if to == target.sqrt_price_x96 {
            let net = target.initialised.map_or(0, |tick| tick.liquidity_net);
            let (tick, change) = match self.direction {
                Direction::AToB => (target.tick - 1, net.checked_neg()?),
                Direction::BToA => (target.tick, net),
            };
            self.place.tick = tick;
            self.place.liquidity = self.place.liquidity.checked_add_signed(change)?;
        } else if to != from {
            self.place.tick = tick_at(to);
        }
        Some(())
    }
}

fn narrow(amount: U256) -> Option<u128> {
    u128::try_from(amount).ok()
}
