//! What has to be done next for an order, and in which lane.

use serde::{Deserialize, Serialize};

use super::OrderState;
use crate::domain::phase::Phase;

/// Which of the engine's two loops takes a due order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A worker executes its next step; each such order takes a worker slot.
    Execute,
    /// Its transaction is observed, together with many others, without a worker slot.
    Observe,
}

impl Lane {
    /// Returns the fixed text of the lane.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Observe => "observe",
        }
    }
}

/// What has to be done next for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin the attempt with this number: by routing, or with the last attempt's route if its quote
    /// still holds.
    StartAttempt {
        /// The number of the attempt.
        attempt: u32,
    },
    /// Ask the router and choose.
    Route,
    /// Begin to build.
    StartBuilding,
    /// Let the venue build and sign the transaction.
    Prepare,
    /// Record that the transaction is about to be sent; then send it.
    Submit,
    /// Observe the transaction until there is a verdict, and send it again while it is absent.
    Observe,
    /// Decide what follows the failed attempt: another one, or the end of the order.
    RetryOrFail,
    /// Nothing: the order is terminal.
    Done,
}

impl OrderState {
    /// Returns what has to be done next.
    pub fn next_step(&self) -> Step {
        match &self.phase {
            Phase::Pending | Phase::Waiting { .. } => Step::StartAttempt { attempt: self.attempt + 1 },
            Phase::Routing => Step::Route,
            Phase::Routed { .. } => Step::StartBuilding,
            Phase::Building { .. } => Step::Prepare,
            Phase::Signed { cancel_requested: false, .. } => Step::Submit,
            // A cancelled transaction is not sent, but a node may have its bytes: it is observed until it is dead.
            Phase::Signed { cancel_requested: true, .. } | Phase::Submitted { .. } => Step::Observe,
            Phase::AttemptFailed { .. } => Step::RetryOrFail,
            Phase::Confirmed { .. } | Phase::Failed { .. } => Step::Done,
        }
    }

    /// Returns which loop takes the order when it is due; none if it is terminal or in quarantine.
    pub fn lane(&self) -> Option<Lane> {
        match self.next_step() {
            Step::Done => None,
            _ if self.quarantine().is_some() => None,
            Step::Observe => Some(Lane::Observe),
            _ => Some(Lane::Execute),
        }
    }
}
