//! The executions of the simulated chain, compared with the accepted orders.

use std::collections::BTreeMap;

use order_engine_core::OrderId;
use order_engine_sim::Execution;

use crate::error::Result;

/// Returns how often each order was executed.
pub(crate) fn count(executions: &[Execution]) -> BTreeMap<OrderId, usize> {
    let mut counts = BTreeMap::new();
    for execution in executions.iter().filter(|execution| execution.executed) {
        *counts.entry(execution.order_id).or_default() += 1;
    }
    counts
}

/// Checks that each accepted order was executed once, and no other order at all.
///
/// # Errors
/// If not: the first difference.
pub(crate) fn check(accepted: &[OrderId], mut executed: BTreeMap<OrderId, usize>) -> Result<()> {
    for id in accepted {
        match executed.remove(id) {
            Some(1) => {}
            Some(times) => {
                return Err(format!("order {id} was executed {times} times, or accepted twice").into());
            }
            None => return Err(format!("order {id} was never executed, or accepted twice").into()),
        }
    }
    if let Some((id, _)) = executed.first_key_value() {
        return Err(
            format!("{} orders were executed without a submission, {id} among them", executed.len()).into()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found() {
        let id = |number: u8| OrderId::from_bytes([number; 16]);
        let ledger = |counts: &[(u8, usize)]| counts.iter().map(|(n, times)| (id(*n), *times)).collect();
        assert!(check(&[id(1), id(2)], ledger(&[(1, 1), (2, 1)])).is_ok());
        for (accepted, executed) in [
            (vec![id(1)], ledger(&[(1, 2)])),
            (vec![id(1)], ledger(&[])),
            (vec![id(1)], ledger(&[(1, 1), (2, 1)])),
            (vec![id(1), id(1)], ledger(&[(1, 1)])),
        ] {
            assert!(check(&accepted, executed).is_err());
        }
    }
}
