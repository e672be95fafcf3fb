//! What the history shows: the whole, or what one of its worse nodes has.

use std::ops::RangeInclusive;

use crate::FaultConfig;
use crate::dice::{Dice, Purpose};

/// What the node that answers in a slot can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) visible: RangeInclusive<u64>,
    /// Whether the node searched everything. Only then does a search that finds nothing tell
    /// anything.
    pub(crate) is_complete: bool,
}

impl History {
    /// The node that answers at this height.
    pub(crate) fn at(height: u64, dice: Dice, faults: &FaultConfig) -> Self {
        let lags = dice.happens(faults.history_lag_rate, Purpose::HistoryLag, height, 0);
        let is_pruned = dice.happens(faults.history_prune_rate, Purpose::HistoryPruning, height, 0);
        let newest = if lags { height.saturating_sub(faults.history_lag_slots) } else { height };
        let oldest = if is_pruned { height.saturating_sub(faults.history_kept_slots) } else { 0 };
        Self { visible: oldest..=newest, is_complete: !lags && !is_pruned }
    }

    /// Whether the node knows of a landing in this height.
    pub(crate) fn shows(&self, height: u64) -> bool {
        self.is_complete || self.visible.contains(&height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    fn at(height: u64, faults: FaultConfig) -> History {
        History::at(height, Dice::new(1), &faults)
    }

    #[test]
    fn a_healthy_history_shows_everything() {
        let history = at(100, FaultConfig::default());
        assert!(history.is_complete && history.shows(0) && history.shows(100));
    }

    #[test]
    fn a_lagging_node_misses_the_new_and_a_pruned_one_the_old_and_both_say_so() {
        let lag =
            FaultConfig { history_lag_rate: Rate::ALWAYS, history_lag_slots: 5, ..FaultConfig::default() };
        let history = at(100, lag);
        assert!(!history.is_complete && history.shows(95) && !history.shows(96));
        let pruning =
            FaultConfig { history_prune_rate: Rate::ALWAYS, history_kept_slots: 5, ..FaultConfig::default() };
        let history = at(100, pruning);
        assert!(!history.is_complete && history.shows(95) && !history.shows(94));
    }

    #[test]
    fn nodes_take_turns() {
        let faults = FaultConfig {
            history_lag_rate: Rate::from_percent(50).unwrap(),
            history_lag_slots: 5,
            ..FaultConfig::default()
        };
        let complete = (0..1_000).filter(|&height| at(height, faults).is_complete).count();
        assert!((400..600).contains(&complete), "{complete} of 1000");
    }
}
