//! The engine: what a host holds.

pub(crate) mod admin;
pub(crate) mod apalis;
mod background;
pub(crate) mod builder;
pub(crate) mod cancel;
pub(crate) mod change;
pub(crate) mod due_orders;
mod quarantine;
pub(crate) mod resolve;
pub(crate) mod retry;
pub(crate) mod shutdown;

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::Instrument;

use crate::commit::committer::{CommitError, Committer};
use crate::commit::store_clock::StoreClock;
use crate::config::EngineConfig;
use crate::delivery::heads::Heads;
use crate::delivery::publisher::Fanout;
use crate::delivery::subscription::Subscription;
use crate::domain::amount::Amount;
use crate::domain::codec::ItemRejected;
use crate::domain::event::{EventRecord, OrderEvent};
use crate::domain::failure::FailureCode;
use crate::domain::ids::OrderId;
use crate::domain::order::{InvalidRequest, Order, OrderRequest};
use crate::domain::retry_policy::is_expired;
use crate::domain::route::{Candidate, QuoteRequest, Route, best};
use crate::domain::state::step::Lane;
use crate::engine::apalis::{OrderBackend, OrderTask};
use crate::engine::builder::EngineBuilder;
use crate::execution::bulkhead::{Bulkheads, Pair};
use crate::execution::claimer::Claimed;
use crate::execution::executor::{self, ExecuteError, Turns};
use crate::execution::lease::LeaseManager;
use crate::execution::observer::{SharedObserver, Watch};
use crate::planted::planted;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::query::{OrderQuery, UndecodableOrder};
use crate::ports::order_store::write::{Creation, NewOrder};
use crate::ports::order_store::{Durability, OrderStore};
use crate::ports::router::{DexRouter, StepError};
use crate::ports::runtime::Runtime;
use crate::ports::source::StatusSource;
use crate::ports::venue::Venue;
use crate::resilience::breaker::Breakers;
use crate::resilience::supervisor::Supervisor;
use shutdown::Lifecycle;

/// Executes orders durably. Cheap to clone; every clone is the same engine.
///
/// When the last clone is dropped, the engine stops as if it had crashed: nothing is lost, but
/// leases have to expire before others go on. [`shutdown`](Self::shutdown) gives them back.
#[derive(Clone, Debug)]
pub struct Engine {
    handle: Arc<Handle>,
}

/// Ends the background tasks when the host holds the engine no more.
#[derive(Debug)]
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.lifecycle.close();
        self.inner.supervisor.hurry();
        self.inner.fanout.hub.close();
    }
}

/// What the engine's parts share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn OrderStore>,
    pub(crate) router: Arc<dyn DexRouter>,
    pub(crate) venue: Arc<dyn Venue>,
    pub(crate) runtime: Runtime,
    pub(crate) config: EngineConfig,
    pub(crate) store_clock: Arc<StoreClock>,
    pub(crate) committer: Committer,
    heads: Heads,
    pub(crate) fanout: Arc<Fanout>,
    sources: Vec<Arc<dyn StatusSource>>,
    pub(crate) keeper: Arc<LeaseManager>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) turns: Turns,
    pub(crate) bulkheads: Arc<Bulkheads>,
    /// Before the router, for each pair.
    pub(crate) router_breakers: Breakers<Pair>,
    /// Before the venue's preparing, and before its observing.
    pub(crate) venue_breakers: Breakers<()>,
    pub(crate) observe_breakers: Breakers<()>,
    /// Where orders go whose transaction is to be watched.
    pub(crate) arrivals: mpsc::UnboundedSender<Watch>,
    /// The observer, until it is started.
    observer: Mutex<Option<SharedObserver>>,
    /// How many more orders can be watched.
    pub(crate) observe_slots: Arc<Semaphore>,
    /// Changes when an order may have become due in a lane.
    execute_wakes: watch::Sender<()>,
    observe_wakes: watch::Sender<()>,
    lifecycle: Lifecycle,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It is an order now, and durable.
    Created(Arc<Order>),
    /// It already was: the same user asked the same under the same client order id.
    Existing(Arc<Order>),
    /// The same user asked for something else under the same client order id: this.
    Conflict(Arc<Order>),
}

