//! The time that a step takes.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::Clock;

/// Delays each step of a venue or router.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) step_delay: Duration,
}

impl Pace {
    /// Waits for one step. Without a delay it does not yield.
    pub(crate) async fn step(&self) {
        if !self.step_delay.is_zero() {
            self.clock.sleep(self.step_delay).await;
        }
    }
}
