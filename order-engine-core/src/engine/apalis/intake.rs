//! What a worker takes: the orders that are claimed for it, and how many more it would start.
//!
//! apalis asks for a task only while the layers of the worker are ready, and does not say how many tasks they
//! would take, so that is learned. An order that cannot start goes back at once, and from then on no more
//! orders are claimed than the worker had started.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use apalis_core::worker::context::WorkerContext;
use tokio::sync::{Semaphore, mpsc};

use crate::engine::execute::OrderTask;
use crate::execution::openings::ClaimedOrder;
use crate::execution::workers::Counted;
use crate::planted::planted;

/// The orders that are claimed for one worker, between its claimer and its layers.
#[derive(Debug)]
pub(super) struct Intake {
    state: Mutex<State>,
    /// How many orders the worker has started and not ended.
    started: Arc<AtomicUsize>,
    /// The worker, after it has begun.
    worker: OnceLock<WorkerContext>,
}

#[derive(Debug)]
struct State {
    /// Bounded by the slots, one of which each order takes.
    claimed: mpsc::UnboundedReceiver<ClaimedOrder>,
    /// The slots that orders may be claimed for.
    free: Arc<Semaphore>,
    /// The slots that no orders are claimed for now. The semaphore does not have them.
    withheld: usize,
    slots: usize,
    /// How many orders the worker takes at a time, as far as is known.
    window: usize,
}

impl Intake {
    /// Returns the intake of a worker with so many slots, the slots that orders may be claimed for (none
    /// until the worker asks), and what delivers the claimed orders.
    pub(super) fn new(slots: usize) -> (Arc<Self>, Arc<Semaphore>, mpsc::UnboundedSender<ClaimedOrder>) {
        let (deliver, claimed) = mpsc::unbounded_channel();
        let free = Arc::new(Semaphore::new(0));
        let state = State { claimed, free: Arc::clone(&free), withheld: slots, slots, window: slots };
        let intake = Self { state: Mutex::new(state), started: Arc::default(), worker: OnceLock::new() };
        (Arc::new(intake), free, deliver)
    }

    /// Notes that the worker begins to poll.
    pub(super) fn begin(&self, worker: &WorkerContext) {
        // It begins once.
        let _ = self.worker.set(worker.clone());
    }

    /// Whether the worker would start another order, now or later. A worker that stops polls no more until
    /// the last order that it has started is done.
    pub(super) fn is_open(&self) -> bool {
        self.worker.get().is_some_and(|worker| !worker.is_shutting_down())
    }

    /// Returns the next order for a worker that is ready to start one. If there is none, orders may be claimed
    /// for as many slots as the worker is known to fill.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<OrderTask>> {
        let mut state = self.state();
        let next = state.claimed.poll_recv(cx);
        if next.is_pending() {
            state.ask(self.started.load(Ordering::Relaxed));
        }
        let started = || Some(Counted::new(&self.started, 1));
        next.map(|claimed| Some(OrderTask::claimed(claimed?, started())))
    }

    /// Gives back what is claimed, because the worker is not ready to start it, and lets nothing more be
    /// claimed until the worker asks.
    pub(super) fn refuse(&self, cx: &mut Context<'_>) {
        if planted!(ClaimsAreHoarded) {
            return;
        }
        let mut state = self.state();
        // An order that is delivered after this wakes the worker, which starts it or refuses it, too.
        while let Poll::Ready(Some(ClaimedOrder { order, slot })) = state.claimed.poll_recv(cx) {
            // The claimer may wait for a slot, and must not get this one.
            slot.forget();
            state.withheld += 1;
            state.window = self.started.load(Ordering::Relaxed).clamp(1, state.slots);
            drop(order);
        }
        state.withhold(usize::MAX);
    }

    /// Gives back what is claimed, and takes nothing more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.claimed.close();
        while state.claimed.try_recv().is_ok() {}
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets orders be claimed for a worker that has started some, and is ready for another one.
    fn ask(&mut self, started: usize) {
        if started >= self.window {
            // It takes more than was known.
            self.window = self.window.saturating_mul(2).min(self.slots);
        }
        let withheld = self.slots - self.window;
        if let Some(more) = self.withheld.checked_sub(withheld) {
            self.withheld = withheld;
            self.free.add_permits(more);
        } else {
            self.withhold(withheld - self.withheld);
        }
    }

    /// Withholds free slots, at most so many.
    fn withhold(&mut self, at_most: usize) {
        self.withheld += self.free.forget_permits(at_most.min(self.free.available_permits()));
    }
}
