//! Which transactions used the nonces of accounts.

use order_engine_core::{AccountId, AccountNonce, OrderId, TxId};
use serde::{Deserialize, Serialize};

use crate::execution::Execution;

/// The number of an account's nonce: how many it used before. Where nonces are numbers, that number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NonceNumber {
    /// The account.
    pub(crate) account: AccountId,
    /// The number.
    pub(crate) value: u64,
}

impl From<NonceNumber> for AccountNonce {
    fn from(NonceNumber { account, value }: NonceNumber) -> Self {
        Self::new(account, value)
    }
}

/// The transaction that used a nonce for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NonceUse {
    /// The account, and the number of the nonce: how many it used before, also where nonces are opaque values.
    pub nonce: AccountNonce,
    /// The id of the transaction.
    pub tx_id: TxId,
    /// What the transaction was for.
    pub used_by: UsedBy,
    /// The height in which the transaction landed.
    pub height: u64,
    /// The time of the landing, in milliseconds since 1970.
    pub landed_at_ms: u64,
}

/// What a transaction that used a nonce was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum UsedBy {
    /// It swapped for an order.
    Swap {
        /// The order.
        order_id: OrderId,
        /// Whether the swaps happened. If not, the transaction reverted and moved nothing.
        executed: bool,
    },
    /// It did nothing, in the place of an order's swaps.
    Cancel {
        /// The order.
        order_id: OrderId,
    },
    /// Somebody else who has the key of the account made it.
    Foreign,
}

impl UsedBy {
    /// Returns the order of the transaction, unless somebody else made it.
    pub const fn order_id(self) -> Option<OrderId> {
        match self {
            Self::Swap { order_id, .. } | Self::Cancel { order_id } => Some(order_id),
            Self::Foreign => None,
        }
    }
}

/// A line of the ledger: a landing that is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// Swaps for an order.
    Execution(Execution),
    /// A transaction without swaps.
    NonceUse(NonceUse),
}

impl Line {
    /// Returns the height and the time of the landing.
    pub(crate) const fn landed_at(&self) -> (u64, u64) {
        match self {
            Self::Execution(Execution { height, landed_at_ms, .. })
            | Self::NonceUse(NonceUse { height, landed_at_ms, .. }) => (*height, *landed_at_ms),
        }
    }

    /// Returns the id of the transaction.
    pub(crate) const fn tx_id(&self) -> &TxId {
        match self {
            Self::Execution(Execution { tx_id, .. }) | Self::NonceUse(NonceUse { tx_id, .. }) => tx_id,
        }
    }

    /// Returns the execution, if the transaction had swaps.
    pub(crate) const fn execution(&self) -> Option<&Execution> {
        match self {
            Self::Execution(execution) => Some(execution),
            Self::NonceUse(_) => None,
        }
    }

    /// Returns whether the transaction had a nonce.
    pub(crate) const fn has_nonce(&self) -> bool {
        match self {
            Self::Execution(execution) => execution.nonce.is_some(),
            Self::NonceUse(_) => true,
        }
    }

    /// Returns which nonce the transaction used, if it had one.
    pub(crate) fn nonce_use(&self) -> Option<NonceUse> {
        match self {
            Self::Execution(execution) => {
                let Execution { order_id, executed, height, landed_at_ms, .. } = *execution;
                Some(NonceUse {
                    nonce: execution.nonce.clone()?,
                    tx_id: execution.tx_id.clone(),
                    used_by: UsedBy::Swap { order_id, executed },
                    height,
                    landed_at_ms,
                })
            }
            Self::NonceUse(nonce_use) => Some(nonce_use.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_as_what_it_was() {
        let nonce = AccountNonce::new("wallet", 7);
        let order_id = OrderId::from(uuid::Uuid::from_u128(1));
        let with_nonce = Execution { nonce: Some(nonce.clone()), ..Execution::example() };
        let nonce_use = |used_by| NonceUse {
            nonce: nonce.clone(),
            tx_id: "tx".into(),
            used_by,
            height: 7,
            landed_at_ms: 2_800,
        };
        let lines = [
            (Line::Execution(Execution::example()), None),
            (Line::Execution(with_nonce), Some(nonce_use(UsedBy::Swap { order_id, executed: true }))),
            (
                Line::NonceUse(nonce_use(UsedBy::Cancel { order_id })),
                Some(nonce_use(UsedBy::Cancel { order_id })),
            ),
            (Line::NonceUse(nonce_use(UsedBy::Foreign)), Some(nonce_use(UsedBy::Foreign))),
        ];
        for (line, expected) in lines {
            let json = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line, "{json}");
            assert_eq!((line.has_nonce(), line.nonce_use()), (expected.is_some(), expected));
        }
    }
}
