//! The transitions: which events a state allows, and the state after each.

use super::{Attention, OrderState, Suspicion};
use crate::domain::event::{EventRecord, OrderEvent};
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::phase::{FailedAt, Phase, Quote, Stage};
use crate::domain::siblings::{Purpose, Siblings};

/// An event that an order's state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order in state '{state}' does not allow the event '{event}'")]
#[non_exhaustive]
pub struct IllegalTransition {
    /// The name of the state.
    pub state: &'static str,
    /// The name of the event.
    pub event: &'static str,
}

/// Why a list of events is not the history of an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The first event is not the acceptance.
    #[error("a history begins with its acceptance")]
    NotAccepted,
    /// The numbers have a hole or do not begin at 1.
    #[error("expected event {expected}, found {found}")]
    Gap {
        /// The number that the next event must have.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// The state before an event does not allow it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl OrderState {
    /// Returns the state that a whole history adds up to.
    ///
    /// # Errors
    /// If the events are not a complete, legal history.
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

    /// Returns the state after an event.
    ///
    /// # Errors
    /// If this state does not allow the event.
    pub fn apply(&self, event: &OrderEvent) -> Result<Self, IllegalTransition> {
        let illegal = || IllegalTransition { state: self.phase.name(), event: event.kind() };
        let mut next = Self {
            phase: self.next_phase(event).ok_or_else(illegal)?,
            venue: self.venue.clone(),
            chosen_dex: self.chosen_dex.clone(),
            tx_id: self.tx_id.clone(),
            attention: self.attention.clone(),
            ..*self
        };
        match event {
            OrderEvent::RoutingStarted { attempt, .. } => {
                next.begin_attempt(*attempt, self);
                next.venue = None;
                next.chosen_dex = None;
            }
            OrderEvent::BuildRestarted { attempt } => next.begin_attempt(*attempt, self),
            OrderEvent::RouteChosen { route, min_amount_out, .. } => {
                next.first_min_amount_out = self.first_min_amount_out.or(Some(*min_amount_out));
                next.looks = 0;
                next.venue = Some(route.venue.clone());
                next.chosen_dex = Some(route.dex.clone());
            }
            OrderEvent::PriceTooLow { .. } => {
                next.looks = self.looks.saturating_add(1);
                next.held_up_since = None;
                next.may_requote = false;
            }
            OrderEvent::TransactionSigned { tx } => {
                next.tx_id = Some(tx.id.clone());
                next.held_up_since = None;
                next.may_requote = false;
            }
            OrderEvent::SiblingSigned { purpose, tx } if purpose.is_swap() => {
                next.tx_id = Some(tx.id.clone());
            }
            // A fork takes the stage back, and the progress that was shown stays.
            OrderEvent::InclusionUndone => next.progress_floor = self.progress(),
            OrderEvent::Confirmed { tx_id, .. } => {
                next.tx_id = Some(tx_id.clone());
                next.attention = None;
            }
            OrderEvent::AttemptFailed { .. } => next.may_requote = false,
            OrderEvent::Deferred { since, .. } => {
                next.held_up_since = Some(*since);
                next.may_requote = true;
            }
            OrderEvent::Quarantined { failure } => {
                next.attention = Some(Attention::Quarantined(failure.clone()));
            }
            OrderEvent::OutcomeUnknown { reason } => {
                next.attention = Some(Attention::OutcomeUnknown(*reason));
            }
            OrderEvent::QuarantineLifted
            | OrderEvent::OutcomeResolved { .. }
            | OrderEvent::InclusionObserved { .. }
            | OrderEvent::TransactionDied { .. }
            | OrderEvent::Failed { .. } => next.attention = None,
            _ => {}
        }
        if matches!(event, OrderEvent::InclusionObserved { .. }) && next.progress() < self.progress() {
            next.progress_floor = self.progress();
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
        // Once for each attempt and each outage: an order whose workers die while they build it would be quoted for ever.
        self.may_requote = is_another;
        self.progress_floor = if is_another { 0 } else { before.progress() };
    }

    /// Progress clears the order of suspicion. Events that no worker of the order causes are no progress.
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

    /// Returns the phase after an event, or nothing if the event is not allowed.
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
            // The quote grew too old: in an outage, or because a worker died.
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
            (Phase::Routing, E::RouteChosen { route, quoted_at, min_amount_out, .. }) => {
                let (route, quoted_at, min_amount_out) = (route.clone(), *quoted_at, *min_amount_out);
                Phase::Routed { quote: Quote { route, quoted_at, min_amount_out } }
            }
            (Phase::Routing, E::PriceTooLow { .. }) => Phase::Routing,
            (Phase::Routed { quote }, E::BuildStarted) => Phase::Building { quote: quote.clone() },
            (Phase::Routing | Phase::Routed { .. }, E::AttemptFailed { failure, class }) => {
                self.failed_attempt(failure, *class, false, None)
            }
            (Phase::Building { quote }, E::AttemptFailed { failure, class }) => {
                // A failure that may pass by itself says nothing against the route.
                let quote = (*class == FailureClass::Transient).then(|| quote.clone());
                self.failed_attempt(failure, *class, false, quote)
            }
            (
                Phase::Signed { cancel_requested, .. } | Phase::Submitted { cancel_requested, .. },
                E::TransactionDied { failure, class, .. },
            ) => self.failed_attempt(failure, *class, *cancel_requested, None),
            (Phase::AttemptFailed { failed_at, quote, .. }, E::RetryScheduled { retry_at, .. })
                if self.may_retry() =>
            {
                Phase::Waiting { failed_at: *failed_at, retry_at: *retry_at, quote: quote.clone() }
            }
            (phase, E::Quarantined { .. }) if !phase.is_terminal() => phase.clone(),
            (phase, E::QuarantineLifted) if self.quarantine().is_some() => phase.clone(),
            (phase, E::OutcomeUnknown { reason }) if self.may_be_unknown(*reason) => phase.clone(),
            (phase, E::OutcomeResolved { executed: true, .. }) if self.is_outcome_unknown() => phase.clone(),
            (
                Phase::Signed { cancel_requested, .. } | Phase::Submitted { cancel_requested, .. },
                E::OutcomeResolved { executed: false, note },
            ) if self.is_outcome_unknown() => {
                let failure = Failure::new(FailureCode::RESOLVED, note.clone());
                self.failed_attempt(&failure, FailureClass::Permanent, *cancel_requested, None)
            }
            (phase, E::Failed { failure }) if !phase.has_live_transaction() && !phase.is_terminal() => {
                Phase::Failed { failure: failure.clone() }
            }
            (Phase::Building { .. } | Phase::Signed { .. } | Phase::Submitted { .. }, event) => {
                self.next_of_transactions(event)?
            }
            _ => return None,
        };
        Some(phase)
    }

    /// Returns the phase after an event about the attempt's transactions, or nothing if the event is not allowed.
    fn next_of_transactions(&self, event: &OrderEvent) -> Option<Phase> {
        use OrderEvent as E;
        let phase = match (&self.phase, event) {
            (Phase::Building { quote }, E::TransactionSigned { tx })
                if tx.min_amount_out >= quote.min_amount_out =>
            {
                Phase::Signed { siblings: Siblings::new(tx.clone()), cancel_requested: false }
            }
            (Phase::Signed { siblings, cancel_requested: false }, E::SubmissionStarted) => {
                submitted(siblings.clone(), Stage::Sending, None, false)
            }
            // An original that was not sent needs no higher fee.
            (
                Phase::Signed { siblings, cancel_requested },
                E::SiblingSigned { purpose: Purpose::Cancel, tx },
            ) => {
                let siblings = siblings.and(Purpose::Cancel, tx.clone())?;
                submitted(siblings, Stage::Sending, None, *cancel_requested)
            }
            (
                Phase::Submitted { siblings, stage, included_at, cancel_requested },
                E::SiblingSigned { purpose, tx },
            ) if !(*cancel_requested && purpose.is_swap()) => {
                let siblings = siblings.and(*purpose, tx.clone())?;
                submitted(siblings, *stage, *included_at, *cancel_requested)
            }
            (Phase::Submitted { siblings, stage, included_at, cancel_requested }, E::NonceFilled { tx }) => {
                submitted(siblings.and_filler(tx.clone())?, *stage, *included_at, *cancel_requested)
            }
            (Phase::Submitted { siblings, stage, included_at, cancel_requested }, E::SubmissionAccepted) => {
                let next = Stage::reported_by(event).filter(|next| next > stage)?;
                submitted(siblings.clone(), next, *included_at, *cancel_requested)
            }
            (
                Phase::Submitted { siblings, stage, included_at, cancel_requested },
                E::InclusionObserved { height, .. },
            ) => {
                let is_elsewhere = included_at.is_some_and(|known| known != *height);
                let next = Stage::reported_by(event).filter(|next| next > stage || is_elsewhere)?;
                submitted(siblings.clone(), next, Some(*height), *cancel_requested)
            }
            (
                Phase::Submitted { siblings, included_at: Some(_), cancel_requested, .. },
                E::InclusionUndone,
            ) => submitted(siblings.clone(), Stage::Accepted, None, *cancel_requested),
            (Phase::Signed { siblings, cancel_requested: false }, E::CancelRequested) => {
                Phase::Signed { siblings: siblings.clone(), cancel_requested: true }
            }
            (
                Phase::Submitted { siblings, stage, included_at, cancel_requested: false },
                E::CancelRequested,
            ) => submitted(siblings.clone(), *stage, *included_at, true),
            (Phase::Signed { .. } | Phase::Submitted { .. }, E::Confirmed { fill, .. }) => {
                Phase::Confirmed { fill: fill.clone() }
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
        let failed_at = FailedAt { status: self.status(), progress: self.progress() };
        Phase::AttemptFailed { failed_at, failure: failure.clone(), class, cancel_requested, quote }
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
}

const fn submitted(
    siblings: Siblings,
    stage: Stage,
    included_at: Option<u64>,
    cancel_requested: bool,
) -> Phase {
    Phase::Submitted { siblings, stage, included_at, cancel_requested }
}
