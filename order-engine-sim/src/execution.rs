//! The lines of the ledger.

use order_engine_core::{AccountNonce, Amount, FailureCode, OrderId, TxId};
use serde::{Deserialize, Serialize};

/// The result of one transaction: a line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// The id of the transaction.
    pub tx_id: TxId,
    /// The order for which the transaction traded.
    pub order_id: OrderId,
    /// Whether the swaps happened. If not, the transaction reverted and moved nothing.
    pub executed: bool,
    /// The height in which the transaction landed.
    pub height: u64,
    /// The time of the landing, in milliseconds since 1970.
    pub landed_at_ms: u64,
    /// The input that the transaction spent, or would have spent.
    pub amount_in: Amount,
    /// The output that the transaction received, or would have received.
    pub amount_out: Amount,
    /// The least output that the transaction accepted.
    pub min_amount_out: Amount,
    /// The reason of the revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureCode>,
    /// The account, and the number of the nonce that the transaction used, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<AccountNonce>,
}

#[cfg(test)]
impl Execution {
    /// Returns an execution for tests to vary.
    pub(crate) fn example() -> Self {
        Self {
            tx_id: TxId::new("tx"),
            order_id: OrderId::from(uuid::Uuid::from_u128(1)),
            executed: true,
            height: 7,
            landed_at_ms: 2_800,
            amount_in: Amount::new(1_000),
            amount_out: Amount::new(990),
            min_amount_out: Amount::new(985),
            reason: None,
            nonce: None,
        }
    }
}
