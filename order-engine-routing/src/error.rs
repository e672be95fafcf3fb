//! Errors of pools: snapshots that are invalid, and amounts that a pool cannot trade.

use crate::feature::Feature;

/// The error of a snapshot that no real pool can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct InvalidPool {
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The reason why a pool cannot trade an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The pool does not trade these tokens.
    #[error("the pool does not trade this pair")]
    WrongPair,
    /// The amount is so small that nothing would come out.
    #[error("the amount is too small")]
    TooSmall,
    /// The pool does not hold enough of the output token.
    #[error("not enough liquidity")]
    NotEnoughLiquidity,
    /// The amount, or what the pool would hold after it, is beyond the pool's arithmetic.
    #[error("the amount is too large")]
    Overflow,
    /// The pool has a feature that its snapshot does not model, so no quote of it would be right.
    #[error("the pool has a feature that is not modelled: {0}")]
    Unmodelled(Feature),
    /// The exchange has disabled swaps.
    #[error("the pool is paused")]
    Paused,
    /// The pool cannot be traded yet.
    #[error("the pool is not open yet")]
    NotOpenYet,
    /// The search's budget ended before the pool's ticks or bins were passed.
    #[error("the search ended before the quote was known")]
    OutOfBudget,
}
