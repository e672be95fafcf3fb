//! The nodes behind the chain's single address. Some lag, some have an incomplete history, and any of them
//! may answer the next call.

use std::ops::RangeInclusive;

use order_engine_core::ChainView;

use crate::chance::{self, Chance, Purpose};
use crate::faults::FaultConfig;
use crate::heights::Heights;

/// The node that answers one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The time as of which the node answers: now, or earlier if it lags.
    pub(crate) at_ms: u64,
    /// The heights of the chain, as the node knows them.
    pub(crate) view: ChainView,
    /// The heights whose landings the node can find.
    pub(crate) visible: RangeInclusive<u64>,
    /// Whether the node can find all landings up to its own time.
    is_complete: bool,
}

impl Node {
    /// Returns the node that answers this call at this time. Calls with different names may reach different
    /// nodes at the same time.
    pub(crate) fn answering(
        call: &str,
        now_ms: u64,
        heights: Heights,
        (chance, faults): (Chance, &FaultConfig),
    ) -> Self {
        let strikes = |rate, purpose| chance.happens(rate, purpose, chance::subject(call), now_ms);
        let behind_slots =
            if strikes(faults.node_lag_rate, Purpose::NodeLag) { faults.node_lag_slots } else { 0 };
        let at_ms = now_ms.saturating_sub(heights.slots_ms(behind_slots));
        let view = heights.view(at_ms);
        let lags = strikes(faults.history_lag_rate, Purpose::HistoryLag);
        let is_pruned = strikes(faults.history_prune_rate, Purpose::HistoryPruning);
        let newest =
            if lags { view.processed.saturating_sub(faults.history_lag_slots) } else { view.processed };
        let oldest = if is_pruned { view.processed.saturating_sub(faults.history_kept_slots) } else { 0 };
        Self { at_ms, view, visible: oldest..=newest, is_complete: !lags && !is_pruned }
    }

    /// Returns whether the node can find a landing in this height, if it happened before the node's time.
    pub(crate) fn shows(&self, height: u64) -> bool {
        self.is_complete || self.visible.contains(&height)
    }

    /// Returns the height up to which the node can prove an absence: its finalized height, or `None` if its
    /// history is incomplete.
    pub(crate) fn searched_through(&self) -> Option<u64> {
        self.is_complete.then_some(self.view.finalized)
    }

    /// Returns the newest height up to which the node has looked at every block, or `None` if it has pruned its
    /// past.
    pub(crate) fn seen_through(&self) -> Option<u64> {
        (*self.visible.start() == 0).then_some(*self.visible.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;
    use crate::rate::Rate;

    const NOW_MS: u64 = 1_000_000_000;

    fn heights() -> Heights {
        Heights::new(&SimConfig::default())
    }

    fn at(now_ms: u64, faults: FaultConfig) -> Node {
        Node::answering("search", now_ms, heights(), (Chance::new(1), &faults))
    }

    #[test]
    fn a_healthy_node_shows_everything_up_to_its_finalized_height() {
        let node = at(NOW_MS, FaultConfig::default());
        let view = heights().view(NOW_MS);
        assert_eq!((node.at_ms, node.view, node.searched_through()), (NOW_MS, view, Some(view.finalized)));
        assert_eq!(node.seen_through(), Some(view.processed));
        assert!(node.shows(0) && node.shows(view.processed));
    }

    #[test]
    fn a_node_that_lags_reports_its_own_heights() {
        let faults = FaultConfig { node_lag_rate: Rate::ALWAYS, node_lag_slots: 5, ..FaultConfig::default() };
        let (node, leader) = (at(NOW_MS, faults), heights().view(NOW_MS));
        assert_eq!((node.at_ms, node.view.processed), (NOW_MS - 5 * 400, leader.processed - 5));
        assert_eq!(node.searched_through(), Some(leader.finalized - 5));
    }

    #[test]
    fn a_lagging_history_misses_new_landings_and_a_pruned_one_old_ones_and_both_say_so() {
        let height = heights().at(NOW_MS);
        let lag =
            FaultConfig { history_lag_rate: Rate::ALWAYS, history_lag_slots: 5, ..FaultConfig::default() };
        let node = at(NOW_MS, lag);
        assert!(node.searched_through().is_none() && node.shows(height - 5) && !node.shows(height - 4));
        assert_eq!(node.seen_through(), Some(height - 5));
        let pruning =
            FaultConfig { history_prune_rate: Rate::ALWAYS, history_kept_slots: 5, ..FaultConfig::default() };
        let node = at(NOW_MS, pruning);
        assert!(node.searched_through().is_none() && node.shows(height - 5) && !node.shows(height - 6));
        assert_eq!(node.seen_through(), None);
    }

    #[test]
    fn calls_at_the_same_time_may_reach_different_nodes() {
        let half = Rate::from_percent(50).unwrap();
        let faults = FaultConfig { node_lag_rate: half, node_lag_slots: 5, ..FaultConfig::default() };
        let answers = |call: &str, now_ms| {
            Node::answering(call, now_ms, heights(), (Chance::new(1), &faults)).at_ms == now_ms
        };
        for (view, search) in [(true, true), (true, false), (false, true), (false, false)] {
            let count = (NOW_MS..NOW_MS + 1_000)
                .filter(|&now_ms| (answers("view", now_ms), answers("search", now_ms)) == (view, search))
                .count();
            assert!((200..300).contains(&count), "{count} of 1000");
        }
    }
}
