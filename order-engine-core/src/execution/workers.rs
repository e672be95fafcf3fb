//! The workers of this process that take orders now.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the workers of a process.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    running: AtomicUsize,
}

/// A worker that takes orders until this is dropped.
#[derive(Debug)]
pub(crate) struct RunningWorker {
    workers: Arc<Workers>,
}

impl Workers {
    /// Counts a worker that begins to take orders.
    pub(crate) fn begin(self: &Arc<Self>) -> RunningWorker {
        self.running.fetch_add(1, Ordering::Relaxed);
        RunningWorker { workers: Arc::clone(self) }
    }

    /// Returns how many workers take orders now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.workers.running.fetch_sub(1, Ordering::Relaxed);
    }
}