impl Submission {
    /// What a creation means for the request that the new order was made of.
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

/// Why a request was not accepted. Nothing is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The request breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The store cannot take this request.
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    /// The store does not answer. The order may have been accepted; asking again under the same
    /// client order id is safe.
    #[error("the store failed: {0}")]
    Store(Arc<StoreError>),
    /// The engine shuts down.
    #[error("the engine shuts down")]
    ShuttingDown,
}

/// What routing would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotation {
    /// Everything that was considered.
    pub candidates: Vec<Candidate>,
    /// The route that would be chosen; none if there is none.
    pub route: Option<Route>,
}

impl Quotation {
    /// The least output that an order with this slippage would accept on the chosen route.
    pub fn min_amount_out(&self, slippage_bps: u16) -> Option<Amount> {
        Some(self.route.as_ref()?.amount_out.less_slippage(slippage_bps))
    }
}

impl Engine {
    /// Puts an engine together.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Accepts an order, once for each client order id of a user.
    ///
    /// When this returns [`Submission::Created`], the order is as durable as the store promises.
    ///
    /// # Errors
    /// If the request is invalid, or the store cannot take it.
    pub async fn submit(&self, request: OrderRequest) -> Result<Submission, SubmitError> {
        let new = self.draft(request)?;
        let creation = self.create(new.clone()).await?;
        Ok(Submission::new(&new, creation))
    }

    /// Makes an order of a request without accepting it: for stores that can write it within a
    /// transaction of the host's own, in the place of [`submit`](Self::submit).
    ///
    /// # Errors
    /// If the request is invalid, or the engine shuts down.
    pub fn draft(&self, request: OrderRequest) -> Result<NewOrder, SubmitError> {
        self.draft_from(request, None)
    }

    /// The same for an order that repeats an earlier one.
    fn draft_from(&self, request: OrderRequest, origin: Option<OrderId>) -> Result<NewOrder, SubmitError> {
        request.validate()?;
        let inner = self.inner();
        if inner.is_stopping() {
            return Err(SubmitError::ShuttingDown);
        }
        let now = inner.now();
        let id = OrderId::new(now, inner.runtime.entropy.next_u128());
        let (mut order, event) = Order::accept(id, request, inner.config.retry.max_attempts, now);
        order.origin = origin;
        Ok(NewOrder { order: Arc::new(order), event: Arc::new(event) })
    }

    /// Writes a new order, unless its name is taken.
    async fn create(&self, new: NewOrder) -> Result<Creation, SubmitError> {
        let inner = self.inner();
        let order = Arc::clone(&new.order);
        if planted!(AnswerBeforeCommit) {
            let late = Arc::clone(inner);
            inner.spawn("late", Box::pin(async move { drop(late.committer.create(new).await) }));
            return Ok(Creation::Created);
        }
        match inner.committer.create(new).await {
            Ok(creation) => {
                if creation == Creation::Created {
                    inner.wake_for(&order);
                }
                Ok(creation)
            }
            Err(CommitError::Rejected(refused)) => Err(refused.into()),
            Err(CommitError::Store(error)) => Err(SubmitError::Store(error)),
            Err(CommitError::Append(_) | CommitError::Closed) => Err(SubmitError::ShuttingDown),
        }
    }

    /// What routing would do now, without an order.
    ///
    /// # Errors
    /// If the router could ask nobody.
    pub async fn quote(&self, request: &QuoteRequest) -> Result<Quotation, StepError> {
        let candidates = self.inner().router.quote(request).await?;
        let route = best(&candidates).cloned();
        Ok(Quotation { candidates, route })
    }

