//! What happens to an order: facts in the past tense, recorded once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ids::{OrderId, TxId};
use crate::domain::millis;
use crate::domain::route::{Candidate, Route};
use crate::domain::route_choice;
use crate::domain::siblings::Purpose;
use crate::domain::transaction::{Certainty, Fill, SignedTx};
use crate::domain::verdict::DeathProof;
use crate::setters::setters;

/// The public name of an order's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted; nothing was done yet.
    Pending,
    /// Quotes are fetched and a route is chosen.
    Routing,
    /// The transaction is built and signed.
    Building,
    /// The transaction may have been sent; its outcome is awaited.
    Submitted,
    /// Executed, for good.
    Confirmed,
    /// Not executed, for good.
    Failed,
}

impl Status {
    /// All of them, in the order of an order's life.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Routing, Self::Building, Self::Submitted, Self::Confirmed, Self::Failed];

    /// Returns the fixed text of the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Routing => "routing",
            Self::Building => "building",
            Self::Submitted => "submitted",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing can follow this status.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Confirmed | Self::Failed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why the outcome of a transaction is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownReason {
    /// Its validity is over, and the venue cannot prove that it never landed.
    #[default]
    Unproven,
    /// The venue answers about other transactions, and fails whenever it is asked about this one.
    Unobservable,
    /// The venue does not know it, and its validity does not end soon: it is not sent again, or sending it
    /// again does not help.
    Absent,
    /// The process that should observe it has no venue of the name that the order was routed to.
    NoVenue,
    /// It is not included, and the policy allows no higher fee.
    Stuck,
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unproven => "it has expired, and the venue cannot prove that it never landed",
            Self::Unobservable => "the venue fails whenever it is asked about it",
            Self::Absent => "the venue has not known it for long, and it has not expired",
            Self::Stuck => "it is not included, and its fee may not be raised any further",
            Self::NoVenue => "its venue is not among the venues of this process",
        })
    }
}

