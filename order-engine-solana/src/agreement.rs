//! What follows from what several nodes say about a transaction. Pure.
//!
//! A node may lag, have pruned its history, or lie. So nothing counts as final, and no absence as proven, unless as many
//! nodes as the quorum say so, each by itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;

pub(crate) use order_engine_chain::quorum_th;
use order_engine_core::Certainty;
use serde_json::Value;

use crate::rpc::wire::SignatureStatus;

/// What one node says about a transaction.
#[derive(Clone, Debug)]
pub(crate) enum NodeReport {
    /// It does not know it.
    Absent {
        /// The height through which this node held the chain as final when it searched, if it has shown that.
        searched_through: Option<u64>,
        /// Where the node's history begins, if it told.
        history: Option<HistoryStart>,
    },
    /// It has it in a block.
    Found(SignatureStatus),
}

/// The oldest block whose transactions a node still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryStart {
    pub(crate) slot: u64,
    /// Its height, if it is known.
    pub(crate) height: Option<u64>,
}

/// Where a search has to begin: a history that begins before either is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SearchStart {
    /// The slot from which on a history has everything.
    pub(crate) slot: u64,
    /// A height that the chain had when the transaction was signed, if that is known.
    pub(crate) height: Option<u64>,
}

impl SearchStart {
    fn is_covered_by(self, history: HistoryStart) -> bool {
        let is_after = |height| history.height.is_some_and(|first| first <= height);
        history.slot <= self.slot || self.height.is_some_and(is_after)
    }
}

/// What the nodes say together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Agreed {
    /// No node knows it.
    Absent {
        /// The height through which a quorum of nodes has searched.
        searched_through: Option<u64>,
    },
    /// A node has it in a block.
    Found {
        /// The slot of the block.
        slot: u64,
        /// Whether it failed, and why.
        err: Option<Value>,
        /// What a quorum of nodes holds of it at least; no more than a processed block if there is no quorum.
        certainty: Certainty,
    },
}

/// Draws them together.
pub(crate) fn agree(reports: &[NodeReport], quorum: usize, start: SearchStart) -> Agreed {
    let found: Vec<&SignatureStatus> = reports
        .iter()
        .filter_map(|report| match report {
            NodeReport::Found(status) => Some(status),
            NodeReport::Absent { .. } => None,
        })
        .collect();
    if let Some(agreed) = agree_on_found(&found, quorum) {
        return agreed;
    }
    let complete = reports.iter().filter_map(|report| match report {
        NodeReport::Absent { searched_through, history: Some(history) } if start.is_covered_by(*history) => {
            *searched_through
        }
        _ => None,
    });
    Agreed::Absent { searched_through: quorum_th(complete, quorum) }
}

