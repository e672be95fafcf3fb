//! Accepting orders.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Engine;
use crate::commit::committer::{CommitError, OnCreated};
use crate::domain::codec::ItemRejected;
use crate::domain::ids::OrderId;
use crate::domain::order::{InvalidRequest, Order, OrderRequest};
use crate::execution::leased_order::LeasedOrder;
use crate::planted::planted;
use crate::ports::controls::{Activity, Pause};
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::lease::Lease;
use crate::ports::order_store::write::{Creation, FirstLease, NewOrder};

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// The request is an order now, and durable.
    Created(Arc<Order>),
    /// The request already was an order: the same user made it under the same client order id.
    Existing(Arc<Order>),
    /// The same user made another request under the same client order id: this order.
    Conflict(Arc<Order>),
}

impl Submission {
    /// Returns what a creation means for the request that the new order was made of.
    pub fn new(new: &NewOrder, creation: Creation) -> Self {
        match creation {
            Creation::Created => Self::Created(Arc::clone(&new.order)),
            Creation::Existing(existing) if existing.request == new.order.request => {
                Self::Existing(existing.into())
            }
            Creation::Existing(existing) => Self::Conflict(existing.into()),
        }
    }
}

/// Why a request was not accepted. Nothing is stored, unless the store did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The request breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The store cannot take this request.
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    /// The store does not answer. The order may have been accepted; a second request under the same
    /// client order id is safe.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// Accepting is [paused](Engine::pause) for all orders, this pair or this user.
    #[error("accepting orders is paused: {}", .0.reason)]
    Paused(Box<Pause>),
    /// The engine shuts down.
    #[error("the engine shuts down")]
    ShuttingDown,
}

impl Engine {
    /// Accepts an order, once for each client order id of a user.
    ///
    /// When this returns [`Submission::Created`], the order is as durable as the store promises.
    ///
    /// # Errors
    /// If the request is invalid, or the store cannot take it.
    pub async fn submit(&self, request: OrderRequest) -> Result<Submission, SubmitError> {
        self.submit_draft(self.draft(request)?).await
    }

    /// Accepts a [draft](Self::draft) of this engine, as [`submit`](Self::submit) does with a request. The order's
    /// id is known before the store is asked, so a host can tell it although the answer of the store is lost.
    ///
    /// # Errors
    /// If the store cannot take the order, or does not answer.
    pub async fn submit_draft(&self, draft: NewOrder) -> Result<Submission, SubmitError> {
        let creation = self.create(draft.clone()).await?;
        Ok(Submission::new(&draft, creation))
    }

    /// Accepts many orders, in as few writes as possible. Each succeeds or fails alone. Returns one result
    /// each, in order; of two equal client order ids the first wins.
    pub async fn submit_many(
        &self,
        requests: impl IntoIterator<Item = OrderRequest> + Send,
    ) -> Vec<Result<Submission, SubmitError>> {
        let submissions: Vec<_> = requests.into_iter().map(|request| self.submit(request)).collect();
        join_all(submissions).await
    }

    /// Makes an order of a request without accepting it: for [`submit_draft`](Self::submit_draft), or for stores
    /// that can write it within a transaction of the host's own.
    ///
    /// # Errors
    /// If the request is invalid, or the engine shuts down.
    pub fn draft(&self, request: OrderRequest) -> Result<NewOrder, SubmitError> {
        self.draft_from(request, None)
    }

    /// Makes an order that may repeat an earlier one, its origin.
    pub(super) fn draft_from(
        &self,
        request: OrderRequest,
        origin: Option<OrderId>,
    ) -> Result<NewOrder, SubmitError> {
        request.validate()?;
        let request = request.normalized();
        let context = self.context();
        if context.tasks.shutdown.is_draining() {
            return Err(SubmitError::ShuttingDown);
        }
        let venue = context.venues.only().map(|venue| &venue.name);
        if let Some(pause) = context.pauses.covering(&[Activity::Accepting], &request, venue) {
            return Err(SubmitError::Paused(Box::new(pause)));
        }
        let now = context.now();
        let handicap = self.inner.fair_share.take_turn(&request.user_id, now);
        let handicap = handicap.saturating_add(request.priority.handicap());
        let id = OrderId::new(now, context.tasks.runtime.entropy.next_u128());
        let (mut order, event) = Order::accept(id, request, context.config.retry.max_attempts, now);
        order.origin = origin;
        Ok(NewOrder::new(Arc::new(order), Arc::new(event)).with_handicap(handicap))
    }

    /// Takes the first lease of an order that a worker here can execute at once, and hands the order to the worker as
    /// soon as it is written.
    fn take_at_once(&self, new: NewOrder) -> (NewOrder, OnCreated) {
        let context = self.context();
        let is_late = new.order.request.not_before.is_some_and(|not_before| not_before > context.now());
        if is_late || context.pauses.stop_workers() {
            return (new, OnCreated::default());
        }
        let Some(slot) = context.openings.reserve() else { return (new, OnCreated::default()) };
        let lease = FirstLease::new(context.tasks.runtime.entropy.next_u128(), context.config.lease_duration);
        let (context, order) = (Arc::clone(context), Arc::clone(&new.order));
        let requested_at = context.local_now();
        let then = OnCreated::new(move || {
            let guard = context.leases.hold(Lease::new(order.id, lease.fence()), 1, requested_at);
            slot.deliver(LeasedOrder::new(order, guard));
        });
        (new.with_lease(Some(lease)), then)
    }

    /// Writes a new order, unless the user has used its client order id.
    pub(super) async fn create(&self, new: NewOrder) -> Result<Creation, SubmitError> {
        let context = self.context();
        let order = Arc::clone(&new.order);
        let (new, then) = self.take_at_once(new);
        if planted!(AnswerBeforeCommit) {
            let late = Arc::clone(context);
            context
                .tasks
                .spawn("late", Box::pin(async move { drop(late.committer.create(new, &then).await) }));
            return Ok(Creation::Created);
        }
        match context.committer.create(new, &then).await {
            Ok(creation) => {
                if creation == Creation::Created {
                    if !then.has_happened() {
                        context.wakers.wake_for(&order);
                    }
                } else {
                    self.inner.fair_share.give_back(&order.request.user_id);
                }
                Ok(creation)
            }
            Err(CommitError::Rejected(rejected)) => Err(rejected.into()),
            Err(CommitError::Store(error)) => Err(SubmitError::Store(error)),
            Err(CommitError::Append(_) | CommitError::Closed) => Err(SubmitError::ShuttingDown),
        }
    }
}
