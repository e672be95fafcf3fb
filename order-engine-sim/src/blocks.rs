//! The blocks of a chain whose transactions have nonces.

use std::collections::{BTreeMap, HashMap};

use order_engine_core::{AccountId, NonceValue, OrderId, TxId};

use crate::ledger::Ticket;
use crate::mempool::NonceTx;
use crate::nonce_use::{Line, UsedBy};
use crate::opaque::{self, ValueUse};

/// The blocks, and what follows from them: the next nonce of each account.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// The blocks that are not empty, by height.
    by_height: BTreeMap<u64, Vec<Landed>>,
    /// The use of each nonce of an account, from the first on.
    uses: BTreeMap<AccountId, Vec<ValueUse>>,
    /// The height at which each transaction landed.
    height_of: HashMap<TxId, u64>,
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    /// What it did.
    pub(crate) line: Line,
    /// How far it is from being undone.
    pub(crate) permanence: Permanence,
}

/// Whether a landing can be undone.
#[derive(Clone, Debug)]
pub(crate) enum Permanence {
    /// The transaction goes back to the nodes if its block is abandoned.
    Undoable(NonceTx),
    /// The ledger has the landing; its line must be durable before it is revealed as final.
    Final(Ticket),
}

impl Blocks {
    /// Adds a transaction to the block of a height, which is not below the last one. Nothing happens if its nonce is
    /// not the next one of its account, which callers never do.
    pub(crate) fn land(&mut self, landed: Landed) {
        let Some(nonce_use) = landed.line.nonce_use() else { return };
        let uses = self.uses.entry(nonce_use.nonce.account.clone()).or_default();
        let is_next = nonce_use.nonce.value == NonceValue::Number(uses.len() as u64);
        debug_assert!(is_next, "an account uses its nonces in their order: {:?}", nonce_use.nonce);
        if !is_next {
            return;
        }
        uses.push(ValueUse { height: nonce_use.height, tx_id: nonce_use.tx_id.clone() });
        self.height_of.insert(nonce_use.tx_id, nonce_use.height);
        self.by_height.entry(nonce_use.height).or_default().push(landed);
    }

    /// Removes the blocks from a height on. Returns their transactions in the order in which they landed.
    pub(crate) fn undo(&mut self, from_height: u64) -> Vec<NonceTx> {
        let undone: Vec<Landed> = self.by_height.split_off(&from_height).into_values().flatten().collect();
        for uses in self.uses.values_mut() {
            uses.truncate(uses.partition_point(|used| used.height < from_height));
        }
        let undo = |landed: Landed| {
            self.height_of.remove(landed.line.tx_id());
            match landed.permanence {
                Permanence::Undoable(tx) => Some(tx),
                Permanence::Final(_) => None,
            }
        };
        undone.into_iter().filter_map(undo).collect()
    }

    /// Makes the blocks of some heights final: `record` writes each landing and returns its ticket.
    pub(crate) fn finalize(
        &mut self,
        heights: std::ops::RangeInclusive<u64>,
        mut record: impl FnMut(&Line) -> Ticket,
    ) {
        if heights.is_empty() {
            return;
        }
        for landed in self.by_height.range_mut(heights).flat_map(|(_, block)| block) {
            landed.permanence = Permanence::Final(record(&landed.line));
        }
    }

    /// Returns the next nonce of an account after the block of a height.
    pub(crate) fn next_nonce_at(&self, account: &AccountId, height: u64) -> u64 {
        let uses = self.uses.get(account).map(Vec::as_slice).unwrap_or_default();
        uses.partition_point(|used| used.height <= height) as u64
    }

    /// Returns the next nonce of an account after the last block.
    pub(crate) fn next_nonce(&self, account: &AccountId) -> u64 {
        self.uses.get(account).map_or(0, |uses| uses.len() as u64)
    }

    /// Returns the opaque value of an account that has used so many; nothing if it has not.
    pub(crate) fn value(&self, account: &AccountId, number: u64) -> Option<String> {
        let uses = self.uses.get(account).map(Vec::as_slice).unwrap_or_default();
        let before = uses.get(..usize::try_from(number).ok()?)?;
        Some(opaque::value_after(account, before.last()))
    }

    /// Returns a transaction and the height in which it landed.
    pub(crate) fn find(&self, id: &TxId) -> Option<(&Landed, u64)> {
        let height = *self.height_of.get(id)?;
        let landed = self.by_height.get(&height)?.iter().find(|landed| landed.line.tx_id() == id)?;
        Some((landed, height))
    }

