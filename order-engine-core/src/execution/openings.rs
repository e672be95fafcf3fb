//! Free slots of this process's workers, for orders that the process itself accepts.
//!
//! An order that is accepted while a worker here has nothing to do is leased by the write that creates it, and goes
//! straight to the worker: it needs no claim. Any other order waits its turn in the store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::execution::leased_order::LeasedOrder;

/// A leased order with the slot that it takes.
#[derive(Debug)]
pub(crate) struct ClaimedOrder {
    pub(crate) order: LeasedOrder,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// Hands an order to a worker. Returns whether the worker still takes orders.
pub(crate) type Deliver = dyn Fn(ClaimedOrder) -> bool + Send + Sync;

/// The workers of a process that may have free slots.
#[derive(Debug, Default)]
pub(crate) struct Openings {
    workers: Mutex<Vec<Arc<Worker>>>,
}

struct Worker {
    slots: Arc<Semaphore>,
    /// Whether no order was due that the worker did not take, when it last looked.
    is_idle: AtomicBool,
    deliver: Arc<Deliver>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("slots", &self.slots)
            .field("is_idle", &self.is_idle)
            .finish_non_exhaustive()
    }
}

/// A worker's entry among the openings, until this is dropped.
#[derive(Debug)]
pub(crate) struct Opening {
    openings: Arc<Openings>,
    worker: Arc<Worker>,
}

/// A slot that is kept for an order which is about to be accepted.
#[derive(Debug)]
pub(crate) struct ReservedSlot {
    worker: Arc<Worker>,
    slot: OwnedSemaphorePermit,
}

impl Openings {
    fn workers(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        // Nothing in here panics while the lock is held.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a worker with these slots. It is not idle yet.
    pub(crate) fn open(self: &Arc<Self>, slots: Arc<Semaphore>, deliver: Arc<Deliver>) -> Opening {
        let worker = Arc::new(Worker { slots, is_idle: AtomicBool::new(false), deliver });
        self.workers().push(Arc::clone(&worker));
        Opening { openings: Arc::clone(self), worker }
    }

    /// Takes a free slot of an idle worker, if there is one.
    pub(crate) fn reserve(&self) -> Option<ReservedSlot> {
        self.workers().iter().filter(|worker| worker.is_idle.load(Ordering::Relaxed)).find_map(|worker| {
            let slot = Arc::clone(&worker.slots).try_acquire_owned().ok()?;
            Some(ReservedSlot { worker: Arc::clone(worker), slot })
        })
    }
}

impl Opening {
    /// Says whether other orders may be due, which have waited longer than one that is accepted now.
    pub(crate) fn set_idle(&self, is_idle: bool) {
        self.worker.is_idle.store(is_idle, Ordering::Relaxed);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.openings.workers().retain(|worker| !Arc::ptr_eq(worker, &self.worker));
    }
}

impl ReservedSlot {
    /// Hands an order to the worker. One that takes no more orders drops it, which releases its lease.
    pub(crate) fn deliver(self, order: LeasedOrder) {
        let Self { worker, slot } = self;
        (worker.deliver)(ClaimedOrder { order, slot });
    }
}
