use std::collections::BTreeSet;
use std::time::Duration;

use super::hazard::Hazard;

/// The settings of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exploration {
    /// The number from which every random decision follows.
    pub seed: u64,
    /// The number of orders that are submitted.
    pub orders: usize,
    /// The number of processes.
    pub processes: usize,
    /// The time during which faults occur.
    pub trouble: Duration,
    /// The least duration of the run.
    pub at_least: Duration,
    /// The longest time after the faults until every order has ended.
    pub healing: Duration,
    /// The hazards that the run does without.
    pub without: BTreeSet<Hazard>,
    /// Whether the report contains the trace as text.
    pub keeps_trace: bool,
}

impl Exploration {
    /// Returns a run of six minutes, four of them with all hazards.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            orders: 30,
            processes: 3,
            trouble: Duration::from_mins(4),
            at_least: Duration::from_mins(6),
            healing: Duration::from_hours(2),
            without: BTreeSet::new(),
            keeps_trace: false,
        }
    }

    /// Sets the number of orders that are submitted.
    #[must_use]
    pub fn with_orders(mut self, orders: usize) -> Self {
        self.orders = orders;
        self
    }

    /// Sets the number of processes.
    #[must_use]
    pub fn with_processes(mut self, processes: usize) -> Self {
        self.processes = processes;
        self
    }

    /// Sets the time during which faults occur.
    #[must_use]
    pub fn with_trouble(mut self, trouble: Duration) -> Self {
        self.trouble = trouble;
        self
    }

    /// Sets the least duration of the run.
    #[must_use]
    pub fn with_at_least(mut self, at_least: Duration) -> Self {
        self.at_least = at_least;
        self
    }

    /// Sets the longest time after the faults until every order has ended.
    #[must_use]
    pub fn with_healing(mut self, healing: Duration) -> Self {
        self.healing = healing;
        self
    }

    /// Sets the hazards that the run does without.
    #[must_use]
    pub fn without(mut self, without: BTreeSet<Hazard>) -> Self {
        self.without = without;
        self
    }

    /// Sets whether the report contains the trace as text.
    #[must_use]
    pub fn with_trace(mut self, keeps_trace: bool) -> Self {
        self.keeps_trace = keeps_trace;
        self
    }

    /// Returns whether the run has a hazard.
    pub fn has(&self, hazard: Hazard) -> bool {
        !self.without.contains(&hazard)
    }
}
