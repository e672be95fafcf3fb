//! The transactions that nodes keep until a block takes them: one of each account and nonce.

use std::collections::BTreeMap;
use std::sync::Arc;

use order_engine_core::{AccountId, TxId};

use crate::nonce_use::NonceNumber;
use crate::tx::Message;

/// The least fee of a replacement, in percent of the fee of the transaction that it replaces.
const REPLACEMENT_PERCENT: u128 = 110;

/// A transaction with a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NonceTx {
    pub(crate) id: TxId,
    pub(crate) nonce: NonceNumber,
    /// What the account pays for it.
    pub(crate) fee: u128,
    /// What it does; `None` if somebody else made it.
    pub(crate) message: Option<Arc<Message>>,
}

impl NonceTx {
    /// Returns whether the venue signed the transaction.
    pub(crate) const fn is_ours(&self) -> bool {
        self.message.is_some()
    }
}

/// The transactions that wait for a block.
#[derive(Debug, Default)]
pub(crate) struct Mempool {
    waiting: BTreeMap<NonceNumber, Waiting>,
    /// The number of transactions that ever came.
    arrivals: u64,
}

/// A transaction that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) tx: NonceTx,
    /// Its place among those that came.
    pub(crate) arrival: u64,
    /// The first height in which it can land.
    pub(crate) ready_height: u64,
}

/// What a node says to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It takes the transaction.
    Taken,
    /// It has the transaction.
    Known,
    /// It refuses the transaction, for this reason.
    Refused(&'static str),
}

impl Mempool {
    /// Returns what a node says to a transaction whose account has this next nonce.
    pub(crate) fn admission(&self, tx: &NonceTx, next_nonce: u64) -> Admission {
        if tx.nonce.value < next_nonce {
            return Admission::Refused("nonce too low");
        }
        match self.waiting.get(&tx.nonce) {
            Some(Waiting { tx: known, .. }) if known.id == tx.id => Admission::Known,
            Some(Waiting { tx: known, .. }) if !replaces(tx.fee, known.fee) => {
                Admission::Refused("replacement transaction underpriced")
            }
            _ => Admission::Taken,
        }
    }

    /// Takes a transaction that can land from a height on, in the place of the one with its nonce.
    pub(crate) fn insert(&mut self, tx: NonceTx, ready_height: u64) {
        self.arrivals += 1;
        let waiting = Waiting { arrival: self.arrivals, ready_height, tx };
        self.waiting.insert(waiting.tx.nonce.clone(), waiting);
    }

    /// Removes a transaction.
    pub(crate) fn take(&mut self, nonce: &NonceNumber) -> Option<NonceTx> {
        self.waiting.remove(nonce).map(|waiting| waiting.tx)
    }

    /// Removes the transactions whose nonces are used, after a block that left the accounts with these next nonces.
    pub(crate) fn forget_used(&mut self, next_nonce: impl Fn(&AccountId) -> u64) {
        self.waiting.retain(|nonce, _| nonce.value >= next_nonce(&nonce.account));
    }

    /// Keeps only some transactions.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&NonceTx) -> bool) {
        self.waiting.retain(|_, waiting| keeps(&waiting.tx));
    }

    /// Returns the transaction with a nonce.
    pub(crate) fn get(&self, nonce: &NonceNumber) -> Option<&Waiting> {
        self.waiting.get(nonce)
    }

    /// Returns the nonces of all transactions that wait, by account and nonce.
    pub(crate) fn nonces(&self) -> impl Iterator<Item = &NonceNumber> {
        self.waiting.keys()
    }
}

/// Returns whether a fee is high enough to replace a transaction with another fee.
const fn replaces(fee: u128, known_fee: u128) -> bool {
    fee.saturating_mul(100) >= known_fee.saturating_mul(REPLACEMENT_PERCENT)
}

#[cfg(test)]
impl NonceTx {
    /// Returns a transaction of somebody else, for tests to vary.
    pub(crate) fn example(id: &str, account: &str, nonce: u64, fee: u128) -> Self {
        let nonce = NonceNumber { account: account.into(), value: nonce };
        Self { id: id.into(), nonce, fee, message: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tx(id: &str, nonce: u64, fee: u128) -> NonceTx {
        NonceTx::example(id, "wallet", nonce, fee)
    }

    #[test]
    fn a_used_nonce_is_refused_and_a_gap_waits() {
        let mut mempool = Mempool::default();
        assert_eq!(mempool.admission(&tx("a", 6, 100), 7), Admission::Refused("nonce too low"));
        for nonce in [7, 9] {
            assert_eq!(mempool.admission(&tx("b", nonce, 100), 7), Admission::Taken);
            mempool.insert(tx("b", nonce, 100), 1);
        }
        assert_eq!(mempool.nonces().map(|nonce| nonce.value).collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn a_replacement_pays_a_tenth_more() {
        let mut mempool = Mempool::default();
        mempool.insert(tx("a", 7, 1_000), 1);
        assert_eq!(mempool.admission(&tx("a", 7, 1_000), 7), Admission::Known);
        let underpriced = Admission::Refused("replacement transaction underpriced");
        assert_eq!(mempool.admission(&tx("b", 7, 1_099), 7), underpriced);
        assert_eq!(mempool.admission(&tx("b", 7, 1_100), 7), Admission::Taken);
        mempool.insert(tx("b", 7, 1_100), 1);
        assert_eq!(mempool.admission(&tx("a", 7, 1_000), 7), underpriced, "the old one does not come back");
        assert_eq!(mempool.nonces().count(), 1);
    }

    #[test]
    fn used_nonces_are_forgotten_of_their_account_only() {
        let mut mempool = Mempool::default();
        mempool.insert(tx("a", 7, 100), 1);
        mempool.insert(tx("b", 8, 100), 1);
        mempool.insert(NonceTx::example("c", "other", 7, 100), 1);
        mempool.forget_used(|account| if account.as_str() == "wallet" { 8 } else { 0 });
        assert_eq!(mempool.nonces().map(|nonce| nonce.value).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(mempool.take(&NonceNumber { account: "wallet".into(), value: 7 }), None);
    }
}
