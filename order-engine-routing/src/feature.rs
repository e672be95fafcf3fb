//! What a pool may have beyond its curve.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A feature that a pool may have and that no quote may ignore, because ignoring it would promise too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// A fee that changes with the volatility of the price, where the curve has a fixed one.
    DynamicFee,
    /// A fee that is taken of the output, or always of the same token, where the curve takes it of the input.
    FeeSide,
    /// A fee that falls by a schedule after the pool has opened.
    ScheduledFee,
    /// Orders that rest in ticks or bins, beside the liquidity there.
    LimitOrders,
    /// A program that runs at each transfer of a token.
    TransferHook,
    /// A stable pool of a token whose price grows, as a staked one.
    Depeg,
    /// A limit to how much may be traded in a while.
    RateLimit,
    /// A share of each trade that buys back a token.
    BuybackFee,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