/// A fact about an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OrderEvent {
    /// The order was accepted and is durable.
    Accepted {
        /// How many attempts it has.
        max_attempts: u32,
    },
    /// An attempt began: quotes are being fetched.
    RoutingStarted {
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The exchanges that are asked for quotes.
        dexes: Vec<String>,
    },
    /// A route was chosen among the candidates.
    #[serde(with = "route_choice")]
    RouteChosen {
        /// The chosen route. The state shares it, and so does its candidate.
        route: Arc<Route>,
        /// Everything that was considered, the rejected ones with their reasons.
        candidates: Vec<Candidate>,
        /// When it was quoted; unknown for orders of the first payload version.
        quoted_at: Option<DateTime<Utc>>,
        /// The least output that a transaction on the route may promise, in base units of the output token.
        min_amount_out: Amount,
    },
    /// No route pays as much as the order accepts at least. The order waits and looks again; that uses no
    /// attempt.
    PriceTooLow {
        /// What the best route pays, in base units of the output token.
        best: Amount,
        /// What the order accepts at least.
        minimum: Amount,
        /// When it looks again.
        retry_at: DateTime<Utc>,
        /// The time until then, in whole milliseconds.
        #[serde(rename = "retry_in_ms", with = "millis")]
        retry_in: Duration,
    },
    /// The transaction for the route is being built.
    BuildStarted,
    /// An attempt began with the route of the last one, whose quote still holds.
    BuildRestarted {
        /// The number of the attempt.
        attempt: u32,
    },
    /// The transaction is signed. From here on no other is built without proof that this one is dead.
    TransactionSigned {
        /// The transaction. The state shares it.
        tx: Arc<SignedTx>,
    },
    /// The transaction is about to be sent. From here on it may have been sent.
    SubmissionStarted,
    /// The venue took the transaction.
    SubmissionAccepted,
    /// Another transaction is signed to replace the last one, of which the chain lets one land at most. It is
    /// about to be sent.
    SiblingSigned {
        /// What it is for.
        purpose: Purpose,
        /// The transaction. The state shares it.
        tx: Arc<SignedTx>,
    },
    /// A transaction that does nothing is signed with a nonce before the one of the order's transaction, because
    /// nobody uses it and the order's transaction cannot land before somebody does. It is about to be sent.
    NonceFilled {
        /// The transaction. The state shares it.
        tx: Arc<SignedTx>,
    },
    /// The transaction was seen in a block that is not final.
    InclusionObserved {
        /// How certain the block is.
        certainty: Certainty,
        /// Its height.
        height: u64,
    },
    /// A fork has undone the block in which the transaction was seen.
    InclusionUndone,
    /// The attempt failed before anything was signed.
    AttemptFailed {
        /// Why.
        failure: Failure,
        /// Whether another attempt can help.
        class: FailureClass,
    },
    /// The signed transaction can never land, or failed for good. The attempt failed with it.
    TransactionDied {
        /// The proof.
        proof: DeathProof,
        /// Why, in words.
        failure: Failure,
        /// Whether another attempt can help.
        class: FailureClass,
    },
    /// Another attempt will begin at a time.
    RetryScheduled {
        /// When.
        retry_at: DateTime<Utc>,
        /// The time until then, in whole milliseconds.
        #[serde(rename = "retry_in_ms", with = "millis")]
        retry_in: Duration,
    },
    /// The router or the venue could not be reached before anything was signed. The order waits until it is
    /// back; that uses no attempt.
    Deferred {
        /// What could not be reached, and why.
        failure: Failure,
        /// Since when the outage has held this attempt up.
        since: DateTime<Utc>,
        /// When it is tried again.
        retry_at: DateTime<Utc>,
        /// The time until then, in whole milliseconds.
        #[serde(rename = "retry_in_ms", with = "millis")]
        retry_in: Duration,
    },
    /// A cancel came after the signing. No other transaction is built; if this one lands, the order is
    /// confirmed all the same.
    CancelRequested,
    /// A worker panicked with the order, or the order is about to be tried alone because workers died
    /// while they had it. It counts as a strike until the order makes progress.
    Suspected {
        /// Why.
        failure: Failure,
        /// How many strikes in a row this makes.
        strikes: u32,
        /// Whether the order is tried alone from now on. If its worker dies again, no other order can be the
        /// reason.
        alone: bool,
    },
    /// Workers died or panicked with the order again and again; it is put into quarantine.
    Quarantined {
        /// Why.
        failure: Failure,
    },
    /// An operator lifted the quarantine.
    QuarantineLifted,
    /// The outcome of the transaction is unknown. It goes on being observed, and an operator may resolve the
    /// outcome.
    OutcomeUnknown {
        /// Why it is unknown.
        #[serde(default)]
        reason: UnknownReason,
    },
    /// An operator resolved an unknown outcome.
    OutcomeResolved {
        /// Whether it was executed.
        executed: bool,
        /// Who resolved it, and how they know: kept for the record.
        note: String,
    },
    /// The order was executed, for good.
    Confirmed {
        /// The transaction that executed it.
        tx_id: TxId,
        /// What the transaction did.
        fill: Fill,
    },
    /// The order was not executed and never will be.
    Failed {
        /// Why.
        failure: Failure,
    },
}

impl OrderEvent {
    /// Returns the fixed name of the kind of event.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::RoutingStarted { .. } => "routing_started",
            Self::RouteChosen { .. } => "route_chosen",
            Self::PriceTooLow { .. } => "price_too_low",
            Self::BuildStarted => "build_started",
            Self::BuildRestarted { .. } => "build_restarted",
            Self::TransactionSigned { .. } => "transaction_signed",
            Self::SubmissionStarted => "submission_started",
            Self::SubmissionAccepted => "submission_accepted",
            Self::SiblingSigned { .. } => "sibling_signed",
            Self::NonceFilled { .. } => "nonce_filled",
            Self::InclusionObserved { .. } => "inclusion_observed",
            Self::InclusionUndone => "inclusion_undone",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::TransactionDied { .. } => "transaction_died",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::Deferred { .. } => "deferred",
            Self::Suspected { .. } => "suspected",
            Self::CancelRequested => "cancel_requested",
            Self::Quarantined { .. } => "quarantined",
            Self::QuarantineLifted => "quarantine_lifted",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::OutcomeResolved { .. } => "outcome_resolved",
            Self::Confirmed { .. } => "confirmed",
            Self::Failed { .. } => "failed",
        }
    }

    /// Returns the failure that the event records, if it records one.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::AttemptFailed { failure, .. }
            | Self::TransactionDied { failure, .. }
            | Self::Deferred { failure, .. }
            | Self::Suspected { failure, .. }
            | Self::Quarantined { failure }
            | Self::Failed { failure } => Some(failure),
            _ => None,
        }
    }
}

