//! What pools of concentrated liquidity have in common: ticks, their prices, and the walk of a trade through them.

mod fees;
mod groups;
mod ladder;
mod sqrt_price;
mod table;
mod tick;
mod walk;

pub use tick::{Tick, TickOrders};

pub(super) use fees::{Fees, ONE_PPM, StepFees, Stretch};
pub(super) use groups::{Groups, MAX_RATE_PPM};
pub(super) use ladder::{Ladder, Place};
pub(super) use table::{MAX_TICK, MIN_TICK, TickTable};
pub(super) use tick::PricedTick;
pub(super) use walk::Walk;
