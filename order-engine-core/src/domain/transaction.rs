//! A signed transaction, what a venue reports about it, and the verdict that follows.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ids::TxId;
use crate::planted::planted;

/// A transaction that is signed and can be sent, again and again, with one effect at most.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTx {
    /// The id under which the venue knows the transaction; it follows from the bytes.
    pub id: TxId,
    /// What is sent, exactly these bytes every time.
    #[serde(with = "base64_bytes")]
    pub bytes: Vec<u8>,
    /// How long it may land.
    pub validity: Validity,
    /// The least output that the transaction enforces, in base units of the output token.
    pub min_amount_out: Amount,
}

/// Shows no bytes: whoever has them can send them.
impl fmt::Debug for SignedTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedTx")
            .field("id", &self.id)
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .field("validity", &self.validity)
            .field("min_amount_out", &self.min_amount_out)
            .finish()
    }
}

/// How long a signed transaction may land.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// It may land in blocks up to and including this height.
    UntilHeight(u64),
    /// Time alone never kills it.
    Unbounded,
}

/// How far the venue's chain has come, at each level of certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainView {
    /// The newest height seen.
    pub processed: u64,
    /// The newest height that most validators voted for.
    pub confirmed: u64,
    /// The newest height that cannot be undone.
    pub finalized: u64,
}

/// How certain it is that a transaction stays where it landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// In a block that may still be abandoned.
    Processed,
    /// In a block that most validators voted for; it may still be undone.
    Confirmed,
    /// For good.
    Finalized,
}

/// What a landed transaction did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// Base units of the input token that were taken.
    pub amount_in: Amount,
    /// Base units of the output token that were paid.
    pub amount_out: Amount,
    /// The height at which it happened.
    pub height: u64,
}

/// What a venue reports about one transaction. Facts only: it draws no conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// The node that answered knows nothing of it.
    NotFound {
        /// The finalized height of that node when it searched, if it searched everything up to there
        /// and back to the transaction's signing. `None` if its history has gaps, as a recent-only
        /// cache has; then nothing follows from the absence.
        ///
        /// It is the node's *finalized* height and not the newest that it has seen: on a minority
        /// fork a node may have seen higher blocks and still lack the one of the majority.
        searched_through: Option<u64>,
    },
    /// It landed and did what it should.
    Landed {
        /// How certain that is.
        certainty: Certainty,
        /// What it did.
        fill: Fill,
    },
    /// It landed and failed on the chain; nothing was swapped.
    Reverted {
        /// How certain that is.
        certainty: Certainty,
        /// Why it failed.
        failure: Failure,
        /// Whether another attempt, with another transaction, can help.
        class: FailureClass,
    },
}

/// Why a transaction can never land any more. Nothing else is a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// It landed, failed, and the failure is final.
    Reverted,
}

/// What follows from a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is decided. It may have been seen in a block that is not final.
    Pending(Option<Certainty>),
    /// It executed, for good.
    Landed(Fill),
    /// It can never land, or landed and failed for good.
    Dead(DeathProof, Failure, FailureClass),
    /// It should be dead by its validity, but the venue cannot prove it.
    Unknown,
}

/// Returns the verdict that follows from one report about one transaction.
///
/// `view` must have been read *before* the observation was made. The node that searched may be another one
/// than the node that was read, and may lag behind it, so absence carries its evidence: only a search through
/// the view's finalized height proves that nothing landed at or below it.
pub fn verdict(tx: &SignedTx, view: &ChainView, observation: &Observation) -> Verdict {
    match observation {
        Observation::Landed { certainty: Certainty::Finalized, fill } => Verdict::Landed(fill.clone()),
        Observation::Reverted { certainty: Certainty::Finalized, failure, class } => {
            Verdict::Dead(DeathProof::Reverted, failure.clone(), *class)
        }
        Observation::Landed { fill, .. } if planted!(InclusionIsFinal) => Verdict::Landed(fill.clone()),
        Observation::Landed { certainty, .. } => Verdict::Pending(Some(*certainty)),
        // A failure that is not final may be undone by a fork, and the transaction then succeed.
        Observation::Reverted { .. } => Verdict::Pending(None),
        Observation::NotFound { .. } if planted!(AbsenceIsDeath) => expired(0, view.finalized, 0),
        Observation::NotFound { searched_through } => match (tx.validity, *searched_through) {
            (Validity::UntilHeight(height), Some(searched))
                if planted!(ExpiryOffByOne) && view.finalized >= height && searched >= view.finalized =>
            {
                expired(height, view.finalized, searched)
            }
            (Validity::UntilHeight(height), Some(searched))
                if view.finalized > height
                    && (searched >= view.finalized || planted!(AbsenceWithoutEvidence)) =>
            {
                expired(height, view.finalized, searched)
            }
            (Validity::UntilHeight(height), _) if view.finalized > height => Verdict::Unknown,
            (Validity::UntilHeight(_) | Validity::Unbounded, _) => Verdict::Pending(None),
        },
    }
}

