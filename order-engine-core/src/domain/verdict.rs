//! What follows from a venue's reports: one pure function over all transactions of an attempt.

use serde::{Deserialize, Serialize};

use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::TxId;
use crate::domain::siblings::{Purpose, Siblings};
use crate::domain::transaction::{
    AccountNonce, AccountView, Certainty, ChainView, Fill, NonceValue, Observation, Validity,
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
    /// The account left their nonce behind at finality: somebody else used it. Afterwards a node that had come as far
    /// itself searched completely and found none of them.
    Superseded {
        /// Their account and nonce.
        nonce: AccountNonce,
        /// The account's next nonce at finality, read *before* the search.
        finalized_nonce: NonceValue,
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
    let latest = siblings.latest();
    if planted!(GapAfterCancel) && latest.purpose == Purpose::Cancel {
        return cancelled(&latest.tx.id);
    }
    let mut finals = Vec::new();
    let mut included = None;
    let mut searches = Vec::new();
    let forgotten = if planted!(LastOneDecides) { siblings.len() - 1 } else { 0 };
    for (sibling, observation) in siblings.iter().zip(observations).skip(forgotten) {
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
    if searches.len() < siblings.len() - forgotten {
        return Verdict::Pending(included);
    }
    if planted!(AbsenceIsDeath) {
        return expired(0, view.finalized, 0);
    }
    // All of them were searched as far as the node that came least far.
    let through = searches.into_iter().min().flatten();
    match siblings.nonce() {
        Some(nonce) => by_nonce(nonce, account, through),
        None => by_height(&siblings.original().validity, view, through),
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
    let Some(account) = account.filter(|account| account.finalized.is_after(&nonce.value)) else {
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
        finalized_nonce: account.finalized.clone(),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::amount::Amount;
    use crate::domain::transaction::SignedTx;

    const NONCE: u64 = 100;

    fn tx(id: &str, validity: Validity) -> Arc<SignedTx> {
        Arc::new(SignedTx::new(id, [1], validity, Amount::new(1)))
    }

    fn view(finalized: u64) -> ChainView {
        ChainView::new(finalized + 32, finalized + 2, finalized)
    }

    fn nonce() -> Validity {
        Validity::Nonce(AccountNonce::new("wallet", NONCE))
    }

    fn certainty() -> impl Strategy<Value = Certainty> {
        prop_oneof![Just(Certainty::Processed), Just(Certainty::Confirmed), Just(Certainty::Finalized)]
    }

    fn observation() -> impl Strategy<Value = Observation> {
        let fill = Fill::new(Amount::new(1), Amount::new(2), 3);
        let failure = Failure::new(FailureCode::SLIPPAGE, "below the minimum");
        let absent = |searched_through| Observation::NotFound { searched_through, seen_through: None };
        prop_oneof![
            3 => option::of(0_u64..200).prop_map(absent),
            1 => certainty().prop_map(move |certainty| Observation::Landed { certainty, fill: fill.clone() }),
            1 => certainty().prop_map(move |certainty| {
                let class = FailureClass::Requote;
                Observation::Reverted { certainty, failure: failure.clone(), class }
            }),
        ]
    }

    /// Attempts of one to four transactions with a nonce.
    fn attempt() -> impl Strategy<Value = Siblings> {
        (0_usize..3, 0_usize..2).prop_map(|(bumps, cancels)| {
            let purposes = std::iter::repeat_n(Purpose::FeeBump, bumps)
                .chain(std::iter::repeat_n(Purpose::Cancel, cancels));
            purposes.enumerate().fold(Siblings::new(tx("original", nonce())), |siblings, (n, purpose)| {
                siblings.and(purpose, tx(&format!("sibling-{n}"), nonce())).unwrap()
            })
        })
    }

    const fn is_final(observation: &Observation) -> bool {
        matches!(
            observation,
            Observation::Landed { certainty: Certainty::Finalized, .. }
                | Observation::Reverted { certainty: Certainty::Finalized, .. }
        )
    }

    /// Whether an observation is an absence with this evidence.
    fn is_absent_through(observation: &Observation, height: u64) -> bool {
        let Observation::NotFound { searched_through, .. } = observation else { return false };
        searched_through.is_some_and(|searched| searched >= height)
    }

    proptest! {
        #[test]
        fn by_height_death_needs_a_final_revert_or_expiry_with_a_search_that_came_as_far(
            until in 0_u64..200, finalized in 0_u64..200, observation in observation(),
        ) {
            let attempt = Siblings::new(tx("tx", Validity::UntilHeight(until)));
            match verdict(&attempt, &view(finalized), None, std::slice::from_ref(&observation)) {
                Verdict::Dead(DeathProof::Expired { .. }, ..) => {
                    prop_assert!(finalized > until && is_absent_through(&observation, finalized));
                }
                Verdict::Dead(DeathProof::Reverted, ..) | Verdict::Landed(..) => prop_assert!(is_final(&observation)),
                Verdict::Dead(proof, ..) => prop_assert!(false, "{proof:?}"),
                Verdict::Pending(_) => {}
                Verdict::Unknown => {
                    prop_assert!(finalized > until && !is_absent_through(&observation, finalized));
                }
            }
        }

        #[test]
        fn by_nonce_death_needs_a_final_landing_or_a_used_nonce_with_a_search_for_all(
            attempt in attempt(),
            observations in proptest::collection::vec(observation(), 4),
            account in option::of((95_u64..105, 0_u64..200)),
            finalized in 0_u64..200,
        ) {
            let observations = &observations[..attempt.len()];
            let account = account.map(|(next, height)| AccountView::new(next, next, height));
            let finals: Vec<_> = attempt.iter().zip(observations).filter(|(_, seen)| is_final(seen)).collect();
            match verdict(&attempt, &view(finalized), account.as_ref(), observations) {
                Verdict::Landed(tx_id, _) => {
                    prop_assert_eq!(finals.len(), 1);
                    prop_assert!(finals[0].0.purpose.is_swap() && finals[0].0.tx.id == tx_id);
                }
                Verdict::Dead(DeathProof::Cancelled { tx_id }, ..) => {
                    prop_assert_eq!(finals.len(), 1);
                    prop_assert!(finals[0].0.purpose == Purpose::Cancel && finals[0].0.tx.id == tx_id);
                }
                Verdict::Dead(DeathProof::Reverted, ..) => {
                    prop_assert_eq!(finals.len(), 1);
                    prop_assert!(finals[0].0.purpose.is_swap());
                }
                Verdict::Dead(DeathProof::Superseded { .. }, ..) => {
                    let account = account.unwrap();
                    prop_assert!(account.finalized.is_after(&NONCE.into()));
                    let is_absent = |seen: &Observation| is_absent_through(seen, account.finalized_height);
                    prop_assert!(observations.iter().all(is_absent), "all of them were searched");
                }
                Verdict::Dead(DeathProof::Expired { .. }, ..) => {
                    prop_assert!(false, "time does not kill what has a nonce");
                }
                Verdict::Pending(_) => prop_assert!(finals.is_empty()),
                Verdict::Unknown => {
                    prop_assert!(finals.len() > 1 || account.is_some_and(|account| account.finalized.is_after(&NONCE.into())));
                }
            }
        }
    }

    /// The height at which the opaque value of an attempt was read.
    const READ_AT: u64 = 100;

    proptest! {
        #[test]
        fn by_opaque_value_death_needs_another_value_that_was_read_later_and_a_search_for_all(
            bump in option::of(observation()), observation in observation(),
            is_same in any::<bool>(), read_at in 90_u64..110, finalized_height in 0_u64..200,
        ) {
            let tx = |id| {
                let nonce = AccountNonce::new("account", NonceValue::opaque("value", READ_AT));
                tx(id, Validity::Nonce(nonce))
            };
            let mut attempt = Siblings::new(tx("original"));
            if bump.is_some() {
                attempt = attempt.and(Purpose::FeeBump, tx("bump")).unwrap();
            }
            let observations: Vec<Observation> = [observation].into_iter().chain(bump).collect();
            let value = NonceValue::opaque(if is_same { "value" } else { "other" }, read_at);
            let account = AccountView::new(value.clone(), value, finalized_height);
            let is_used = !is_same && read_at > READ_AT;
            let finals = observations.iter().filter(|seen| is_final(seen)).count();
            let verdict = verdict(&attempt, &view(10_000), Some(&account), &observations);
            match verdict {
                Verdict::Dead(DeathProof::Superseded { .. }, ..) => {
                    let is_absent = |seen: &Observation| is_absent_through(seen, finalized_height);
                    prop_assert!(is_used && observations.iter().all(is_absent));
                }
                Verdict::Dead(DeathProof::Reverted, ..) | Verdict::Landed(..) => prop_assert_eq!(finals, 1),
                Verdict::Dead(proof, ..) => prop_assert!(false, "{proof:?}"),
                Verdict::Pending(_) => prop_assert_eq!(finals, 0),
                Verdict::Unknown => prop_assert!(is_used || finals > 1),
            }
        }
    }

    #[test]
    fn the_last_valid_height_itself_is_no_death() {
        let absent = [Observation::NotFound { searched_through: Some(101), seen_through: None }];
        let attempt = Siblings::new(tx("tx", Validity::UntilHeight(100)));
        assert_eq!(verdict(&attempt, &view(100), None, &absent), Verdict::Pending(None));
        let dead = verdict(&attempt, &view(101), None, &absent);
        assert!(matches!(dead, Verdict::Dead(DeathProof::Expired { .. }, ..)));
    }

    #[test]
    fn a_node_that_has_not_come_as_far_as_was_read_proves_no_absence() {
        let by_height = Siblings::new(tx("tx", Validity::UntilHeight(100)));
        let by_nonce = Siblings::new(tx("tx", nonce()));
        let account = AccountView::new(NONCE + 1, NONCE + 1, 105);
        for (searched_through, is_dead) in
            [(None, false), (Some(0), false), (Some(104), false), (Some(105), true), (Some(106), true)]
        {
            let absent = [Observation::NotFound { searched_through, seen_through: Some(200) }];
            for verdict in [
                verdict(&by_height, &view(105), None, &absent),
                verdict(&by_nonce, &view(0), Some(&account), &absent),
            ] {
                assert_eq!(
                    matches!(verdict, Verdict::Dead(..)),
                    is_dead,
                    "{searched_through:?}: {verdict:?}"
                );
                assert_eq!(verdict == Verdict::Unknown, !is_dead, "{searched_through:?}: {verdict:?}");
            }
        }
    }

    #[test]
    fn a_height_does_not_end_what_has_a_nonce() {
        let validity = Validity::NonceUntilHeight { nonce: AccountNonce::new("wallet", NONCE), height: 10 };
        let attempt = Siblings::new(tx("tx", validity));
        let absent = [Observation::NotFound { searched_through: Some(200), seen_through: None }];
        let unused = AccountView::new(NONCE, NONCE, 150);
        assert_eq!(verdict(&attempt, &view(200), Some(&unused), &absent), Verdict::Pending(None));
    }
}
