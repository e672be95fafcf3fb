//! The state machine of an order: a pure fold of its events.
//!
//! [`OrderState::apply`] is the only place where a status changes; the live path and replay both use it.
//! [`OrderState::next_step`] says what an executor has to do next, and does nothing itself.

pub(crate) mod step;
pub(crate) mod transition;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::event::{Status, UnknownReason};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ids::{TxId, VenueName};
use crate::domain::phase::{Phase, Quote};
use crate::domain::siblings::Siblings;
use crate::domain::transaction::{Fill, SignedTx};

/// What an order's events add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// The number of the attempt, from 1; 0 before the first.
    attempt: u32,
    /// How many attempts the order has.
    max_attempts: u32,
    /// The venue of the route that this attempt chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    venue: Option<VenueName>,
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
    /// Since when an outage of the router or the venue has held this attempt up, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_up_since: Option<DateTime<Utc>>,
    /// Whether the attempt may begin again with another quote: it has not done so yet, or not since the last wait for the
    /// end of an outage.
    #[serde(default, skip_serializing_if = "is_false")]
    may_requote: bool,
    /// The least output that the first chosen quote allowed a transaction to promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_min_amount_out: Option<Amount>,
    /// How often in a row the order found no route that pays what it accepts at least.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    looks: u32,
    /// The suspicion that workers die of this order, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
    /// The progress of this attempt before it was quoted again: progress does not run backwards.
    #[serde(default, skip_serializing_if = "is_zero")]
    progress_floor: u8,
    phase: Phase,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // So serde asks.
const fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As above.
const fn is_none_yet(count: &u32) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As above.
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The suspicion that workers die of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Suspicion {
    /// How many strikes in a row the order has: executions that ended in a panic, or began alone and made no
    /// progress.
    pub strikes: u32,
    /// Whether the last one began alone.
    pub alone: bool,
}

/// How many of an order's attempts failed in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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

    /// Returns the same with one more.
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

/// Why an operator should look at an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attention {
    /// Workers died or panicked with it again and again. It waits until an operator lifts the quarantine.
    Quarantined(Failure),
    /// It is unknown whether its transaction landed or ever will. It goes on being observed.
    OutcomeUnknown(UnknownReason),
}

impl Attention {
    /// Returns the fixed text of the reason.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Quarantined(_) => "quarantined",
            Self::OutcomeUnknown(_) => "outcome-unknown",
        }
    }
}

impl OrderState {
    /// Returns the state after the first event.
    pub const fn accepted(max_attempts: u32) -> Self {
        Self {
            attempt: 0,
            max_attempts,
            venue: None,
            chosen_dex: None,
            tx_id: None,
            attention: None,
            failed_attempts: FailedAttempts { transient: 0, requote: 0 },
            held_up_since: None,
            may_requote: false,
            first_min_amount_out: None,
            looks: 0,
            suspicion: None,
            progress_floor: 0,
            phase: Phase::Pending,
        }
    }

    /// Returns where the order stands.
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Returns the public name of the state.
    pub const fn status(&self) -> Status {
        match &self.phase {
            Phase::Pending => Status::Pending,
            Phase::Routing | Phase::Routed { .. } => Status::Routing,
            Phase::Building { .. } | Phase::Signed { .. } => Status::Building,
            Phase::Submitted { .. } => Status::Submitted,
            Phase::AttemptFailed { failed_at, .. } | Phase::Waiting { failed_at, .. } => failed_at.status,
            Phase::Confirmed { .. } => Status::Confirmed,
            Phase::Failed { .. } => Status::Failed,
        }
    }

    /// Returns how far the attempt has come, 0..=100. It grows within an attempt.
    pub const fn progress(&self) -> u8 {
        let progress = match &self.phase {
            Phase::Pending | Phase::Failed { .. } => return 0,
            Phase::Routing => 10,
            Phase::Routed { .. } => 30,
            Phase::Building { .. } => 50,
            Phase::Signed { .. } => 70,
            Phase::Submitted { stage, .. } => stage.progress(),
            Phase::AttemptFailed { failed_at, .. } | Phase::Waiting { failed_at, .. } => failed_at.progress,
            Phase::Confirmed { .. } => 100,
        };
        if progress < self.progress_floor { self.progress_floor } else { progress }
    }

    /// Returns the number of the attempt, from 1; 0 before the first.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns how many attempts the order has.
    pub const fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Returns how many attempts failed in which way.
    pub const fn failed_attempts(&self) -> FailedAttempts {
        self.failed_attempts
    }

