//! What is done for observed orders beside their observation: committed bytes are sent again, and transactions that
//! replace them or make way for them are signed, committed and sent.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::observed::{ObservedOrder, Written};
use crate::domain::event::OrderEvent;
use crate::domain::fee_bump::Addition;
use crate::domain::order::Order;
use crate::domain::phase::{Phase, Stage};
use crate::domain::retry_policy::is_expired;
use crate::domain::siblings::{Purpose, Siblings};
use crate::domain::state::OrderState;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::{AccountNonce, SignedTx};
use crate::execution::context::Context;
use crate::execution::venues::KnownVenue;
use crate::planted::planted;
use crate::ports::controls::Activity;
use crate::ports::order_store::lease::Fence;
use crate::ports::order_store::write::NonceReservation;
use crate::ports::venue::{FillRequest, ReplaceRequest};
use crate::telemetry;
use crate::telemetry::trace::TraceContext;

/// How many orders are acted for at a time.
const ACTS: usize = 16;

/// What is done for an order beside its observation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// The committed bytes are sent again.
    Resend,
    /// A transaction is signed in addition.
    Sign(Addition),
}

/// Acts for observed orders.
#[derive(Debug)]
pub(super) struct Acts {
    context: Arc<Context>,
    venue: Arc<KnownVenue>,
    /// Takes the orders back.
    incoming: mpsc::UnboundedSender<ObservedOrder>,
}

impl Acts {
    pub(super) const fn new(
        context: Arc<Context>,
        venue: Arc<KnownVenue>,
        incoming: mpsc::UnboundedSender<ObservedOrder>,
    ) -> Self {
        Self { context, venue, incoming }
    }

    /// Sends again, or sends siblings, beside the observing; the orders come back to the observer.
    pub(super) fn begin(self: &Arc<Self>, acts: Vec<(ObservedOrder, Act)>) {
        if acts.is_empty() {
            return;
        }
        let shared = Arc::clone(self);
        let task = stream::iter(acts).for_each_concurrent(ACTS, move |(observed, act)| {
            let trace = TraceContext::of_order(observed.order.order().id);
            trace.scope(Arc::clone(&shared).act_for(observed, act))
        });
        self.context.tasks.spawn("resend", Box::pin(task));
    }

    async fn act_for(self: Arc<Self>, mut observed: ObservedOrder, act: Act) {
        let context = &self.context;
        // A cancel may have been committed since this process last wrote.
        match context.load(observed.order.order().id).await {
            Ok(order) => observed.order.reset(order),
            Err(error) => {
                tracing::warn!(order.id = %observed.order.order().id, error = %telemetry::chain(&error), "an order could not be read before its transaction is sent again");
                return;
            }
        }
        let order = Arc::clone(observed.order.order());
        let is_paused =
            context.pauses.covering(&[Activity::Sending], &order.request, Some(&self.venue.name)).is_some();
        let goes_on = match act {
            Act::Resend => {
                // Also if it is held back: it is not looked at again before its time.
                observed.last_sent = Some(context.local_now());
                let may_send = is_sendable(&order.state) && !is_paused;
                !may_send || self.send_again(&mut observed, &order).await
            }
            // What executes no order moves no money: a pause does not keep it.
            Act::Sign(addition) => {
                observed.rests_until = Some(context.local_now() + context.config.resend_interval);
                (addition.is_swap() && is_paused) || self.add(&mut observed, &order, addition).await
            }
        };
        if goes_on {
            // Without the observer the engine has shut down; dropping the order releases its lease.
            let _ = self.incoming.send(observed);
        }
    }

    /// Sends the transaction again that was signed last, and those that make way for it. Returns whether the order
    /// is observed further.
    async fn send_again(&self, observed: &mut ObservedOrder, order: &Order) -> bool {
        let context = &self.context;
        let Some(tx) = order.state.live_transaction() else { return true };
        for filler in order.state.siblings().map(Siblings::fillers).unwrap_or_default() {
            context.send(&self.venue, filler).await;
        }
        let is_accepted = context.send(&self.venue, tx).await;
        let is_new = matches!(order.state.phase(), Phase::Submitted { stage: Stage::Sending, .. });
        !(is_accepted && is_new)
            || observed.order.record(OrderEvent::SubmissionAccepted, context.now()).is_ok()
    }

