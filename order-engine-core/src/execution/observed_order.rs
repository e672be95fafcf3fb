//! Orders whose transactions are observed, and the queue by which they reach the observer.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::commit::committer::CommitError;
use crate::domain::event::UnknownReason;
use crate::domain::transaction::SignedTx;
use crate::execution::context::Context;
use crate::execution::error::ExecuteError;
use crate::execution::leased_order::LeasedOrder;

/// An order whose transaction is observed.
#[derive(Debug)]
pub(crate) struct ObservedOrder {
    pub(super) order: LeasedOrder,
    /// When this process last sent the transaction.
    pub(super) last_sent: Option<DateTime<Utc>>,
    /// How many observations in a row brought no news.
    pub(super) quiet_observations: u32,
    /// Whether the venue did not know the transaction at the last observation, and it may still land.
    pub(super) is_absent: bool,
    /// Since when the outcome of the transaction has been in doubt, and why.
    pub(super) doubt: Option<(UnknownReason, DateTime<Utc>)>,
    /// With how many others at most the venue may be asked about the transaction, this one included.
    pub(super) batch_max: usize,
    _slot: OwnedSemaphorePermit,
}

impl ObservedOrder {
    pub(crate) const fn new(
        order: LeasedOrder,
        last_sent: Option<DateTime<Utc>>,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            order,
            last_sent,
            quiet_observations: 0,
            is_absent: false,
            doubt: None,
            batch_max: usize::MAX,
            _slot: slot,
        }
    }

    pub(super) fn transaction(&self) -> Option<&SignedTx> {
        self.order.order().state.live_transaction()
    }
}

/// The queue of orders that the observer is to take. Clones put into the same queue.
#[derive(Clone, Debug)]
pub(crate) struct ObserveQueue {
    orders: mpsc::UnboundedSender<ObservedOrder>,
    /// One slot for each order that the observer can hold.
    slots: Arc<Semaphore>,
}

/// The observer's end of the queue.
pub(crate) type ObserveReceiver = mpsc::UnboundedReceiver<ObservedOrder>;

impl ObserveQueue {
    pub(crate) fn new(capacity: usize) -> (Self, ObserveReceiver) {
        // Bounded by the slots, one of which each order in the queue takes.
        let (orders, receiver) = mpsc::unbounded_channel();
        (Self { orders, slots: Arc::new(Semaphore::new(capacity)) }, receiver)
    }

    pub(crate) const fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Hands an order to the observer. If the observer has no slot free, the order waits in the store.
    pub(crate) async fn push(
        &self,
        context: &Context,
        mut order: LeasedOrder,
        last_sent: Option<DateTime<Utc>>,
    ) -> Result<(), ExecuteError> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            self.push_observed(ObservedOrder::new(order, last_sent, slot));
            return Ok(());
        }
        match order.release(&context.committer, context.config.observe_interval).await {
            Ok(()) => Ok(()),
            Err(CommitError::Closed) => Err(ExecuteError::Closed),
            Err(CommitError::Store(error)) => Err(ExecuteError::Store(error)),
            Err(_) => Err(ExecuteError::LeaseLost),
        }
    }

    /// Hands an order that has a slot to the observer. Returns whether there is an observer: without one the
    /// engine has shut down, and dropping the order releases its lease.
    pub(crate) fn push_observed(&self, observed: ObservedOrder) -> bool {
        self.orders.send(observed).is_ok()
    }
}