    /// An order as it is now.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let inner = self.inner();
        inner.supervisor.store("store.load", inner.store.load(id)).await
    }

    /// Orders by some properties, newest first, a page at a time. One that this program cannot read
    /// has its place in the page, with the reason.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn orders(
        &self,
        query: &OrderQuery,
    ) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        let inner = self.inner();
        inner.supervisor.store("store.list", inner.store.list(query)).await
    }

    /// At most `limit` events of an order after the one numbered `after`, oldest first.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        let inner = self.inner();
        inner.supervisor.store("store.events", inner.store.events(id, after, limit)).await
    }

    /// An order's events after the one numbered `after` (0: from the beginning), and then every
    /// further one as it commits. Nothing for an unknown order.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn subscribe(&self, id: OrderId, after: u64) -> Result<Option<Subscription>, StoreError> {
        let inner = self.inner();
        // Listening begins before the history is read, so that nothing falls between the two.
        let listener = inner.fanout.hub.listen(id);
        if inner.lifecycle.is_closing() {
            // Nobody will tell this listener anything, nor that the engine has closed.
            inner.fanout.hub.close();
        }
        let (store, supervisor) = (Arc::clone(&inner.store), Arc::clone(&inner.supervisor));
        Subscription::begin((store, supervisor), &inner.heads, listener, id, after).await
    }

    /// The due orders as an apalis backend with [`EngineConfig::worker_slots`] slots.
    ///
    /// Must be called within the runtime that the engine runs on.
    pub fn backend(&self) -> OrderBackend {
        self.inner().ensure_observer();
        OrderBackend::new(self.clone())
    }

    /// Executes one order as far as it goes now: the way without apalis, and the way for tasks
    /// that were queued elsewhere. Nothing happens if the order is not due for a worker.
    ///
    /// # Errors
    /// Why it could not go on. The order is safe: another claim continues it.
    pub async fn execute(&self, task: OrderTask) -> Result<(), ExecuteError> {
        let (order_id, claimed) = task.into_parts();
        let inner = self.inner();
        inner.ensure_observer();
        let span = tracing::info_span!("order", order.id = %order_id);
        let _running = inner.lifecycle.enter_execution();
        async {
            // The slot is taken until the execution ends.
            let (active, _permit) = match claimed {
                Some(Claimed { active, permit }) => (active, Some(permit)),
                None => match inner.claim_one(order_id).await {
                    Ok(Some(active)) => (active, None),
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(ExecuteError::Store(Arc::new(error))),
                },
            };
            let executed = inner.supervisor.guard("execution", executor::execute(inner, active)).await;
            executed.unwrap_or_else(|panicked| Err(ExecuteError::Panicked(panicked.part)))
        }
        .instrument(span)
        .await
    }

    /// What an accepted order survives.
    pub fn durability(&self) -> Durability {
        self.inner().store.durability()
    }

    /// Whether orders can be accepted now.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), StoreError> {
        let inner = self.inner();
        inner.supervisor.store("store.check", inner.store.check()).await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }
}

impl Inner {
    /// Tells the claimers that an order may be due.
    pub(crate) fn wake_for(&self, order: &Order) {
        if let Some(lane) = order.state.lane() {
            self.wake(lane);
        }
    }

    fn wake(&self, lane: Lane) {
        self.lane_wakes(lane).send_replace(());
    }

    /// Changes whenever an order may have become due in a lane.
    pub(crate) fn wakes(&self, lane: Lane) -> watch::Receiver<()> {
        self.lane_wakes(lane).subscribe()
    }

    const fn lane_wakes(&self, lane: Lane) -> &watch::Sender<()> {
        match lane {
            Lane::Execute => &self.execute_wakes,
            Lane::Observe => &self.observe_wakes,
        }
    }

    /// The store's time, as far as this process knows it: the time of events.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.store_clock.now()
    }

    /// The time by which an order's deadline is judged: where it seems to have passed, the store is asked.
    pub(crate) async fn judged_now(&self, order: &Order) -> Result<DateTime<Utc>, StoreError> {
        let now = self.now();
        if planted!(OwnClockDecides) {
            return Ok(self.runtime.now());
        }
        if is_expired(order, now) { self.store_clock.ask().await } else { Ok(now) }
    }

    /// What follows from a failed attempt, by the host's policy, at a time that is judged.
    pub(crate) fn settle(&self, order: &Order, now: DateTime<Utc>) -> Option<OrderEvent> {
        self.config.retry.settle(order, now, self.runtime.entropy.next_u128())
    }

    /// The same where nobody asks the store: nothing if the deadline seems to decide, which is then left
    /// to a worker.
    pub(crate) fn settle_unless_late(&self, order: &Order) -> Option<OrderEvent> {
        let event = self.settle(order, self.now());
        event.filter(|event| event.failure().is_none_or(|failure| failure.code != FailureCode::EXPIRED))
    }
}
