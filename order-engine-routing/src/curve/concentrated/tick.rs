//! Initialised ticks.

use serde::{Deserialize, Serialize};

/// An initialised tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The tick's number.
    pub index: i32,
    /// The liquidity that is added where the price rises across the tick.
    #[serde(with = "crate::decimal")]
    pub liquidity_net: i128,
}

/// An initialised tick and its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PricedTick {
    pub(super) tick: Tick,
    pub(super) sqrt_price_x64: u128,
    /// The liquidity in range between this tick and the next.
    pub(super) liquidity_above: u128,
}
