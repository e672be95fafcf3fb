//! Which transactions a block takes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use order_engine_core::AccountId;

use crate::mempool::Mempool;
use crate::nonce_use::NonceNumber;

/// A block that is being built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSpace {
    /// The height of the block.
    pub(crate) height: u64,
    /// The fee below which the block takes no transaction.
    pub(crate) base_fee: u128,
    /// How many more transactions the block can take.
    pub(crate) capacity: usize,
}

/// Returns the transactions that a block takes, in their order.
///
/// Of those that are the next ones of their accounts, the one with the highest fee comes first; among equals the one
/// that came first. One that may not land yet, or pays less than the base fee, holds up those of its account.
pub(crate) fn choose(
    mempool: &Mempool,
    next_nonce: impl Fn(&AccountId) -> u64,
    space: &BlockSpace,
) -> Vec<NonceNumber> {
    let candidate = |nonce: NonceNumber| {
        let waiting = mempool.get(&nonce)?;
        let is_ready = waiting.ready_height <= space.height && waiting.tx.fee >= space.base_fee;
        is_ready.then_some((Reverse(waiting.tx.fee), waiting.arrival, nonce))
    };
    let accounts: BTreeSet<&AccountId> = mempool.nonces().map(|nonce| &nonce.account).collect();
    let first = |account: &AccountId| NonceNumber { account: account.clone(), value: next_nonce(account) };
    let mut candidates: BTreeSet<_> =
        accounts.into_iter().filter_map(|account| candidate(first(account))).collect();
    let mut chosen = Vec::new();
    while chosen.len() < space.capacity {
        let Some((_, _, nonce)) = candidates.pop_first() else { break };
        let following = NonceNumber { account: nonce.account.clone(), value: nonce.value + 1 };
        candidates.extend(candidate(following));
        chosen.push(nonce);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::NonceTx;
    use proptest::prelude::*;

    const ROOMY: BlockSpace = BlockSpace { height: 10, base_fee: 0, capacity: 100 };

    fn mempool(txs: &[(&str, u64, u128)]) -> Mempool {
        let mut mempool = Mempool::default();
        for (account, nonce, fee) in txs {
            mempool.insert(NonceTx::example("tx", account, *nonce, *fee), 10);
        }
        mempool
    }

    /// Returns the accounts and nonces that a block takes if every account is at nonce 5.
    fn chosen(mempool: &Mempool, space: &BlockSpace) -> Vec<(String, u64)> {
        let chosen = choose(mempool, |_| 5, space);
        chosen.into_iter().map(|nonce| (nonce.account.as_str().to_owned(), nonce.value)).collect()
    }

    fn named(nonces: &[(&str, u64)]) -> Vec<(String, u64)> {
        nonces.iter().map(|(account, nonce)| ((*account).to_owned(), *nonce)).collect()
    }

    #[test]
    fn the_highest_fee_comes_first_but_never_before_a_lower_nonce_of_its_account() {
        let mempool = mempool(&[("a", 5, 100), ("a", 6, 900), ("b", 5, 500), ("b", 6, 50)]);
        assert_eq!(chosen(&mempool, &ROOMY), named(&[("b", 5), ("a", 5), ("a", 6), ("b", 6)]));
    }

    #[test]
    fn among_equal_fees_the_first_to_come_comes_first() {
        let mempool = mempool(&[("b", 5, 100), ("c", 5, 100), ("a", 5, 100)]);
        assert_eq!(chosen(&mempool, &ROOMY), named(&[("b", 5), ("c", 5), ("a", 5)]));
    }

    #[test]
    fn a_gap_a_low_fee_or_a_delay_holds_up_those_behind() {
        let mut mempool =
            mempool(&[("a", 6, 900), ("b", 5, 99), ("b", 6, 900), ("c", 5, 100), ("c", 7, 900)]);
        mempool.insert(NonceTx::example("late", "d", 5, 900), 11);
        let space = BlockSpace { base_fee: 100, ..ROOMY };
        assert_eq!(chosen(&mempool, &space), named(&[("c", 5)]));
        let next = BlockSpace { height: 11, ..space };
        assert_eq!(chosen(&mempool, &next), named(&[("d", 5), ("c", 5)]));
    }

    proptest! {
        #[test]
        fn a_block_is_as_full_as_it_can_be_without_gaps(
            txs in prop::collection::btree_map((0_u8..4, 5_u64..10), 0_u128..200, 0..20),
            base_fee in 0_u128..200, capacity in 0_usize..10,
        ) {
            let names = ["a", "b", "c", "d"];
            let txs: Vec<(&str, u64, u128)> =
                txs.into_iter().map(|((account, nonce), fee)| (names[usize::from(account)], nonce, fee)).collect();
            let mempool = mempool(&txs);
            let space = BlockSpace { base_fee, capacity, ..ROOMY };
            let chosen = chosen(&mempool, &space);
            let mut possible = 0;
            for account in names {
                let nonces: Vec<u64> =
                    chosen.iter().filter(|(name, _)| name == account).map(|(_, nonce)| *nonce).collect();
                prop_assert_eq!(&nonces, &(5..5 + nonces.len() as u64).collect::<Vec<_>>());
                let pays = |nonce: &u64| txs.iter().any(|tx| tx.0 == account && tx.1 == *nonce && tx.2 >= base_fee);
                possible += (5..10).take_while(pays).count();
            }
            prop_assert_eq!(chosen.len(), possible.min(capacity));
        }
    }
}
