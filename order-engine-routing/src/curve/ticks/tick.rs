//! Initialised ticks.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

/// A tick at which positions begin or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The tick's number.
    pub index: i32,
    /// The liquidity that is added where the price rises across the tick.
    #[serde(with = "crate::decimal")]
    pub liquidity_net: i128,
}

/// Limit orders that rest at a tick. They sell token a if the tick is above the current one, and token b otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickOrders {
    /// The tick's number.
    pub index: i32,
    /// What is left of all of them, in base units of the token that they sell: Raydium's `orders_amount` and
    /// `part_filled_orders_remaining` together.
    pub amount: Amount,
}

/// An initialised tick and its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PricedTick {
    pub(crate) index: i32,
    /// Whether positions begin or end here. If not, only limit orders keep the tick initialised.
    pub(super) has_positions: bool,
    /// What the limit orders here sell.
    pub(super) orders: u64,
    pub(super) liquidity_net: i128,
    pub(crate) sqrt_price_x64: u128,
    /// The liquidity in range between this tick and the next.
    pub(super) liquidity_above: u128,
}
