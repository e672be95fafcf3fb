use order_engine_core::{Amount, FailureCode, OrderId, TxId};
use serde::{Deserialize, Serialize};

/// What came of one transaction: a line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// The transaction.
    pub tx_id: TxId,
    /// The order for which it traded.
    pub order_id: OrderId,
    /// Whether the swaps happened. If not, the transaction reverted and moved nothing.
    pub executed: bool,
    /// The height in which it landed.
    pub height: u64,
    /// When it landed, in milliseconds since 1970.
    pub landed_at_ms: u64,
    /// Base units of the input token that it took, or would have taken.
    pub amount_in: Amount,
    /// Base units of the output token that it paid, or would have paid.
    pub amount_out: Amount,
    /// The least output that it accepted.
    pub min_amount_out: Amount,
    /// Why it reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureCode>,
}

#[cfg(test)]
impl Execution {
    /// Any execution, for tests to vary.
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
        }
    }
}
