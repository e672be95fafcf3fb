//! What the execution of orders needs.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::commit::committer::Committer;
use crate::commit::store_clock::StoreClock;
use crate::config::EngineConfig;
use crate::delivery::wakers::LaneWakers;
use crate::domain::amount::Amount;
use crate::domain::event::{OrderEvent, UnknownReason};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::retry_policy::is_expired;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::SignedTx;
use crate::execution::error::ExecuteError;
use crate::execution::holds::Holds;
use crate::execution::in_flight::InFlight;
use crate::execution::lease::LeaseManager;
use crate::execution::leased_order::LeasedOrder;
use crate::execution::nonces::Nonces;
use crate::execution::openings::Openings;
use crate::execution::pauses::Pauses;
use crate::execution::venues::{KnownVenue, Venues};
use crate::execution::workers::Workers;
use crate::planted::planted;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::router::DexRouter;
use crate::ports::venue::SubmitReport;
use crate::resilience::tasks::Tasks;
use crate::telemetry::{self, StepName};

/// What the claimers, the executor and the observer share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Arc<dyn OrderStore>,
    pub(crate) router: Arc<dyn DexRouter>,
    pub(crate) venues: Venues,
    pub(crate) config: EngineConfig,
    pub(crate) store_clock: Arc<StoreClock>,
    pub(crate) committer: Committer,
    pub(crate) leases: Arc<LeaseManager>,
    pub(crate) pauses: Pauses,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) holds: Holds,
    pub(crate) nonces: Arc<Nonces>,
    pub(crate) wakers: Arc<LaneWakers>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) openings: Arc<Openings>,
    pub(crate) tasks: Tasks,
}

impl Context {
    /// Returns the time of this process's clock.
    pub(crate) fn local_now(&self) -> DateTime<Utc> {
        self.tasks.runtime.now()
    }

    /// Returns the store's time, as far as this process knows it: the time of events.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.store_clock.now()
    }

    /// Returns the time that decides about an order's deadline: where the deadline seems to have passed,
    /// the store is asked.
    pub(crate) async fn deadline_now(&self, order: &Order) -> Result<DateTime<Utc>, StoreError> {
        let now = self.now();
        if planted!(OwnClockDecides) {
            return Ok(self.local_now());
        }
        if is_expired(order, now) { self.store_clock.ask().await } else { Ok(now) }
    }

    /// Returns the event that follows a failed attempt: another attempt or the end of the order, by the
    /// host's policy.
    pub(crate) fn retry_or_fail(&self, order: &Order, now: DateTime<Utc>) -> Option<OrderEvent> {
        self.config.retry.retry_or_fail(order, now, self.tasks.runtime.entropy.next_u128())
    }

    /// Returns the event that follows a failed attempt, without asking the store for the time: nothing if
    /// the deadline seems to decide, because that is left to a worker.
    pub(crate) fn retry_unless_late(&self, order: &Order) -> Option<OrderEvent> {
        let event = self.retry_or_fail(order, self.now());
        event.filter(|event| event.failure().is_none_or(|failure| failure.code != FailureCode::EXPIRED))
    }

    /// Returns the event that follows when the router or the venue does not answer for an order.
    pub(crate) fn defer(&self, order: &Order, failure: Failure, at_least: Duration) -> OrderEvent {
        let (now, entropy) = (self.now(), self.tasks.runtime.entropy.next_u128());
        self.config.retry.defer(order, failure, at_least, now, entropy)
    }

    /// Returns the event that follows when no route pays what an order accepts at least.
    pub(crate) fn look_again(&self, order: &Order, best: Amount) -> OrderEvent {
        self.config.retry.look_again(order, best, self.now(), self.tasks.runtime.entropy.next_u128())
    }

    /// Waits for a call of the router or the venue, for as long as the host allows.
    pub(crate) async fn in_time<T>(&self, call: impl Future<Output = T> + Send) -> Option<T> {
        self.tasks.runtime.within(self.config.step_timeout, call).await
    }

    /// Sends a committed transaction to its venue. Returns whether the venue certainly has it now.
    ///
    /// Anything but a clear yes proves nothing; the observer finds out what happened.
    pub(crate) async fn send(&self, to: &KnownVenue, tx: &SignedTx) -> bool {
        let submitted = self.tasks.supervisor.guard("venue.submit", to.venue.submit(tx));
        let submitted = telemetry::timed(StepName::Submit, &self.tasks.runtime, submitted);
        match self.in_time(submitted).await {
            Some(Ok(SubmitReport::Accepted | SubmitReport::AlreadyKnown)) => true,
            Some(Ok(
                SubmitReport::DefinitelyNotAccepted { message } | SubmitReport::Ambiguous { message },
            )) => {
                tracing::warn!(venue = %to.name, tx.id = %tx.id, message, "the venue did not take a transaction");
                false
            }
            // It may have been sent before the panic.
            Some(Err(_)) => false,
            None => {
                tracing::warn!(venue = %to.name, tx.id = %tx.id, "the venue did not answer in time");
                false
            }
        }
    }

    /// Records that nobody observes the transaction of an order here, because this process does not have its
    /// venue; unless that is new, or recorded, or the order has no transaction.
    pub(crate) fn miss_venue(&self, order: &mut LeasedOrder) -> Result<(), IllegalTransition> {
        let now = self.now();
        let Order { state, updated_at, .. } = &**order.order();
        if let Some(name) = state.venue() {
            self.venues.miss(name);
        }
        let is_new = *updated_at + self.config.unknown_after > now;
        if is_new || state.attention().is_some() || state.live_transaction().is_none() {
            return Ok(());
        }
        order.record(OrderEvent::OutcomeUnknown { reason: UnknownReason::NoVenue }, now)
    }

    /// Reads an order whose lease is held.
    pub(crate) async fn load(&self, id: OrderId) -> Result<Arc<Order>, ExecuteError> {
        let loaded = self.tasks.supervisor.store("store.load", self.store.load(id)).await;
        let order = loaded.map_err(ExecuteError::Store)?;
        // Nothing can be done for an order that is gone.
        order.map(Arc::new).ok_or(ExecuteError::LeaseLost)
    }
}
