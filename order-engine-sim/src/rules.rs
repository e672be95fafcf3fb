//! What stays the same while a chain runs.

use crate::chance::Chance;
use crate::heights::Heights;
use crate::ledger::Ledger;
use crate::market::Market;

/// The time of the chain, its random numbers, where it executes swaps, and where it records them.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) heights: Heights,
    pub(crate) chance: Chance,
    pub(crate) market: Market,
    pub(crate) ledger: Ledger,
}
