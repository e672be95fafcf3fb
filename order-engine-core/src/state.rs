//! The state machine of an order: a pure fold of its events.
//!
//! [`OrderState::apply`] is the only place where a status changes; the live path and replay both
//! go through it. [`OrderState::next_step`] says what an executor has to do next, and does nothing
//! itself.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    Certainty, EventRecord, Failure, FailureClass, FailureCode, Fill, OrderEvent, Route, SignedTx, Status,
    TxId,
};

/// What an order's events add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// The number of the attempt, from 1; 0 before the first.
    attempt: u32,
    /// How many attempts the order has.
    max_attempts: u32,
    /// The exchange of the route that this attempt chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen_dex: Option<String>,
    /// The transaction that this attempt signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tx_id: Option<TxId>,
    /// Why an operator should look at the order, if one should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attention: Option<Attention>,
    /// How many attempts failed in which way.
    #[serde(default, skip_serializing_if = "FailedAttempts::is_none")]
    failed_attempts: FailedAttempts,
    /// Since when the router or the venue has held this attempt up, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_up_since: Option<DateTime<Utc>>,
    /// Whether the last thing that happened in this attempt was a wait for the end of an outage, so that a
    /// quote may have grown old through nobody's fault.
    #[serde(default, skip_serializing_if = "is_false")]
    may_requote: bool,
    /// Whether workers die of this order, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
    /// How far this attempt had come before it was quoted again: progress does not run backwards.
    #[serde(default, skip_serializing_if = "is_zero")]
    progress_floor: u8,
    phase: Phase,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // So serde asks.
const fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As above.
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The suspicion that workers die of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// How many strikes in a row the order has: executions that ended in a panic, or began alone and did
    /// not get anywhere.
    pub strikes: u32,
    /// Whether the last one began alone.
    pub alone: bool,
}

/// How many of an order's attempts failed in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempts {
    /// For a reason that may pass by itself.
    pub transient: u32,
    /// Because the quote did not hold.
    pub requote: u32,
}

impl FailedAttempts {
    #[allow(clippy::trivially_copy_pass_by_ref)] // So serde asks.
    const fn is_none(&self) -> bool {
        self.transient == 0 && self.requote == 0
    }

    /// The same with one more.
    const fn and(mut self, class: FailureClass) -> Self {
        match class {
            FailureClass::Transient => self.transient += 1,
            FailureClass::Requote => self.requote += 1,
            // It uses no attempt, or it is the last one anyway.
            FailureClass::Unavailable | FailureClass::Permanent => {}
        }
        self
    }
}

/// A route that was chosen, and when it was quoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The route.
    pub route: Arc<Route>,
    /// When it was quoted, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted_at: Option<DateTime<Utc>>,
}

impl Quote {
    /// Whether the quote is at most so old. One of unknown age is not.
    pub fn is_fresh(&self, now: DateTime<Utc>, ttl: Duration) -> bool {
        self.quoted_at.is_some_and(|quoted_at| now <= quoted_at + ttl)
    }
}

/// Why an operator should look at an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attention {
    /// Workers died or panicked with it again and again. It is set aside until an operator lifts the
    /// quarantine.
    Quarantined(Failure),
    /// Its transaction should be dead by now, but nobody can prove whether it landed. It goes on
    /// being observed.
    OutcomeUnknown,
}

impl Attention {
    /// The fixed text of the reason.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Quarantined(_) => "quarantined",
            Self::OutcomeUnknown => "outcome-unknown",
        }
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
        tx: Arc<SignedTx>,
        /// Whether a cancel waits for its death.
        cancel_requested: bool,
    },
    /// A transaction may have been sent.
    Submitted {
        /// The transaction.
        tx: Arc<SignedTx>,
        /// How far it has come.
        stage: Stage,
        /// Whether a cancel waits for its death.
        cancel_requested: bool,
    },
    /// The attempt failed and no transaction is alive. What follows is not decided yet.
    AttemptFailed {
        /// What the order shows meanwhile.
        standing: Standing,
        /// Why it failed.
        failure: Failure,
        /// Whether another attempt can help.
        class: FailureClass,
        /// Whether a cancel forbids another attempt.
        cancel_requested: bool,
        /// The route, if nothing was wrong with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quote: Option<Quote>,
    },
    /// Another attempt begins at a time.
    Waiting {
        /// What the order shows meanwhile.
        standing: Standing,
        /// When it begins.
        retry_at: DateTime<Utc>,
        /// The route of the last attempt, if nothing was wrong with it.
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
    /// It is being sent, or its sending had no clear result.
    Sending,
    /// The venue took it.
    Accepted,
    /// It was seen in a block.
    Processed,
    /// It was seen in a block that most validators voted for.
    Confirmed,
}

