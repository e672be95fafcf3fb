//! The values of accounts whose nonces are opaque.
//!
//! Each use gives an account another value, made of the transaction and the block: nobody can foretell it, and after a
//! fork it is another one.

use order_engine_core::{AccountId, TxId};
use sha2::{Digest, Sha256};

use crate::base58;

/// The use of an account's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueUse {
    /// The height of the block.
    pub(crate) height: u64,
    /// The transaction.
    pub(crate) tx_id: TxId,
}

/// Returns the value of an account after this use of it, or before the first.
pub(crate) fn value_after(account: &AccountId, last: Option<&ValueUse>) -> String {
    let mut hash = Sha256::new().chain_update(b"nonce").chain_update(account.as_str());
    if let Some(ValueUse { height, tx_id }) = last {
        hash.update(height.to_be_bytes());
        hash.update(tx_id.as_str());
    }
    base58::encode(&hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_depends_on_the_account_the_transaction_and_the_block() {
        let used = |height, tx_id: &str| ValueUse { height, tx_id: tx_id.into() };
        let value = |account: &str, last: Option<ValueUse>| value_after(&account.into(), last.as_ref());
        let values = [
            value("a", None),
            value("b", None),
            value("a", Some(used(7, "x"))),
            value("a", Some(used(8, "x"))),
            value("a", Some(used(7, "y"))),
        ];
        let different: std::collections::BTreeSet<&String> = values.iter().collect();
        assert_eq!(different.len(), values.len());
        assert_eq!(value("a", Some(used(7, "x"))), values[2]);
    }
}
