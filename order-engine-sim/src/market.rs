//! Where transactions are executed: the pools, and another trader.

use std::sync::Arc;

use order_engine_core::{Amount, FailureCode, TxId};

use crate::chance::{self, Chance, Purpose};
use crate::execution::Execution;
use crate::pools::Pools;
use crate::rate::Rate;
use crate::swap::{self, SwapError, Trade};
use crate::tx::{Message, Swap};

/// The size of the first attempt at front-running, in millionths of a pool's reserve. It doubles until it
/// suffices.
const FIRST_FRONT_RUN_PPM: u64 = 1_000;

/// The most doublings of a front-run, far beyond what empties a pool.
const MOST_DOUBLINGS: u32 = 40;

/// The pools of a chain, and another trader who front-runs some transactions.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) pools: Arc<Pools>,
    pub(crate) chance: Chance,
    pub(crate) fail_rate: Rate,
}

impl Market {
    /// Returns what legs would trade in a slot, without another trader.
    pub(crate) fn simulate(&self, legs: &[Swap], slot: u64) -> Result<Trade, SwapError> {
        swap::execute(&self.pools, legs, slot, 0)
    }

    /// Executes a transaction that lands in a slot, at a time in it.
    pub(crate) fn execute(&self, id: &TxId, message: &Message, (slot, at_ms): (u64, u64)) -> Execution {
        let outcome = match swap::execute(&self.pools, &message.legs, slot, 0) {
            Ok(trade) if trade.amount_out >= message.min_amount_out && self.is_front_run(id) => {
                Ok(self.front_run(message, slot, trade))
            }
            outcome => outcome,
        };
        let trade =
            outcome.as_ref().copied().unwrap_or(Trade { amount_in: Amount::ZERO, amount_out: Amount::ZERO });
        let reason = match outcome {
            Ok(trade) if trade.amount_out >= message.min_amount_out => None,
            Ok(_) => Some(FailureCode::SLIPPAGE),
            Err(_) => Some(FailureCode::TRANSACTION_FAILED),
        };
        Execution {
            tx_id: id.clone(),
            order_id: message.order_id,
            executed: reason.is_none(),
            height: slot,
            landed_at_ms: at_ms,
            amount_in: trade.amount_in,
            amount_out: trade.amount_out,
            min_amount_out: message.min_amount_out,
            reason,
            nonce: None,
        }
    }

    /// Returns whether another trader front-runs a transaction.
    fn is_front_run(&self, id: &TxId) -> bool {
        self.chance.happens(self.fail_rate, Purpose::FrontRun, chance::subject(id.as_str()), 0)
    }

    /// Returns the trade after another trader sold into the same pools first, just enough to push the output
    /// below the minimum. Only a minimum of zero withstands every such sale.
    fn front_run(&self, message: &Message, slot: u64, undisturbed: Trade) -> Trade {
        let nothing = Trade { amount_out: Amount::ZERO, ..undisturbed };
        (0..MOST_DOUBLINGS)
            // A pool that refuses to trade after such a sale pays nothing.
            .map(|doublings| {
                swap::execute(&self.pools, &message.legs, slot, FIRST_FRONT_RUN_PPM << doublings)
                    .unwrap_or(nothing)
            })
            .find(|trade| trade.amount_out < message.min_amount_out)
            .unwrap_or(undisturbed)
    }
}