    /// Returns since when an outage of the router or the venue has held this attempt up, if one does.
    pub const fn held_up_since(&self) -> Option<DateTime<Utc>> {
        self.held_up_since
    }

    /// Whether the attempt may begin again with another quote if its own grows old before it is built on: once, and once
    /// more after each wait for the end of an outage.
    pub const fn may_requote(&self) -> bool {
        self.may_requote
    }

    /// Returns the least output that the first chosen quote allowed a transaction to promise, in base units of
    /// the output token.
    pub const fn first_min_amount_out(&self) -> Option<Amount> {
        self.first_min_amount_out
    }

    /// Returns how often in a row the order found no route that pays what it accepts at least.
    pub const fn looks(&self) -> u32 {
        self.looks
    }

    /// Returns the suspicion that workers die of this order, if there is one.
    pub const fn suspicion(&self) -> Option<Suspicion> {
        self.suspicion
    }

    /// Returns how many strikes in a row the order has.
    pub const fn strikes(&self) -> u32 {
        match self.suspicion {
            Some(suspicion) => suspicion.strikes,
            None => 0,
        }
    }

    /// Returns the quote that a transaction may be built on, if there is one.
    pub const fn quote(&self) -> Option<&Quote> {
        match &self.phase {
            Phase::Routed { quote } | Phase::Building { quote } => Some(quote),
            Phase::AttemptFailed { quote, .. } | Phase::Waiting { quote, .. } => quote.as_ref(),
            _ => None,
        }
    }

    /// Returns the name of the venue of the route that the attempt chose. There is one wherever there is a
    /// transaction.
    pub const fn venue(&self) -> Option<&VenueName> {
        self.venue.as_ref()
    }

    /// Returns the exchange of the route that the attempt chose.
    pub fn chosen_dex(&self) -> Option<&str> {
        self.chosen_dex.as_deref()
    }

    /// Returns the id of the transaction that the attempt signed.
    pub const fn tx_id(&self) -> Option<&TxId> {
        self.tx_id.as_ref()
    }

    /// Returns the transactions of which one may land, if there are any.
    pub const fn siblings(&self) -> Option<&Siblings> {
        match &self.phase {
            Phase::Signed { siblings, .. } | Phase::Submitted { siblings, .. } => Some(siblings),
            _ => None,
        }
    }

    /// Returns the transaction that may land, if there is one: of several the one that was signed last.
    pub fn live_transaction(&self) -> Option<&SignedTx> {
        self.siblings().map(|siblings| &*siblings.latest().tx)
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

    /// Returns why an operator should look at the order, if one should.
    pub const fn attention(&self) -> Option<&Attention> {
        self.attention.as_ref()
    }

    /// Returns why the order is in quarantine, if it is.
    pub const fn quarantine(&self) -> Option<&Failure> {
        match &self.attention {
            Some(Attention::Quarantined(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Whether the outcome of the order's transaction is unknown.
    pub const fn is_outcome_unknown(&self) -> bool {
        self.unknown_reason().is_some()
    }

    /// Returns why the outcome of the order's transaction is unknown, if it is.
    pub const fn unknown_reason(&self) -> Option<UnknownReason> {
        match self.attention {
            Some(Attention::OutcomeUnknown(reason)) => Some(reason),
            _ => None,
        }
    }

    /// Whether the engine may say that the outcome is unknown for this reason: once, and once more when nothing can
    /// land any more, but nobody can prove that nothing has.
    pub(crate) const fn may_be_unknown(&self, reason: UnknownReason) -> bool {
        match self.attention {
            None => self.phase.has_live_transaction(),
            Some(Attention::OutcomeUnknown(known)) => {
                matches!(reason, UnknownReason::Unproven) && !matches!(known, UnknownReason::Unproven)
            }
            Some(Attention::Quarantined(_)) => false,
        }
    }

    /// Whether an order of unknown outcome has a transaction that can still land, because its nonce is not used.
    pub(crate) fn is_nonce_unused(&self) -> bool {
        let is_unused = |reason| matches!(reason, UnknownReason::Absent | UnknownReason::Stuck);
        let has_nonce = self.siblings().is_some_and(|siblings| siblings.nonce().is_some());
        has_nonce && self.unknown_reason().is_some_and(is_unused)
    }

    /// Returns what the transaction did, once that is final.
    pub const fn fill(&self) -> Option<&Fill> {
        match &self.phase {
            Phase::Confirmed { fill } => Some(fill),
            _ => None,
        }
    }

    /// Returns why the order, or its last attempt, failed.
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::AttemptFailed { failure, .. } | Phase::Failed { failure } => Some(failure),
            _ => None,
        }
    }
}