/// Of the blocks that nodes name, returns the one that most do.
fn agree_on_found(found: &[&SignatureStatus], quorum: usize) -> Option<Agreed> {
    let mut places: BTreeMap<(u64, String), Vec<&SignatureStatus>> = BTreeMap::new();
    for status in found {
        let err = status.err.as_ref().map_or_else(String::new, Value::to_string);
        places.entry((status.slot, err)).or_default().push(status);
    }
    let ((slot, _), statuses) =
        places.into_iter().max_by_key(|((slot, _), statuses)| (statuses.len(), Reverse(*slot)))?;
    let certainties =
        statuses.iter().map(|status| status.confirmation_status.unwrap_or(Certainty::Processed));
    let certainty = quorum_th(certainties, quorum).unwrap_or(Certainty::Processed);
    Some(Agreed::Found { slot, err: statuses[0].err.clone(), certainty })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn absent(searched_through: impl Into<Option<u64>>, first_slot: impl Into<Option<u64>>) -> NodeReport {
        let history = first_slot.into().map(|slot| HistoryStart { slot, height: None });
        NodeReport::Absent { searched_through: searched_through.into(), history }
    }

    const fn from(slot: u64) -> SearchStart {
        SearchStart { slot, height: None }
    }

    fn found(slot: u64, confirmation_status: Certainty) -> NodeReport {
        NodeReport::Found(SignatureStatus { slot, err: None, confirmation_status: Some(confirmation_status) })
    }

    fn searched(reports: &[NodeReport], quorum: usize) -> Option<u64> {
        match agree(reports, quorum, from(50)) {
            Agreed::Absent { searched_through } => searched_through,
            Agreed::Found { .. } => panic!("it is absent"),
        }
    }

    #[test]
    fn a_lagging_a_pruned_or_a_silent_node_proves_nothing() {
        assert_eq!(searched(&[absent(100, 50)], 1), Some(100));
        assert_eq!(searched(&[absent(100, 51)], 1), None, "its history begins after the signing");
        assert_eq!(searched(&[absent(100, None)], 1), None, "nobody knows where its history begins");
        assert_eq!(searched(&[absent(None, 0)], 1), None, "it has not shown what it holds as final");
        assert_eq!(searched(&[], 1), None);
    }

    #[test]
    fn a_history_that_begins_before_the_signing_is_long_enough() {
        let pruned = |height| NodeReport::Absent {
            searched_through: Some(100),
            history: Some(HistoryStart { slot: 70, height }),
        };
        let through = |first: Option<u64>, signed_after: Option<u64>| match agree(
            &[pruned(first)],
            1,
            SearchStart { slot: 50, height: signed_after },
        ) {
            Agreed::Absent { searched_through } => searched_through,
            Agreed::Found { .. } => panic!("it is absent"),
        };
        assert_eq!(through(Some(60), Some(60)), Some(100));
        assert_eq!(through(Some(61), Some(60)), None, "it begins after the signing");
        assert_eq!(through(Some(60), None), None, "nobody knows when it was signed");
        assert_eq!(through(None, Some(60)), None, "nobody knows at which height it begins");
        assert_eq!(through(None, Some(70)), None, "a slot is no height");
    }

    #[test]
    fn another_node_proves_what_one_cannot_and_a_quorum_is_needed() {
        let reports = [absent(None, 0), absent(120, 0), absent(110, 60), absent(90, 0)];
        assert_eq!(searched(&reports, 1), Some(120));
        assert_eq!(searched(&reports, 2), Some(90));
        assert_eq!(searched(&reports, 3), None);
    }

    #[test]
    fn who_finds_it_refutes_those_who_do_not() {
        let reports = [absent(100, 0), absent(100, 0), found(9, Certainty::Finalized)];
        let agreed = agree(&reports, 2, from(50));
        assert_eq!(agreed, Agreed::Found { slot: 9, err: None, certainty: Certainty::Processed });
    }

    #[test]
    fn what_is_final_for_one_node_only_is_not_final() {
        let reports = |other| [found(9, Certainty::Finalized), found(9, other)];
        let certainty = |reports: &[NodeReport], quorum| match agree(reports, quorum, from(0)) {
            Agreed::Found { certainty, .. } => certainty,
            Agreed::Absent { .. } => panic!("it is found"),
        };
        assert_eq!(certainty(&reports(Certainty::Confirmed), 2), Certainty::Confirmed);
        assert_eq!(certainty(&reports(Certainty::Finalized), 2), Certainty::Finalized);
        assert_eq!(certainty(&reports(Certainty::Confirmed), 1), Certainty::Finalized);
        let elsewhere = [found(9, Certainty::Finalized), found(8, Certainty::Finalized)];
        assert_eq!(certainty(&elsewhere, 2), Certainty::Processed, "they disagree about the block");
    }

    #[test]
    fn success_and_failure_are_two_things() {
        let failed = NodeReport::Found(SignatureStatus {
            slot: 9,
            err: Some(json!("x")),
            confirmation_status: Some(Certainty::Finalized),
        });
        let reports = [failed.clone(), found(9, Certainty::Finalized), failed];
        let agreed = agree(&reports, 2, from(0));
        assert_eq!(agreed, Agreed::Found { slot: 9, err: Some(json!("x")), certainty: Certainty::Finalized });
    }

    fn report() -> impl Strategy<Value = NodeReport> {
        let certainty =
            prop_oneof![Just(Certainty::Processed), Just(Certainty::Confirmed), Just(Certainty::Finalized)];
        prop_oneof![
            (proptest::option::of(0_u64..200), proptest::option::of(0_u64..100))
                .prop_map(|(through, first)| absent(through, first)),
            (0_u64..4, certainty).prop_map(|(slot, certainty)| found(slot, certainty)),
        ]
    }

    proptest! {
        #[test]
        fn fewer_liars_than_the_quorum_prove_nothing_by_themselves(
            honest in proptest::collection::vec(Just(absent(None, None)), 0..4),
            liars in proptest::collection::vec(report(), 1..3),
        ) {
            let quorum = liars.len() + 1;
            let reports: Vec<NodeReport> = honest.into_iter().chain(liars).collect();
            match agree(&reports, quorum, from(50)) {
                Agreed::Absent { searched_through } => prop_assert_eq!(searched_through, None),
                Agreed::Found { certainty, .. } => prop_assert_eq!(certainty, Certainty::Processed),
            }
        }

        #[test]
        fn the_order_of_the_nodes_does_not_matter_for_an_absence(
            reports in proptest::collection::vec(report(), 0..5), quorum in 1_usize..4,
        ) {
            let reversed: Vec<NodeReport> = reports.iter().rev().cloned().collect();
            let absence = |reports: &[NodeReport]| match agree(reports, quorum, from(50)) {
                Agreed::Absent { searched_through } => Some(searched_through),
                Agreed::Found { .. } => None,
            };
            prop_assert_eq!(absence(&reports), absence(&reversed));
        }
    }
}