    /// Returns the transactions that carry the tag of an order and landed up to a height.
    pub(crate) fn tagged(&self, order: OrderId, height: u64) -> Vec<TxId> {
        let is_of_order = |line: &&Line| {
            let used_by = line.nonce_use().map(|nonce_use| nonce_use.used_by);
            used_by.and_then(UsedBy::order_id) == Some(order)
        };
        let lines = self.by_height.range(..=height).flat_map(|(_, block)| block).map(|landed| &landed.line);
        lines.filter(is_of_order).map(|line| line.tx_id().clone()).collect()
    }

    /// Returns the final landings in their order, with their tickets.
    pub(crate) fn recorded(&self) -> impl Iterator<Item = (&Line, Ticket)> {
        self.by_height.values().flatten().filter_map(|landed| match landed.permanence {
            Permanence::Final(ticket) => Some((&landed.line, ticket)),
            Permanence::Undoable(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nonce_use::NonceUse;
    use proptest::prelude::*;

    fn landed(account: &str, nonce: u64, height: u64) -> Landed {
        let tx = NonceTx::example(&format!("{account}-{nonce}"), account, nonce, 100);
        let line = Line::NonceUse(NonceUse {
            nonce: tx.nonce.clone().into(),
            tx_id: tx.id.clone(),
            used_by: UsedBy::Foreign,
            height,
            landed_at_ms: height * 400,
        });
        Landed { line, permanence: Permanence::Undoable(tx) }
    }

    #[test]
    fn nonces_follow_from_the_blocks_up_to_a_height() {
        let mut blocks = Blocks::default();
        for (nonce, height) in [(0, 5), (1, 5), (2, 8)] {
            blocks.land(landed("wallet", nonce, height));
        }
        let nonces = [4, 5, 7, 8].map(|height| blocks.next_nonce_at(&"wallet".into(), height));
        assert_eq!(nonces, [0, 2, 2, 3]);
        assert_eq!((blocks.next_nonce(&"wallet".into()), blocks.next_nonce(&"other".into())), (3, 0));
        assert_eq!(blocks.find(&"wallet-2".into()).unwrap().1, 8);
        assert_eq!(blocks.undo(6).into_iter().map(|tx| tx.id).collect::<Vec<_>>(), ["wallet-2".into()]);
        assert_eq!(blocks.next_nonce(&"wallet".into()), 2);
        assert!(blocks.find(&"wallet-2".into()).is_none());
    }

    #[test]
    fn a_final_landing_is_recorded_once() {
        let mut blocks = Blocks::default();
        for nonce in 0..3 {
            blocks.land(landed("wallet", nonce, nonce + 1));
        }
        let mut lines = Vec::new();
        blocks.finalize(1..=2, |line| {
            lines.push(line.tx_id().clone());
            7
        });
        assert_eq!(lines, ["wallet-0".into(), "wallet-1".into()]);
        assert_eq!(blocks.recorded().map(|(_, ticket)| ticket).collect::<Vec<_>>(), [7, 7]);
        assert_eq!(blocks.undo(3).len(), 1);
    }

    proptest! {
        #[test]
        fn undone_blocks_give_back_exactly_their_transactions(
            accounts in prop::collection::vec((0_usize..3, 0_u64..3), 0..30), from_height in 0_u64..60,
        ) {
            let (mut blocks, mut height) = (Blocks::default(), 0);
            let mut all = Vec::new();
            for (account, gap) in accounts {
                let account = ["a", "b", "c"][account];
                height += gap;
                let next = landed(account, blocks.next_nonce(&account.into()), height);
                all.push((next.line.tx_id().clone(), height));
                blocks.land(next);
            }
            let undone: Vec<TxId> = blocks.undo(from_height).into_iter().map(|tx| tx.id).collect();
            let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, height)| *height < from_height);
            prop_assert_eq!(undone, gone.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
            prop_assert!(kept.iter().all(|(id, height)| blocks.find(id).unwrap().1 == *height));
            for account in ["a", "b", "c"] {
                let next = blocks.next_nonce(&account.into());
                prop_assert_eq!(next, blocks.next_nonce_at(&account.into(), u64::MAX));
                let is_kept = |nonce| blocks.find(&format!("{account}-{nonce}").into()).is_some();
                prop_assert!((0..next).all(is_kept));
            }
        }
    }
}
