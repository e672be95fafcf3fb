//! What follows from a venue's reports: one pure function over all transactions of an attempt.

use serde::{Deserialize, Serialize};

use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::TxId;
use crate::domain::siblings::{Purpose, Siblings};
use crate::domain::transaction::{
    AccountNonce, AccountView, Certainty, ChainView, Fill, Observation, Validity,
};
use crate::planted::planted;

/// Why no transaction of an attempt can execute the order any more. Nothing else is a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeathProof {
    /// The finalized height passed the validity. Afterwards a node that had come as far itself searched
    /// completely and found nothing.
    Expired {
        /// The last height at which it could have landed.
        valid_until_height: u64,
        /// The finalized height that was read *before* the search.
        finalized_height: u64,
        /// The height through which the node that searched held the chain as final.
        searched_through: u64,
    },
    /// The account's finalized nonce passed theirs: somebody else used it. Afterwards a node that had come as far
    /// itself searched completely and found none of them.
    Superseded {
        /// Their account and nonce.
        nonce: AccountNonce,
        /// The account's next nonce at finality, read *before* the search.
        finalized_nonce: u64,
        /// The height of the final block at which it was read.
        finalized_height: u64,
        /// The height through which the node that searched held the chain as final.
        searched_through: u64,
    },
    /// The transaction that does nothing landed, for good.
    Cancelled {
        /// Its id.
        tx_id: TxId,
    },
    /// One landed, failed, and the failure is final.
    Reverted,
}

/// A block in which a transaction was seen, and which is not final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inclusion {
    /// How certain it is that the block stays.
    pub certainty: Certainty,
    /// Its height.
    pub height: u64,
}

impl Inclusion {
    /// Returns an inclusion in a block of this height.
    pub const fn new(certainty: Certainty, height: u64) -> Self {
        Self { certainty, height }
    }
}

/// What follows from the reports about the transactions of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is decided. One that executes the order may have been seen in a block that is not final.
    Pending(Option<Inclusion>),
    /// This one executed the order, for good.
    Landed(TxId, Fill),
    /// None of them can execute the order any more.
    Dead(DeathProof, Failure, FailureClass),
    /// They should be dead by their validity, but the venue cannot prove it; or the reports contradict each other.
    Unknown,
}

/// Returns the verdict that follows from one report about each transaction of an attempt.
///
/// `view`, and `account` if they have a nonce, must have been read *before* the observations were made. The node
/// that searched may be another one than the nodes that were read, and may lag behind them, so absence carries its
/// evidence: only a search through the finalized height that was read proves that nothing landed at or below it.
///
/// Transactions with a nonce end by the use of the nonce only, also where a height bounds them too: a nonce that
/// nobody used would block every later transaction of the account.
pub fn verdict(
    siblings: &Siblings,
    view: &ChainView,
    account: Option<&AccountView>,
    observations: &[Observation],
) -> Verdict {
    let mut finals = Vec::new();
    let mut included = None;
    let mut searches = Vec::new();
    for (sibling, observation) in siblings.iter().zip(observations) {
        match final_verdict(sibling.purpose, &sibling.tx.id, observation) {
            Some(verdict) => finals.push(verdict),
            None => match observation {
                Observation::NotFound { searched_through, .. } => searches.push(*searched_through),
                Observation::Landed { certainty, fill } if sibling.purpose.is_swap() => {
                    included = included.or(Some(Inclusion::new(*certainty, fill.height)));
                }
                // A failure that is not final may be undone by a fork, and the transaction then succeed.
                Observation::Landed { .. } | Observation::Reverted { .. } => {}
            },
        }
    }
    match finals.len() {
        0 => {}
        1 => return finals.swap_remove(0),
        // The chain lets one land. Reports that say otherwise decide nothing.
        _ => return Verdict::Unknown,
    }
    if searches.len() < siblings.len() {
        return Verdict::Pending(included);
    }
    if planted!(AbsenceIsDeath) {
        return expired(0, view.finalized, 0);
    }
    // All of them were searched as far as the node that came least far.
    let searched = searches.into_iter().min().flatten();
    match siblings.nonce() {
        Some(nonce) => by_nonce(nonce, account, searched),
        None => by_height(&siblings.original().validity, view, searched),
    }
}

/// Returns what the final landing of one transaction decides, if it is final.
fn final_verdict(purpose: Purpose, tx_id: &TxId, observation: &Observation) -> Option<Verdict> {
    let is_final = |certainty| certainty == Certainty::Finalized || planted!(InclusionIsFinal);
    match observation {
        Observation::Landed { certainty, fill } if is_final(*certainty) => Some(match purpose {
            Purpose::Cancel if !planted!(CancelIsExecution) => cancelled(tx_id),
            _ => Verdict::Landed(tx_id.clone(), fill.clone()),
        }),
        Observation::Reverted { certainty: Certainty::Finalized, failure, class } => Some(match purpose {
            // It did nothing, as it should.
            Purpose::Cancel => cancelled(tx_id),
            _ => Verdict::Dead(DeathProof::Reverted, failure.clone(), *class),
        }),
        _ => None,
    }
}

fn by_height(validity: &Validity, view: &ChainView, searched: Option<u64>) -> Verdict {
    let Some(height) = validity.until_height() else { return Verdict::Pending(None) };
    match searched {
        Some(searched)
            if planted!(ExpiryOffByOne) && view.finalized >= height && searched >= view.finalized =>
        {
            expired(height, view.finalized, searched)
        }
        Some(searched)
            if view.finalized > height
                && (searched >= view.finalized || planted!(AbsenceWithoutEvidence)) =>
        {
            expired(height, view.finalized, searched)
        }
        _ if view.finalized > height => Verdict::Unknown,
        _ => Verdict::Pending(None),
    }
}

fn by_nonce(nonce: &AccountNonce, account: Option<&AccountView>, searched: Option<u64>) -> Verdict {
    let Some(account) = account.filter(|account| account.finalized > nonce.value) else {
        return Verdict::Pending(None);
    };
    match searched {
        Some(searched) if searched >= account.finalized_height || planted!(NonceWithoutSearch) => {
            superseded(nonce, account, searched)
        }
        None if planted!(NonceWithoutSearch) => superseded(nonce, account, 0),
        _ => Verdict::Unknown,
    }
}

fn expired(valid_until_height: u64, finalized_height: u64, searched_through: u64) -> Verdict {
    let message = format!(
        "The transaction was valid until height {valid_until_height} and had not landed at finalized height {finalized_height}"
    );
    Verdict::Dead(
        DeathProof::Expired { valid_until_height, finalized_height, searched_through },
        Failure::new(FailureCode::TRANSACTION_EXPIRED, message),
        FailureClass::Requote,
    )
}

fn superseded(nonce: &AccountNonce, account: &AccountView, searched_through: u64) -> Verdict {
    let message = format!("Another transaction of the account used the nonce {}", nonce.value);
    let proof = DeathProof::Superseded {
        nonce: nonce.clone(),
        finalized_nonce: account.finalized,
        finalized_height: account.finalized_height,
        searched_through,
    };
    Verdict::Dead(proof, Failure::new(FailureCode::TRANSACTION_SUPERSEDED, message), FailureClass::Requote)
}

fn cancelled(tx_id: &TxId) -> Verdict {
    let failure =
        Failure::new(FailureCode::CANCELLED, "A transaction that does nothing took the order's place");
    Verdict::Dead(DeathProof::Cancelled { tx_id: tx_id.clone() }, failure, FailureClass::Requote)
}
