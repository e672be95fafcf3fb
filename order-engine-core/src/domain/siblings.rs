//! The transactions of one attempt, of which the chain lets one land at most.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ids::TxId;
use crate::domain::transaction::{AccountNonce, SignedTx};
use crate::planted::planted;

/// What a transaction of an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It executes the order.
    Original,
    /// It executes the order, for a higher fee.
    FeeBump,
    /// It does nothing, so that no other transaction of the attempt can land.
    Cancel,
    /// It does nothing, and uses up a nonce before that of the attempt. It is no sibling.
    Filler,
}

impl Purpose {
    /// Whether the transaction executes the order.
    pub const fn is_swap(self) -> bool {
        matches!(self, Self::Original | Self::FeeBump)
    }
}

/// A transaction of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sibling {
    /// What it is for.
    pub purpose: Purpose,
    /// The transaction.
    pub tx: Arc<SignedTx>,
}

/// The transactions of one attempt, in the order of their signing: the original, and what was signed to replace it.
///
/// There are several only where the chain itself excludes all but one: they have the same account and nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Siblings {
    /// One at least.
    signed: Vec<Sibling>,
    /// Transactions that do nothing and use up nonces before that of the siblings, which nobody else uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fillers: Vec<Arc<SignedTx>>,
}

impl Siblings {
    /// Returns an attempt with its original transaction.
    pub(crate) fn new(original: Arc<SignedTx>) -> Self {
        Self { signed: vec![Sibling { purpose: Purpose::Original, tx: original }], fillers: Vec::new() }
    }

    /// Returns the same with a further transaction; nothing if the chain might let it land beside another one, or
    /// if it is not what may follow: a fee bump promises no less than the original, and after a cancel only
    /// another cancel follows.
    pub(crate) fn and(&self, purpose: Purpose, tx: Arc<SignedTx>) -> Option<Self> {
        let has_same_nonce = self.nonce().is_some() && tx.validity.nonce() == self.nonce();
        let is_new = self.iter().all(|sibling| sibling.tx.id != tx.id);
        let may_follow = match purpose {
            Purpose::Original | Purpose::Filler => false,
            Purpose::FeeBump => {
                let promises_enough =
                    tx.min_amount_out >= self.original().min_amount_out || planted!(BumpPromisesLess);
                self.latest().purpose.is_swap() && promises_enough
            }
            Purpose::Cancel => true,
        };
        if !is_new || !may_follow || !(has_same_nonce || planted!(SiblingHasOwnNonce)) {
            return None;
        }
        let mut siblings = self.clone();
        siblings.signed.push(Sibling { purpose, tx });
        Some(siblings)
    }

    /// Returns the same with a further filler; nothing if it has no nonce before that of the siblings.
    pub(crate) fn and_filler(&self, tx: Arc<SignedTx>) -> Option<Self> {
        let (own, gap) = (self.nonce()?, tx.validity.nonce()?);
        let is_new = self.fillers.iter().all(|filler| filler.id != tx.id);
        if !is_new || gap.account != own.account || gap.value.number()? >= own.value.number()? {
            return None;
        }
        let mut siblings = self.clone();
        siblings.fillers.push(tx);
        Some(siblings)
    }

    /// Returns the transactions that use up nonces before that of the siblings, in the order of their signing. Of
    /// those with the same nonce each replaces the last.
    pub fn fillers(&self) -> &[Arc<SignedTx>] {
        &self.fillers
    }

    /// Returns the fillers of a nonce, in the order of their signing.
    pub(crate) fn fillers_of(&self, value: u64) -> impl DoubleEndedIterator<Item = &Arc<SignedTx>> {
        let has_value =
            move |tx: &SignedTx| tx.validity.nonce().is_some_and(|nonce| nonce.value.number() == Some(value));
        self.fillers.iter().filter(move |tx| has_value(tx))
    }

    /// Returns the transactions in the order of their signing.
    pub fn iter(&self) -> std::slice::Iter<'_, Sibling> {
        self.signed.iter()
    }

    /// Returns how many there are: one at least.
    #[allow(clippy::len_without_is_empty)] // It is never empty.
    pub fn len(&self) -> usize {
        self.signed.len()
    }

    /// Returns the first.
    pub fn original(&self) -> &Arc<SignedTx> {
        &self.first().tx
    }

    fn first(&self) -> &Sibling {
        // It is made with one, and grows only.
        &self.signed[0]
    }

    /// Returns the one that was signed last, which replaces the others.
    pub fn latest(&self) -> &Sibling {
        self.signed.last().unwrap_or_else(|| self.first())
    }

    /// Returns the last one that executes the order.
    pub fn latest_swap(&self) -> &Sibling {
        self.iter().rev().find(|sibling| sibling.purpose.is_swap()).unwrap_or_else(|| self.first())
    }

    /// Returns how many were signed to replace another.
    pub fn replacements(&self) -> usize {
        self.signed.len() - 1
    }

    /// Returns the nonce that all of them have, if they have one.
    pub fn nonce(&self) -> Option<&AccountNonce> {
        self.original().validity.nonce()
    }

    /// Returns the ids in the order of signing.
    pub fn ids(&self) -> impl Iterator<Item = &TxId> {
        self.iter().map(|sibling| &sibling.tx.id)
    }
}

impl From<SignedTx> for Siblings {
    /// Returns an attempt with this transaction only.
    fn from(original: SignedTx) -> Self {
        Self::new(Arc::new(original))
    }
}

impl<'a> IntoIterator for &'a Siblings {
    type Item = &'a Sibling;
    type IntoIter = std::slice::Iter<'a, Sibling>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
