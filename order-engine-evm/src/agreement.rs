//! What follows from what several nodes say. Pure.
//!
//! A node may lag, be on a fork, or lie. So nothing counts as final, and no nonce as used, unless as many nodes as the
//! quorum say so, each by itself.

use std::cmp::Reverse;

use alloy_primitives::B256;
pub(crate) use order_engine_chain::{quorum_of, quorum_th};

use crate::rpc::wire::Receipt;

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockId {
    pub(crate) number: u64,
    pub(crate) hash: B256,
}

/// What the nodes say together about a transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Agreed {
    /// No node has it in a block.
    Absent,
    /// A node has it in a block.
    Found {
        /// What it did there, as most nodes say.
        receipt: Receipt,
        /// Whether as many nodes as the quorum say the same.
        is_agreed: bool,
    },
}

/// Draws together what each node says about a transaction. `None` if fewer nodes than the quorum answered and none has it.
pub(crate) fn agree(reports: &[Option<Receipt>], quorum: usize) -> Option<Agreed> {
    let found: Vec<&Receipt> = reports.iter().flatten().collect();
    let count = |one: &Receipt| found.iter().filter(|other| **other == one).count();
    // Who finds it refutes those who do not. Of different blocks the one that most name counts, then the lowest.
    let most = found.iter().max_by_key(|one| (count(one), Reverse(one.block_number)));
    match most {
        Some(receipt) => {
            Some(Agreed::Found { receipt: (*receipt).clone(), is_agreed: count(receipt) >= quorum })
        }
        None => (reports.len() >= quorum).then_some(Agreed::Absent),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U64};
    use proptest::prelude::*;

    use super::*;

    fn receipt(block: u64, status: u64) -> Receipt {
        Receipt {
            transaction_hash: B256::ZERO,
            block_number: U64::from(block),
            block_hash: B256::with_last_byte(u8::try_from(block % 256).unwrap()),
            from: Address::ZERO,
            status: U64::from(status),
            gas_used: U64::ZERO,
            logs: Vec::new(),
        }
    }

    #[test]
    fn who_finds_it_refutes_those_who_do_not_and_a_quorum_makes_it_certain() {
        let found = |is_agreed| Some(Agreed::Found { receipt: receipt(9, 1), is_agreed });
        assert_eq!(agree(&[None, None, Some(receipt(9, 1))], 2), found(false));
        assert_eq!(agree(&[Some(receipt(9, 1)), None, Some(receipt(9, 1))], 2), found(true));
        assert_eq!(agree(&[None, None], 2), Some(Agreed::Absent));
        assert_eq!(agree(&[None], 2), None, "too few answered");
        assert_eq!(agree(&[], 1), None);
    }

    #[test]
    fn success_and_failure_and_two_blocks_are_different_things() {
        let reports = [Some(receipt(9, 1)), Some(receipt(9, 0)), Some(receipt(9, 0))];
        assert_eq!(agree(&reports, 2), Some(Agreed::Found { receipt: receipt(9, 0), is_agreed: true }));
        let reports = [Some(receipt(9, 1)), Some(receipt(8, 1))];
        assert_eq!(agree(&reports, 2), Some(Agreed::Found { receipt: receipt(8, 1), is_agreed: false }));
    }

    proptest! {
        #[test]
        fn fewer_liars_than_the_quorum_make_nothing_certain(
            liars in proptest::collection::vec((0_u64..3, 0_u64..2), 1..3), honest in 0_usize..4,
        ) {
            let quorum = liars.len() + 1;
            let told = liars.into_iter().map(|(block, status)| Some(receipt(block, status)));
            let reports: Vec<_> = told.chain(std::iter::repeat_n(None, honest)).collect();
            let is_agreed = matches!(agree(&reports, quorum), Some(Agreed::Found { is_agreed: true, .. }));
            prop_assert!(!is_agreed);
        }
    }
}
