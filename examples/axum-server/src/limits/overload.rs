//! Whether more orders wait than workers can be expected to execute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use order_engine_core::Engine;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::wire::problem::Problem;

/// How old a count of the due orders becomes. Until the next one, each accepted order counts as due.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// A bound on the orders that are due.
#[derive(Debug)]
pub(crate) struct Overload {
    max_due: u64,
    /// How many are due, at the last count and accepted since.
    due: AtomicU64,
    counted_at: Mutex<Option<Instant>>,
}

impl Overload {
    pub(crate) fn new(max_due: u64) -> Self {
        Self { max_due, due: AtomicU64::new(0), counted_at: Mutex::new(None) }
    }

    /// Refuses an order while too many are due.
    pub(crate) async fn admit(&self, engine: &Engine) -> Result<(), Problem> {
        self.count(engine).await;
        let admitted = self
            .due
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |due| (due < self.max_due).then_some(due + 1));
        admitted.map(|_| ()).map_err(|_| {
            let detail =
                "More orders wait than the server can execute soon. Nothing was accepted; try again.";
            Problem::unavailable("overloaded", detail)
        })
    }

    /// Counts the due orders, if the last count is old and nobody else counts.
    async fn count(&self, engine: &Engine) {
        let Ok(mut counted_at) = self.counted_at.try_lock() else { return };
        if counted_at.is_some_and(|counted_at| counted_at.elapsed() < COUNT_INTERVAL) {
            return;
        }
        // A store that does not answer refuses the order itself.
        if let Ok(backlog) = engine.backlog().await {
            self.due.store(backlog.execute.due, Ordering::Release);
        }
        *counted_at = Some(Instant::now());
    }
}