/// An event with its place in an order's history, and what the order looked like after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventRecord {
    /// The order that the event belongs to.
    pub order_id: OrderId,
    /// Its place: an order's events are numbered from 1 without a hole.
    pub seq: u64,
    /// When it happened, to the millisecond.
    pub at: DateTime<Utc>,
    /// The status after it.
    pub status: Status,
    /// How far the attempt has come after it, 0..=100.
    pub progress: u8,
    /// The number of the attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// How many attempts the order has.
    pub max_attempts: u32,
    /// What happened.
    pub event: OrderEvent,
}

setters! {
    impl EventRecord {
        with_progress sets progress: u8;
        with_attempt sets attempt: u32;
        with_max_attempts sets max_attempts: u32;
    }
}

impl EventRecord {
    /// Puts a record together from what a store keeps: the event with its place, its time, and the order's status
    /// after it. Its progress and attempts are zero until they are set.
    pub const fn new(
        order_id: OrderId,
        seq: u64,
        at: DateTime<Utc>,
        status: Status,
        event: OrderEvent,
    ) -> Self {
        Self { order_id, seq, at, status, progress: 0, attempt: 0, max_attempts: 0, event }
    }

    /// Returns one sentence for people.
    pub fn message(&self) -> String {
        match &self.event {
            OrderEvent::Accepted { .. } => "Order accepted".to_owned(),
            OrderEvent::RoutingStarted { dexes, .. } => {
                format!("Fetching quotes from {}…", dexes.join(" & "))
            }
            OrderEvent::RouteChosen { route, .. } => format!("Best route: {}", route.dex),
            OrderEvent::PriceTooLow { retry_in, .. } => format!(
                "The best route pays less than the order accepts; looking again in {} ms",
                retry_in.as_millis()
            ),
            OrderEvent::BuildStarted => "Building transaction…".to_owned(),
            OrderEvent::BuildRestarted { attempt } => {
                format!("Building transaction again (attempt {attempt}/{})…", self.max_attempts)
            }
            OrderEvent::TransactionSigned { .. } => "Transaction signed and ready to send".to_owned(),
            OrderEvent::SubmissionStarted => {
                format!("Submitting transaction (attempt {}/{})…", self.attempt, self.max_attempts)
            }
            OrderEvent::SubmissionAccepted => "Transaction accepted by the venue".to_owned(),
            OrderEvent::SiblingSigned { purpose: Purpose::Cancel, .. } => {
                "Sending a transaction that takes the order's place and does nothing…".to_owned()
            }
            OrderEvent::SiblingSigned { .. } => "Sending the transaction again, for a higher fee…".to_owned(),
            OrderEvent::NonceFilled { .. } => {
                "Using up a number of the wallet that nobody uses and the transaction waits for…".to_owned()
            }
            OrderEvent::InclusionUndone => {
                "A fork has undone the transaction's block; it may land again".to_owned()
            }
            OrderEvent::InclusionObserved { certainty, .. } => match certainty {
                Certainty::Processed => "Transaction processed, awaiting confirmation…".to_owned(),
                Certainty::Confirmed | Certainty::Finalized => {
                    "Transaction confirmed, awaiting finality…".to_owned()
                }
            },
            OrderEvent::AttemptFailed { failure, .. } | OrderEvent::TransactionDied { failure, .. } => {
                format!("Attempt {}/{} failed: {}", self.attempt, self.max_attempts, failure.message)
            }
            OrderEvent::RetryScheduled { retry_in, .. } => {
                format!("Trying again in {} ms", retry_in.as_millis())
            }
            OrderEvent::Deferred { failure, retry_in, .. } => {
                format!("{}; trying again in {} ms", failure.message, retry_in.as_millis())
            }
            OrderEvent::Suspected { failure, .. } => failure.message.clone(),
            OrderEvent::CancelRequested => {
                "Cancel requested; the transaction may already have been sent".to_owned()
            }
            OrderEvent::Quarantined { failure } => format!("Set aside for an operator: {}", failure.message),
            OrderEvent::QuarantineLifted => "Given back to the workers".to_owned(),
            OrderEvent::OutcomeUnknown { reason } => {
                format!("The outcome of the transaction is unknown: {reason}; it goes on being observed")
            }
            OrderEvent::OutcomeResolved { executed, note } => {
                let word = if *executed { "executed" } else { "not executed" };
                format!("An operator said that the transaction was {word}: {note}")
            }
            OrderEvent::Confirmed { .. } => "Order executed".to_owned(),
            OrderEvent::Failed { failure } => format!("Order failed: {}", failure.message),
        }
    }
}
