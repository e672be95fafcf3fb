//! What a venue is asked, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::ObservedOrder;
use crate::domain::ids::{AccountId, TxId};
use crate::domain::siblings::Siblings;
use crate::domain::transaction::{AccountView, ChainView, Observation, Validity};

/// What the venue knows: how far its chain and the accounts had come, and then what it knew of each transaction.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) view: ChainView,
    pub(super) accounts: BTreeMap<AccountId, AccountView>,
    pub(super) observations: BTreeMap<TxId, Observation>,
}

impl Report {
    /// Returns how far the account of an attempt's transactions has come, if they have a nonce.
    pub(super) fn account(&self, siblings: &Siblings) -> Option<&AccountView> {
        self.accounts.get(&siblings.nonce()?.account)
    }

    /// Returns what it says of an attempt's transactions, in their order; nothing if it does not say all.
    pub(super) fn observations(&self, siblings: &Siblings) -> Option<Vec<Observation>> {
        siblings.ids().map(|id| self.observations.get(id).cloned()).collect()
    }
}

/// What there is to ask about.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) accounts: Vec<AccountId>,
    pub(super) txs: Vec<(TxId, Validity)>,
}

impl Question {
    pub(super) fn about(batch: &[ObservedOrder]) -> Self {
        let siblings = || batch.iter().filter_map(ObservedOrder::siblings);
        let accounts: BTreeSet<_> =
            siblings().filter_map(Siblings::nonce).map(|nonce| nonce.account.clone()).collect();
        let txs = siblings().flat_map(Siblings::iter);
        let txs = txs.map(|sibling| (sibling.tx.id.clone(), sibling.tx.validity.clone()));
        Self { accounts: accounts.into_iter().collect(), txs: txs.collect() }
    }
}
