//! The check of a chain with nonces: no order is executed twice, and no account has a gap.

use std::collections::BTreeMap;

use order_engine_core::{AccountId, AccountNonce, NonceValue, OrderId, TxId};

use crate::nonce_use::{NonceUse, UsedBy};

/// What is wrong with the nonces of a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Two transactions executed one order.
    #[error("the order {order_id} was executed by {first} and by {second}")]
    ExecutedTwice {
        /// The order.
        order_id: OrderId,
        /// The transaction that executed it.
        first: TxId,
        /// The transaction that executed it again.
        second: TxId,
    },
    /// A nonce of an account was used twice, or the one before it was not used.
    #[error("the account {} used its nonce {} instead of {expected}", nonce.account, nonce.value)]
    NotInOrder {
        /// The account and the nonce.
        nonce: AccountNonce,
        /// The nonce that was next.
        expected: u64,
    },
}

/// Checks that no order was executed twice, and that each account used all its nonces from 0 on, each once. The uses of
/// each account stand in the order of landing or of nonces.
///
/// # Errors
/// The first use that breaks this.
pub fn audit(uses: &[NonceUse]) -> Result<(), AuditError> {
    let mut executed: BTreeMap<OrderId, &TxId> = BTreeMap::new();
    let mut next: BTreeMap<&AccountId, u64> = BTreeMap::new();
    for NonceUse { nonce, tx_id, used_by, .. } in uses {
        let expected = next.entry(&nonce.account).or_default();
        if nonce.value != NonceValue::Number(*expected) {
            return Err(AuditError::NotInOrder { nonce: nonce.clone(), expected: *expected });
        }
        *expected += 1;
        if let UsedBy::Swap { order_id, executed: true } = *used_by
            && let Some(first) = executed.insert(order_id, tx_id)
        {
            let (first, second) = (first.clone(), tx_id.clone());
            return Err(AuditError::ExecutedTwice { order_id, first, second });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWAP: UsedBy = UsedBy::Swap { order_id: OrderId::from_bytes([1; 16]), executed: true };
    const REVERTED: UsedBy = UsedBy::Swap { order_id: OrderId::from_bytes([1; 16]), executed: false };

    fn uses(uses: &[(&str, u64, UsedBy)]) -> Vec<NonceUse> {
        let nonce_use = |&(account, value, used_by): &(&str, u64, UsedBy)| NonceUse {
            nonce: AccountNonce::new(account, value),
            tx_id: format!("{account}-{value}").into(),
            used_by,
            height: 7,
            landed_at_ms: 2_800,
        };
        uses.iter().map(nonce_use).collect()
    }

    #[test]
    fn an_order_may_revert_often_and_be_executed_once() {
        let sound = [("a", 0, REVERTED), ("b", 0, UsedBy::Foreign), ("a", 1, REVERTED), ("b", 1, SWAP)];
        assert_eq!(audit(&uses(&sound)), Ok(()));
        let twice = [("a", 0, SWAP), ("b", 0, SWAP)];
        let found = audit(&uses(&twice)).unwrap_err();
        assert!(matches!(found, AuditError::ExecutedTwice { .. }), "{found}");
    }

    #[test]
    fn a_gap_and_a_second_use_are_found() {
        for broken in
            [[("a", 0, UsedBy::Foreign), ("a", 2, SWAP)], [("a", 0, UsedBy::Foreign), ("a", 0, SWAP)]]
        {
            let found = audit(&uses(&broken)).unwrap_err();
            assert!(matches!(found, AuditError::NotInOrder { expected: 1, .. }), "{found}");
        }
    }
}
