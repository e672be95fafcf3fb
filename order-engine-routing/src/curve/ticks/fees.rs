//! The fees of a trade on its way through the ticks.

use super::tick::PricedTick;

/// The whole, in millionths.
pub(crate) const ONE_PPM: u32 = 1_000_000;

/// The part of a trade's way on which its fee is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// The fee, in millionths.
    pub(crate) rate_ppm: u32,
    /// The square root of the price at which the stretch ends, not beyond the next tick.
    pub(crate) until: u128,
}

/// A fee that may change on the way.
pub(crate) trait StepFees {
    /// Returns the stretch that begins here and leads towards a tick.
    fn enter(&mut self, target: &PricedTick, liquidity: u128) -> Stretch;

    /// Ends the last stretch at a price, on the way to a tick.
    fn leave(&mut self, sqrt_price: u128, target: &PricedTick);
}

/// The fees of a pool that may have a fee that changes.
#[derive(Clone, Debug)]
pub(crate) enum Fees<F> {
    /// A fee that never changes, in millionths.
    Fixed(u32),
    /// A fee that changes on the way.
    Changing(F),
}

impl<F: StepFees> StepFees for Fees<F> {
    fn enter(&mut self, target: &PricedTick, liquidity: u128) -> Stretch {
        match self {
            Self::Fixed(rate_ppm) => Stretch { rate_ppm: *rate_ppm, until: target.sqrt_price_x64 },
            Self::Changing(fees) => fees.enter(target, liquidity),
        }
    }

    fn leave(&mut self, sqrt_price: u128, target: &PricedTick) {
        match self {
            Self::Fixed(_) => {}
            Self::Changing(fees) => fees.leave(sqrt_price, target),
        }
    }
}
