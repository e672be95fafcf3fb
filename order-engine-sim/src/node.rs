//! The nodes behind the chain's one address. Some lag, some have a bad history, and any of them may
//! answer the next call.

use std::ops::RangeInclusive;

use order_engine_core::ChainView;

use crate::FaultConfig;
use crate::dice::{self, Dice, Purpose};
use crate::heights::Heights;

/// The node that answers one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The moment as of which it tells everything: now, or the past if it lags.
    pub(crate) at_ms: u64,
    /// How far the chain has come, as far as it knows.
    pub(crate) view: ChainView,
    /// The heights whose landings it can find.
    pub(crate) visible: RangeInclusive<u64>,
    /// Whether these are all that it has heard of.
    is_complete: bool,
}

impl Node {
    /// The node that answers this call at this time. Calls of different names may reach different
    /// nodes in the same moment.
    pub(crate) fn answering(
        call: &str,
        now_ms: u64,
        heights: Heights,
        (dice, faults): (Dice, &FaultConfig),
    ) -> Self {
        let strikes = |rate, purpose| dice.happens(rate, purpose, dice::subject(call), now_ms);
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

    /// Whether it knows of what landed in this height, if that happened before its own time.
    pub(crate) fn shows(&self, height: u64) -> bool {
        self.is_complete || self.visible.contains(&height)
    }

    /// Up to where it can say that something never landed: as far as the chain is final for it.
    pub(crate) fn searched_through(&self) -> Option<u64> {
        self.is_complete.then_some(self.view.finalized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rate, SimConfig};

    const NOW_MS: u64 = 1_000_000_000;

    fn heights() -> Heights {
        Heights::new(&SimConfig::default())
    }

    fn at(now_ms: u64, faults: FaultConfig) -> Node {
        Node::answering("search", now_ms, heights(), (Dice::new(1), &faults))
    }

    #[test]
    fn a_healthy_node_shows_everything_and_says_how_far_it_is_final() {
        let node = at(NOW_MS, FaultConfig::default());
        let view = heights().view(NOW_MS);
        assert_eq!((node.at_ms, node.view, node.searched_through()), (NOW_MS, view, Some(view.finalized)));
        assert!(node.shows(0) && node.shows(view.processed));
    }

    #[test]
    fn a_node_that_lags_says_how_far_it_has_come_itself() {
        let faults = FaultConfig { node_lag_rate: Rate::ALWAYS, node_lag_slots: 5, ..FaultConfig::default() };
        let (node, leader) = (at(NOW_MS, faults), heights().view(NOW_MS));
        assert_eq!((node.at_ms, node.view.processed), (NOW_MS - 5 * 400, leader.processed - 5));
        assert_eq!(node.searched_through(), Some(leader.finalized - 5));
    }

    #[test]
    fn a_lagging_history_misses_the_new_and_a_pruned_one_the_old_and_both_say_so() {
        let height = heights().at(NOW_MS);
        let lag =
            FaultConfig { history_lag_rate: Rate::ALWAYS, history_lag_slots: 5, ..FaultConfig::default() };
        let node = at(NOW_MS, lag);
        assert!(node.searched_through().is_none() && node.shows(height - 5) && !node.shows(height - 4));
        let pruning =
            FaultConfig { history_prune_rate: Rate::ALWAYS, history_kept_slots: 5, ..FaultConfig::default() };
        let node = at(NOW_MS, pruning);
        assert!(node.searched_through().is_none() && node.shows(height - 5) && !node.shows(height - 6));
    }

    #[test]
    fn nodes_take_turns_even_within_a_moment() {
        let half = Rate::from_percent(50).unwrap();
        let faults = FaultConfig { node_lag_rate: half, node_lag_slots: 5, ..FaultConfig::default() };
        let answers = |call: &str, now_ms| {
            Node::answering(call, now_ms, heights(), (Dice::new(1), &faults)).at_ms == now_ms
        };
        for (view, search) in [(true, true), (true, false), (false, true), (false, false)] {
            let count = (NOW_MS..NOW_MS + 1_000)
                .filter(|&now_ms| (answers("view", now_ms), answers("search", now_ms)) == (view, search))
                .count();
            assert!((200..300).contains(&count), "{count} of 1000");
        }
    }
}