    /// Signs a further transaction, commits it, and only then sends it. Returns whether the order is observed
    /// further.
    async fn add(&self, observed: &mut ObservedOrder, order: &Order, addition: Addition) -> bool {
        if !self.is_still_needed(order, addition).await {
            return true;
        }
        let Some(tx) = self.sign(order, addition, observed.order.fence()).await else { return true };
        if planted!(SiblingBeforeCommit) {
            self.context.send(&self.venue, &tx).await;
        }
        if let Err(illegal) = self.record(observed, addition, &tx) {
            tracing::error!(order.id = %order.id, tx.id = %tx.id, error = %illegal, "the venue signed what does not belong to the attempt");
            return true;
        }
        match observed.commit(&self.context).await {
            Written::Done => {}
            // The next observation decides anew.
            Written::MovedOn => return true,
            // The nonce is another order's, which gets its time.
            Written::NonceTaken => {
                observed.waits_since = None;
                return true;
            }
            Written::GivenUp => return false,
        }
        observed.last_sent = Some(self.context.local_now());
        observed.rests_until = None;
        observed.quiet_observations = 0;
        self.context.send(&self.venue, &tx).await;
        true
    }

    /// Lets the venue sign a further transaction.
    async fn sign(&self, order: &Order, addition: Addition, fence: Fence) -> Option<Arc<SignedTx>> {
        let siblings = order.state.siblings()?;
        let (venue, percent) = (&self.venue.venue, self.venue.fee_bumps.fee_percent);
        let instead_of = |tx| ReplaceRequest::new(order, tx, percent, fence);
        let nonce;
        let signing = match addition {
            Addition::Sibling(Purpose::Cancel) => venue.cancel_transaction(instead_of(&siblings.latest().tx)),
            Addition::Sibling(_) => venue.replace(instead_of(&siblings.latest().tx)),
            Addition::Filler(value) => match siblings.fillers_of(value).next_back() {
                Some(last) => venue.cancel_transaction(instead_of(last)),
                None => {
                    nonce = AccountNonce::new(siblings.nonce()?.account.clone(), value);
                    venue.fill_nonce(FillRequest::new(order, &nonce, fence))
                }
            },
        };
        let guarded = self.context.tasks.supervisor.guard("venue.sign", signing);
        match self.context.in_time(guarded).await? {
            Ok(Ok(tx)) => Some(Arc::new(tx)),
            Ok(Err(error)) => {
                tracing::warn!(order.id = %order.id, error = %telemetry::chain(&error), "a further transaction could not be signed");
                None
            }
            Err(_panicked) => None,
        }
    }

    /// Records a further transaction. The first filler of a nonce reserves it.
    fn record(
        &self,
        observed: &mut ObservedOrder,
        addition: Addition,
        tx: &Arc<SignedTx>,
    ) -> Result<(), IllegalTransition> {
        let (tx, now) = (Arc::clone(tx), self.context.now());
        let value = match addition {
            Addition::Sibling(purpose) => {
                return observed.order.record(OrderEvent::SiblingSigned { purpose, tx }, now);
            }
            Addition::Filler(value) => value,
        };
        let is_first =
            observed.siblings().is_some_and(|siblings| siblings.fillers_of(value).next().is_none());
        let nonce = tx.validity.nonce().filter(|_| is_first);
        let reservation =
            nonce.map(|nonce| NonceReservation::new(self.venue.name.clone(), nonce.clone(), value));
        observed.order.record_filler(tx, reservation, now)
    }

    /// Whether a further transaction is still wanted by what the store has. A deadline decides by the store's clock.
    async fn is_still_needed(&self, order: &Order, addition: Addition) -> bool {
        let is_to_end = order.state.is_cancel_requested();
        let Some(siblings) = order.state.siblings() else { return false };
        let Addition::Sibling(purpose) = addition else { return true };
        match purpose {
            Purpose::Cancel if is_to_end || order.expires_at().is_none() => true,
            // Its last height has passed for good.
            Purpose::Cancel if siblings.original().validity.until_height().is_some() => true,
            Purpose::Cancel => self.context.deadline_now(order).await.is_ok_and(|now| is_expired(order, now)),
            _ => !is_to_end,
        }
    }
}

/// Whether the transaction that was signed last may be sent: a swap only while the order is not to end.
pub(super) fn is_sendable(state: &OrderState) -> bool {
    let Phase::Submitted { siblings, cancel_requested, .. } = state.phase() else { return false };
    !cancel_requested || !siblings.latest().purpose.is_swap() || planted!(CancelledIsSentAgain)
}