fn expired(valid_until_height: u64, finalized_height: u64, searched_through: u64) -> Verdict {
    let failure = Failure::new(
        crate::domain::failure::FailureCode::TRANSACTION_EXPIRED,
        format!(
            "The transaction was valid until height {valid_until_height} and had not landed at finalized height {finalized_height}"
        ),
    );
    Verdict::Dead(
        DeathProof::Expired { valid_until_height, finalized_height, searched_through },
        failure,
        FailureClass::Requote,
    )
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;
    use proptest::option;
    use proptest::prelude::*;

    fn tx(validity: Validity) -> SignedTx {
        SignedTx { id: "tx".into(), bytes: vec![1, 2, 3], validity, min_amount_out: Amount::new(1) }
    }

    fn view(finalized: u64) -> ChainView {
        ChainView { processed: finalized + 32, confirmed: finalized + 2, finalized }
    }

    fn certainty() -> impl Strategy<Value = Certainty> {
        prop_oneof![Just(Certainty::Processed), Just(Certainty::Confirmed), Just(Certainty::Finalized)]
    }

    fn observation() -> impl Strategy<Value = Observation> {
        let fill = Fill { amount_in: Amount::new(1), amount_out: Amount::new(2), height: 3 };
        let failure = Failure::new(FailureCode::SLIPPAGE, "below the minimum");
        prop_oneof![
            option::of(0_u64..200).prop_map(|searched_through| Observation::NotFound { searched_through }),
            certainty().prop_map(move |certainty| Observation::Landed { certainty, fill: fill.clone() }),
            certainty().prop_map(move |certainty| {
                let class = FailureClass::Requote;
                Observation::Reverted { certainty, failure: failure.clone(), class }
            }),
        ]
    }

    proptest! {
        #[test]
        fn death_needs_a_final_revert_or_expiry_with_a_search_that_came_as_far(
            until in 0_u64..200, finalized in 0_u64..200, bounded: bool, observation in observation(),
        ) {
            let validity = if bounded { Validity::UntilHeight(until) } else { Validity::Unbounded };
            match verdict(&tx(validity), &view(finalized), &observation) {
                Verdict::Dead(DeathProof::Expired { searched_through, .. }, ..) => {
                    prop_assert!(bounded && finalized > until && searched_through >= finalized);
                    let searched_through = Some(searched_through);
                    prop_assert_eq!(observation, Observation::NotFound { searched_through });
                }
                Verdict::Dead(DeathProof::Reverted, ..) => {
                    let is_final = matches!(observation, Observation::Reverted { certainty: Certainty::Finalized, .. });
                    prop_assert!(is_final);
                }
                Verdict::Landed(_) => {
                    let is_final = matches!(observation, Observation::Landed { certainty: Certainty::Finalized, .. });
                    prop_assert!(is_final);
                }
                Verdict::Pending(_) => {}
                Verdict::Unknown => {
                    prop_assert!(bounded && finalized > until);
                    let Observation::NotFound { searched_through } = observation else {
                        return Err(TestCaseError::fail("only absence leaves a doubt"));
                    };
                    prop_assert!(searched_through.is_none_or(|searched| searched < finalized));
                }
            }
        }
    }

    #[test]
    fn the_last_valid_height_itself_is_no_death() {
        let absent = Observation::NotFound { searched_through: Some(101) };
        let tx = tx(Validity::UntilHeight(100));
        assert_eq!(verdict(&tx, &view(100), &absent), Verdict::Pending(None));
        assert!(matches!(verdict(&tx, &view(101), &absent), Verdict::Dead(DeathProof::Expired { .. }, ..)));
    }

    #[test]
    fn a_node_that_has_not_come_as_far_as_was_read_proves_no_absence() {
        let tx = tx(Validity::UntilHeight(100));
        for (searched_through, is_dead) in
            [(None, false), (Some(0), false), (Some(104), false), (Some(105), true), (Some(106), true)]
        {
            let verdict = verdict(&tx, &view(105), &Observation::NotFound { searched_through });
            assert_eq!(matches!(verdict, Verdict::Dead(..)), is_dead, "{searched_through:?}: {verdict:?}");
            assert_eq!(verdict == Verdict::Unknown, !is_dead, "{searched_through:?}: {verdict:?}");
        }
    }

    #[test]
    fn bytes_survive_json() {
        let tx = tx(Validity::UntilHeight(7));
        let json = serde_json::to_string(&tx).unwrap();
        assert!(json.contains("AQID"), "{json}");
        assert_eq!(serde_json::from_str::<SignedTx>(&json).unwrap(), tx);
    }
}
