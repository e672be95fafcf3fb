//! What is done for observed orders beside their observation: committed bytes are sent again, and siblings are
//! signed, committed and sent.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::observed::ObservedOrder;
use crate::commit::committer::CommitError;
use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::domain::phase::{Phase, Stage};
use crate::domain::retry_policy::is_expired;
use crate::domain::siblings::Purpose;
use crate::domain::state::OrderState;
use crate::execution::context::Context;
use crate::execution::venues::KnownVenue;
use crate::planted::planted;
use crate::ports::controls::Activity;
use crate::ports::order_store::write::AppendError;
use crate::ports::venue::ReplaceRequest;
use crate::telemetry;

/// How many orders are acted for at a time.
const ACTS: usize = 16;

/// What is done for an order beside its observation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// The committed bytes are sent again.
    Resend,
    /// A sibling takes their place.
    Replace(Purpose),
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
        let task = stream::iter(acts)
            .for_each_concurrent(ACTS, move |(observed, act)| Arc::clone(&shared).act_for(observed, act));
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
            // What takes an order's place moves no money: a pause does not keep it.
            Act::Replace(purpose) => {
                observed.rests_until = Some(context.local_now() + context.config.resend_interval);
                (purpose.is_swap() && is_paused) || self.replace(&mut observed, &order, purpose).await
            }
        };
        if goes_on {
            // Without the observer the engine has shut down; dropping the order releases its lease.
            let _ = self.incoming.send(observed);
        }
    }

    /// Sends the transaction again that was signed last. Returns whether the order is observed further.
    async fn send_again(&self, observed: &mut ObservedOrder, order: &Order) -> bool {
        let context = &self.context;
        let Some(tx) = order.state.live_transaction() else { return true };
        let is_accepted = context.send(&self.venue, tx).await;
        let is_new = matches!(order.state.phase(), Phase::Submitted { stage: Stage::Sending, .. });
        !(is_accepted && is_new)
            || observed.order.record(OrderEvent::SubmissionAccepted, context.now()).is_ok()
    }

    /// Signs a sibling of the transaction that was signed last, commits it, and only then sends it. Returns
    /// whether the order is observed further.
    async fn replace(&self, observed: &mut ObservedOrder, order: &Order, purpose: Purpose) -> bool {
        let context = &self.context;
        if !self.is_still_needed(order, purpose).await {
            return true;
        }
        let Some(siblings) = order.state.siblings() else { return true };
        let (latest, percent) = (&siblings.latest().tx, self.venue.fee_bumps.fee_percent);
        let request = ReplaceRequest::new(order, latest, percent, observed.order.fence());
        let venue = &self.venue.venue;
        let signing = match purpose {
            Purpose::Cancel => venue.cancel_transaction(request),
            _ => venue.replace(request),
        };
        let signed = context.in_time(context.tasks.supervisor.guard("venue.replace", signing)).await;
        let tx = match signed {
            Some(Ok(Ok(tx))) => Arc::new(tx),
            Some(Ok(Err(error))) => {
                tracing::warn!(order.id = %order.id, error = %telemetry::chain(&error), "a sibling could not be signed");
                return true;
            }
            Some(Err(_)) | None => return true,
        };
        if planted!(SiblingBeforeCommit) {
            context.send(&self.venue, &tx).await;
        }
        let event = OrderEvent::SiblingSigned { purpose, tx: Arc::clone(&tx) };
        if let Err(illegal) = observed.order.record(event, context.now()) {
            tracing::error!(order.id = %order.id, tx.id = %tx.id, error = %illegal, "the venue signed what is no sibling");
            return true;
        }
        match observed.order.commit(&context.committer).await {
            Ok(()) => {}
            Err(CommitError::Append(AppendError::StaleRevision { .. })) => {
                // A cancel, for instance. The next observation decides anew.
                return match context.load(order.id).await {
                    Ok(order) => {
                        observed.order.reset(order);
                        true
                    }
                    Err(_) => false,
                };
            }
            Err(error) => {
                tracing::warn!(order.id = %order.id, error = %telemetry::chain(&error), "a sibling could not be committed");
                return false;
            }
        }
        observed.last_sent = Some(context.local_now());
        observed.rests_until = None;
        observed.quiet_observations = 0;
        context.send(&self.venue, &tx).await;
        true
    }

    /// Whether a sibling is still wanted by what the store has. A deadline decides by the store's clock.
    async fn is_still_needed(&self, order: &Order, purpose: Purpose) -> bool {
        let is_to_end = order.state.is_cancel_requested();
        let Some(siblings) = order.state.siblings() else { return false };
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
