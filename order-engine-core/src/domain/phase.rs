//! Where an order stands: the phases of its life, each with the data that is known there.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::event::{OrderEvent, Status};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::route::Route;
use crate::domain::siblings::Siblings;
use crate::domain::transaction::{Certainty, Fill};

/// A route that was chosen, and when it was quoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quote {
    /// The route.
    pub route: Arc<Route>,
    /// When it was quoted, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted_at: Option<DateTime<Utc>>,
    /// The least output that a transaction on the route promises, in base units of the output token.
    pub min_amount_out: Amount,
}

impl Quote {
    /// Whether the quote is at most as old as `ttl`. A quote of unknown age is not.
    pub fn is_fresh(&self, now: DateTime<Utc>, ttl: Duration) -> bool {
        self.quoted_at.is_some_and(|quoted_at| now <= quoted_at + ttl)
    }
}

/// Where an order stands, with all that is known there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Accepted.
    Pending,
    /// Quotes are being fetched.
    Routing,
    /// A route is chosen.
    Routed {
        /// The route.
        #[serde(flatten)]
        quote: Quote,
    },
    /// The transaction is being built.
    Building {
        /// The route it is built for.
        #[serde(flatten)]
        quote: Quote,
    },
    /// A transaction is signed and was not sent.
    Signed {
        /// The transaction.
        siblings: Siblings,
        /// Whether a cancel waits for it to die.
        cancel_requested: bool,
    },
    /// A transaction may have been sent.
    Submitted {
        /// The transaction, and those that were signed to replace it.
        siblings: Siblings,
        /// How far they have come.
        stage: Stage,
        /// The height of the block in which one was seen, while it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        included_at: Option<u64>,
        /// Whether a cancel waits for it to die.
        cancel_requested: bool,
    },
    /// The attempt failed, and no transaction of it can land. What follows is not decided yet.
    AttemptFailed {
        /// Where it failed, which the order shows meanwhile.
        failed_at: FailedAt,
        /// Why it failed.
        failure: Failure,
        /// Whether another attempt can help.
        class: FailureClass,
        /// Whether a cancel forbids another attempt.
        cancel_requested: bool,
        /// The quote, if nothing was wrong with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quote: Option<Quote>,
    },
    /// Another attempt begins at a time.
    Waiting {
        /// Where it failed, which the order shows meanwhile.
        failed_at: FailedAt,
        /// When it begins.
        retry_at: DateTime<Utc>,
        /// The quote of the last attempt, if nothing was wrong with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quote: Option<Quote>,
    },
    /// Executed, for good.
    Confirmed {
        /// What the transaction did.
        fill: Fill,
    },
    /// Not executed, for good.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// How far a transaction that may have been sent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is being sent, or sending it had no clear result.
    Sending,
    /// The venue took it.
    Accepted,
    /// It was seen in a block.
    Processed,
    /// It was seen in a block that most validators voted for.
    Confirmed,
}

/// Where an attempt failed: what the order shows until the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedAt {
    /// The status at which the attempt failed.
    pub status: Status,
    /// The progress at which it failed.
    pub progress: u8,
}

impl Phase {
    /// Returns the fixed name of the phase.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Routing => "routing",
            Self::Routed { .. } => "routed",
            Self::Building { .. } => "building",
            Self::Signed { cancel_requested: false, .. } => "signed",
            Self::Signed { cancel_requested: true, .. } => "signed, cancel requested",
            Self::Submitted { stage, cancel_requested: false, .. } => match stage {
                Stage::Sending => "submitted: sending",
                Stage::Accepted => "submitted: accepted",
                Stage::Processed => "submitted: processed",
                Stage::Confirmed => "submitted: confirmed",
            },
            Self::Submitted { cancel_requested: true, .. } => "submitted, cancel requested",
            Self::AttemptFailed { cancel_requested: false, .. } => "attempt failed",
            Self::AttemptFailed { cancel_requested: true, .. } => "attempt failed, cancel requested",
            Self::Waiting { .. } => "waiting",
            Self::Confirmed { .. } => "confirmed",
            Self::Failed { .. } => "failed",
        }
    }

    pub(super) const fn has_live_transaction(&self) -> bool {
        matches!(self, Self::Signed { .. } | Self::Submitted { .. })
    }

    pub(super) const fn is_terminal(&self) -> bool {
        matches!(self, Self::Confirmed { .. } | Self::Failed { .. })
    }
}

impl Stage {
    /// Returns the stage that an event reports.
    pub(super) const fn reported_by(event: &OrderEvent) -> Option<Self> {
        match event {
            OrderEvent::SubmissionAccepted => Some(Self::Accepted),
            OrderEvent::InclusionObserved { certainty: Certainty::Processed, .. } => Some(Self::Processed),
            OrderEvent::InclusionObserved { certainty: Certainty::Confirmed, .. } => Some(Self::Confirmed),
            // A final inclusion is an outcome, not a stage.
            _ => None,
        }
    }

    pub(super) const fn progress(self) -> u8 {
        match self {
            Self::Sending => 75,
            Self::Accepted => 80,
            Self::Processed => 85,
            Self::Confirmed => 90,
        }
    }
}
