use std::collections::BTreeMap;
use std::time::Duration;

use crate::testing::invariants::Violation;

/// The results of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The virtual time that passed.
    pub simulated: Duration,
    /// The number of faults of each kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The number of orders in each final status.
    pub ends: BTreeMap<&'static str, u64>,
    /// The guarantees that were broken.
    pub violations: Vec<Violation>,
    /// The hash of the trace, which is equal for two equal runs.
    pub hash: u64,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
}
