//! The workers of this process that take orders now, and their slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the workers of a process, their slots, and the tasks that they did.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    running: Arc<AtomicUsize>,
    slots: Arc<AtomicUsize>,
    done: AtomicU64,
}

/// A worker that takes orders until this is dropped.
#[derive(Debug)]
pub(crate) struct RunningWorker {
    _running: Counted,
    _slots: Counted,
}

/// An amount that a counter has until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    counter: Arc<AtomicUsize>,
    amount: usize,
}

impl Workers {
    /// Counts a worker that begins to take orders.
    pub(crate) fn begin(&self, slots: usize) -> RunningWorker {
        RunningWorker { _running: Counted::new(&self.running, 1), _slots: Counted::new(&self.slots, slots) }
    }

    /// Returns how many workers take orders now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Returns the slots of all workers that take orders now.
    pub(crate) fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    /// Counts a task that is done, whatever its result.
    pub(crate) fn task_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many tasks were done in this process.
    pub(crate) fn tasks_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Counted {
    /// Adds an amount to a counter.
    pub(crate) fn new(counter: &Arc<AtomicUsize>, amount: usize) -> Self {
        counter.fetch_add(amount, Ordering::Relaxed);
        Self { counter: Arc::clone(counter), amount }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.amount, Ordering::Relaxed);
    }
}