/// What an order shows while an attempt has failed and the next one has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The status at which the attempt failed.
    pub status: Status,
    /// The progress at which it failed.
    pub progress: u8,
}

/// Which of the engine's two loops takes an order that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A worker executes its next step; each such order takes a worker slot.
    Execute,
    /// Its transaction is observed, together with many others, without a worker slot.
    Observe,
}

impl Lane {
    /// The fixed text of the lane.
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
    /// Watch the transaction until there is a verdict, and send it again while it is absent.
    Observe,
    /// Decide what follows from the failed attempt.
    Settle,
    /// Nothing: the order is terminal.
    Done,
}

/// An event that an order's state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order in state '{state}' does not allow the event '{event}'")]
pub struct IllegalTransition {
    /// The name of the state.
    pub state: &'static str,
    /// The name of the event.
    pub event: &'static str,
}

/// Why a list of events is no history of an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The first event is not the acceptance.
    #[error("a history begins with its acceptance")]
    NotAccepted,
    /// The numbers have a hole or do not begin at 1.
    #[error("expected event {expected}, found {found}")]
    Gap {
        /// The number that should stand there.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// An event is not allowed where it stands.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl OrderState {
    /// The state after the first event.
    pub const fn accepted(max_attempts: u32) -> Self {
        Self {
            attempt: 0,
            max_attempts,
            chosen_dex: None,
            tx_id: None,
            attention: None,
            failed_attempts: FailedAttempts { transient: 0, requote: 0 },
            held_up_since: None,
            may_requote: false,
            suspicion: None,
            progress_floor: 0,
            phase: Phase::Pending,
        }
    }

    /// Folds a whole history.
    ///
    /// # Errors
    /// If the events are no complete, legal history.
    pub fn replay<'a>(records: impl IntoIterator<Item = &'a EventRecord>) -> Result<Self, ReplayError> {
        let mut state: Option<Self> = None;
        for (expected, record) in (1..).zip(records) {
            if record.seq != expected {
                return Err(ReplayError::Gap { expected, found: record.seq });
            }
            state = Some(match (state, &record.event) {
                (None, OrderEvent::Accepted { max_attempts }) => Self::accepted(*max_attempts),
                (None, _) => return Err(ReplayError::NotAccepted),
                (Some(state), event) => state.apply(event)?,
            });
        }
        state.ok_or(ReplayError::NotAccepted)
    }

    /// The state after an event.
    ///
    /// # Errors
    /// If this state does not allow the event.
    pub fn apply(&self, event: &OrderEvent) -> Result<Self, IllegalTransition> {
        let illegal = || IllegalTransition { state: self.phase.name(), event: event.kind() };
        let mut next = Self {
            phase: self.next_phase(event).ok_or_else(illegal)?,
            chosen_dex: self.chosen_dex.clone(),
            tx_id: self.tx_id.clone(),
            attention: self.attention.clone(),
            ..*self
        };
        match event {
            OrderEvent::RoutingStarted { attempt, .. } => {
                next.begin_attempt(*attempt, self);
                next.chosen_dex = None;
            }
            OrderEvent::BuildRestarted { attempt } => next.begin_attempt(*attempt, self),
            OrderEvent::RouteChosen { route, .. } => next.chosen_dex = Some(route.dex.clone()),
            OrderEvent::TransactionSigned { tx } => {
                next.tx_id = Some(tx.id.clone());
                next.held_up_since = None;
            }
            OrderEvent::Deferred { since, .. } => {
                next.held_up_since = Some(*since);
                next.may_requote = true;
            }
            OrderEvent::Quarantined { failure } => {
                next.attention = Some(Attention::Quarantined(failure.clone()));
            }
            OrderEvent::OutcomeUnknown { .. } => next.attention = Some(Attention::OutcomeUnknown),
            OrderEvent::QuarantineLifted
            | OrderEvent::OutcomeResolved { .. }
            | OrderEvent::InclusionObserved { .. }
            | OrderEvent::TransactionDied { .. }
            | OrderEvent::Confirmed { .. }
            | OrderEvent::Failed { .. } => next.attention = None,
            _ => {}
        }
        if let OrderEvent::AttemptFailed { class, .. } | OrderEvent::TransactionDied { class, .. } = event {
            next.failed_attempts = self.failed_attempts.and(*class);
        }
        next.suspicion = self.next_suspicion(event);
        Ok(next)
    }

    fn begin_attempt(&mut self, attempt: u32, before: &Self) {
        let is_another = attempt != before.attempt;
        self.attempt = attempt;
        self.tx_id = None;
        self.held_up_since = before.held_up_since.filter(|_| !is_another);
        // Once an outage: an order of which workers die while it is built would be quoted for ever.
        self.may_requote = false;
        self.progress_floor = if is_another { 0 } else { before.progress() };
    }

    /// Whoever makes progress is no suspect; what others do to the order is no progress.
    const fn next_suspicion(&self, event: &OrderEvent) -> Option<Suspicion> {
        match event {
            OrderEvent::Suspected { strikes, alone, .. } => {
                Some(Suspicion { strikes: *strikes, alone: *alone })
            }
            OrderEvent::Quarantined { .. }
            | OrderEvent::CancelRequested
            | OrderEvent::OutcomeUnknown { .. } => self.suspicion,
            _ => None,
        }
    }

    /// The phase after an event, or nothing if the event is not allowed.
    fn next_phase(&self, event: &OrderEvent) -> Option<Phase> {
        use OrderEvent as E;
        if self.quarantine().is_some()
            && !matches!(event, E::QuarantineLifted | E::CancelRequested | E::Failed { .. })
        {
            return None;
        }
        let phase = match (&self.phase, event) {
            (Phase::Pending | Phase::Waiting { .. }, E::RoutingStarted { attempt, .. })
                if *attempt == self.attempt + 1 && *attempt <= self.max_attempts =>
            {
                Phase::Routing
            }
            (Phase::Waiting { quote: Some(quote), .. }, E::BuildRestarted { attempt })
                if *attempt == self.attempt + 1 && *attempt <= self.max_attempts =>
            {
                Phase::Building { quote: quote.clone() }
            }
            // An outage took so long that the quote is worth nothing any more.
            (Phase::Routed { .. } | Phase::Building { .. }, E::RoutingStarted { attempt, .. })
                if *attempt == self.attempt && self.may_requote =>
            {
                Phase::Routing
            }
            (
                phase @ (Phase::Routing | Phase::Routed { .. } | Phase::Building { .. }),
                E::Deferred { .. },
            ) => phase.clone(),
            (phase, E::Suspected { strikes, .. })
                if !phase.is_terminal() && *strikes == self.strikes() + 1 =>
            {
                phase.clone()
            }
            (Phase::Routing, E::RouteChosen { route, quoted_at, .. }) => {
                Phase::Routed { quote: Quote { route: route.clone(), quoted_at: *quoted_at } }
            }
            (Phase::Routed { quote }, E::BuildStarted) => Phase::Building { quote: quote.clone() },
            (Phase::Building { .. }, E::TransactionSigned { tx }) => {
                Phase::Signed { tx: tx.clone(), cancel_requested: false }
            }
            (Phase::Signed { tx, cancel_requested: false }, E::SubmissionStarted) => {
                Phase::Submitted { tx: tx.clone(), stage: Stage::Sending, cancel_requested: false }
            }
            (
                Phase::Submitted { tx, stage, cancel_requested },
                E::SubmissionAccepted | E::InclusionObserved { .. },
            ) => {
                let next = Stage::reported_by(event).filter(|next| next > stage)?;
                Phase::Submitted { tx: tx.clone(), stage: next, cancel_requested: *cancel_requested }
            }
            (Phase::Signed { tx, cancel_requested: false }, E::CancelRequested) => {
                Phase::Signed { tx: tx.clone(), cancel_requested: true }
            }
            (Phase::Submitted { tx, stage, cancel_requested: false }, E::CancelRequested) => {
                Phase::Submitted { tx: tx.clone(), stage: *stage, cancel_requested: true }
            }
            (Phase::Routing | Phase::Routed { .. }, E::AttemptFailed { failure, class }) => {
                self.failed_attempt(failure, *class, false, None)
            }
            (Phase::Building { quote }, E::AttemptFailed { failure, class }) => {
                // What may pass by itself says nothing against the route.
                let quote = (*class == FailureClass::Transient).then(|| quote.clone());
                self.failed_attempt(failure, *class, false, quote)
            }
            (
                Phase::Signed { cancel_requested, .. } | Phase::Submitted { cancel_requested, .. },
                E::TransactionDied { failure, class, .. },
            ) => self.failed_attempt(failure, *class, *cancel_requested, None),
            (Phase::AttemptFailed { standing, quote, .. }, E::RetryScheduled { retry_at, .. })
                if self.may_retry() =>
            {
                Phase::Waiting { standing: *standing, retry_at: *retry_at, quote: quote.clone() }
            }
            (phase, E::Quarantined { .. }) if !phase.is_terminal() => phase.clone(),
            (phase, E::QuarantineLifted) if self.quarantine().is_some() => phase.clone(),
            (phase, E::OutcomeUnknown { .. }) if phase.has_live_transaction() && self.attention.is_none() => {
                phase.clone()
            }
            (phase, E::OutcomeResolved { executed: true, .. }) if self.is_outcome_unknown() => phase.clone(),
            (
                Phase::Signed { cancel_requested, .. } | Phase::Submitted { cancel_requested, .. },
                E::OutcomeResolved { executed: false, note },
            ) if self.is_outcome_unknown() => {
                let failure = Failure::new(FailureCode::RESOLVED, note.clone());
                self.failed_attempt(&failure, FailureClass::Permanent, *cancel_requested, None)
            }
            (Phase::Signed { .. } | Phase::Submitted { .. }, E::Confirmed { fill }) => {
                Phase::Confirmed { fill: fill.clone() }
            }
            (phase, E::Failed { failure }) if !phase.has_live_transaction() && !phase.is_terminal() => {
                Phase::Failed { failure: failure.clone() }
            }
            _ => return None,
        };
        Some(phase)
    }

    fn failed_attempt(
        &self,
        failure: &Failure,
        class: FailureClass,
        cancel_requested: bool,
        quote: Option<Quote>,
    ) -> Phase {
        let standing = Standing { status: self.status(), progress: self.progress() };
        Phase::AttemptFailed { standing, failure: failure.clone(), class, cancel_requested, quote }
    }

    /// Whether the failed attempt may be followed by another one.
    pub fn may_retry(&self) -> bool {
        match &self.phase {
            Phase::AttemptFailed { class, cancel_requested, .. } => {
                class.is_retryable() && !cancel_requested && self.attempt < self.max_attempts
            }
            _ => false,
        }
    }

    /// What has to be done next.
    pub fn next_step(&self) -> Step {
        match &self.phase {
            Phase::Pending | Phase::Waiting { .. } => Step::StartAttempt { attempt: self.attempt + 1 },
            Phase::Routing => Step::Route,
            Phase::Routed { .. } => Step::StartBuilding,
            Phase::Building { .. } => Step::Prepare,
            Phase::Signed { cancel_requested: false, .. } => Step::Submit,
            // A cancelled transaction is not sent, but other hands may hold its bytes: watch it die.
            Phase::Signed { cancel_requested: true, .. } | Phase::Submitted { .. } => Step::Observe,
            Phase::AttemptFailed { .. } => Step::Settle,
            Phase::Confirmed { .. } | Phase::Failed { .. } => Step::Done,
        }
    }

    /// Which loop takes the order when it is due; none if it is terminal or in quarantine.
    pub fn lane(&self) -> Option<Lane> {
        match self.next_step() {
            Step::Done => None,
            _ if self.quarantine().is_some() => None,
            Step::Observe => Some(Lane::Observe),
            _ => Some(Lane::Execute),
        }
    }

    /// Where the order stands.
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The public name of the state.
    pub const fn status(&self) -> Status {
        match &self.phase {
            Phase::Pending => Status::Pending,
            Phase::Routing | Phase::Routed { .. } => Status::Routing,
            Phase::Building { .. } | Phase::Signed { .. } => Status::Building,
            Phase::Submitted { .. } => Status::Submitted,
            Phase::AttemptFailed { standing, .. } | Phase::Waiting { standing, .. } => standing.status,
            Phase::Confirmed { .. } => Status::Confirmed,
            Phase::Failed { .. } => Status::Failed,
        }
    }

    /// How far the attempt has come, 0..=100. It grows within an attempt.
    pub const fn progress(&self) -> u8 {
        let progress = match &self.phase {
            Phase::Pending | Phase::Failed { .. } => return 0,
            Phase::Routing => 10,
            Phase::Routed { .. } => 30,
            Phase::Building { .. } => 50,
            Phase::Signed { .. } => 70,
            Phase::Submitted { stage, .. } => stage.progress(),
            Phase::AttemptFailed { standing, .. } | Phase::Waiting { standing, .. } => standing.progress,
            Phase::Confirmed { .. } => 100,
        };
        if progress < self.progress_floor { self.progress_floor } else { progress }
    }

    /// The number of the attempt, from 1; 0 before the first.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many attempts the order has.
    pub const fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// How many attempts failed in which way.
    pub const fn failed_attempts(&self) -> FailedAttempts {
        self.failed_attempts
    }

    /// Since when the router or the venue has held this attempt up, if it does.
    pub const fn held_up_since(&self) -> Option<DateTime<Utc>> {
        self.held_up_since
    }

    /// Whether the attempt may begin again with another quote, because its own grew old in an outage.
    pub const fn may_requote(&self) -> bool {
        self.may_requote
    }

    /// Whether workers die of this order, as far as that is known.
    pub const fn suspicion(&self) -> Option<Suspicion> {
        self.suspicion
    }

    /// How many strikes in a row the order has.
    pub const fn strikes(&self) -> u32 {
        match self.suspicion {
            Some(suspicion) => suspicion.strikes,
            None => 0,
        }
    }

    /// The route that a transaction may be built on, if there is one.
    pub const fn quote(&self) -> Option<&Quote> {
        match &self.phase {
            Phase::Routed { quote } | Phase::Building { quote } => Some(quote),
            Phase::AttemptFailed { quote, .. } | Phase::Waiting { quote, .. } => quote.as_ref(),
            _ => None,
        }
    }

    /// The exchange of the route that the attempt chose.
    pub fn chosen_dex(&self) -> Option<&str> {
        self.chosen_dex.as_deref()
    }

    /// The transaction that the attempt signed.
    pub const fn tx_id(&self) -> Option<&TxId> {
        self.tx_id.as_ref()
    }

    /// The transaction that may land, if there is one.
    pub fn live_transaction(&self) -> Option<&SignedTx> {
        match &self.phase {
            Phase::Signed { tx, .. } | Phase::Submitted { tx, .. } => Some(tx),
            _ => None,
        }
    }

    /// Whether a cancel waits for the death of the transaction.
    pub const fn is_cancel_requested(&self) -> bool {
        matches!(
            &self.phase,
            Phase::Signed { cancel_requested: true, .. }
                | Phase::Submitted { cancel_requested: true, .. }
                | Phase::AttemptFailed { cancel_requested: true, .. }
        )
    }

    /// Why an operator should look at the order, if one should.
    pub const fn attention(&self) -> Option<&Attention> {
        self.attention.as_ref()
    }

    /// Why the order is set aside for an operator, if it is.
    pub const fn quarantine(&self) -> Option<&Failure> {
        match &self.attention {
            Some(Attention::Quarantined(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Whether nobody knows what became of the order's transaction.
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self.attention, Some(Attention::OutcomeUnknown))
    }

    /// What the transaction did, once that is final.
    pub const fn fill(&self) -> Option<&Fill> {
        match &self.phase {
            Phase::Confirmed { fill } => Some(fill),
            _ => None,
        }
    }

    /// Why the order, or its last attempt, failed.
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::AttemptFailed { failure, .. } | Phase::Failed { failure } => Some(failure),
            _ => None,
        }
    }
}

impl Phase {
    /// The fixed name of the phase.
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

    const fn has_live_transaction(&self) -> bool {
        matches!(self, Self::Signed { .. } | Self::Submitted { .. })
    }

    const fn is_terminal(&self) -> bool {
        matches!(self, Self::Confirmed { .. } | Self::Failed { .. })
    }
}

impl Stage {
    /// The stage that an event reports.
    const fn reported_by(event: &OrderEvent) -> Option<Self> {
        match event {
            OrderEvent::SubmissionAccepted => Some(Self::Accepted),
            OrderEvent::InclusionObserved { certainty: Certainty::Processed } => Some(Self::Processed),
            OrderEvent::InclusionObserved { certainty: Certainty::Confirmed } => Some(Self::Confirmed),
            // A final inclusion is an outcome, not a stage.
            _ => None,
        }
    }

    const fn progress(self) -> u8 {
        match self {
            Self::Sending => 75,
            Self::Accepted => 80,
            Self::Processed => 85,
            Self::Confirmed => 90,
        }
    }
}
