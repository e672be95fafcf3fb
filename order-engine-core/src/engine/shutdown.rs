//! How a host ends its engine.

use std::time::Duration;

use super::Engine;

/// The engine could not end everything in time.
///
/// Nothing is lost: the leases of what did not end expire, and others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine could not finish within {0:?}")]
pub struct ShutdownTimedOut(pub Duration);

impl Engine {
    /// Ends the engine: nothing new is accepted or claimed, a worker's order comes to the end of its step,
    /// orders that wait are released, and subscriptions end with
    /// [`SubscribeError::Closed`](crate::SubscribeError::Closed).
    ///
    /// Stop the host's workers as well; their handlers return by themselves.
    ///
    /// # Errors
    /// If it took longer than `timeout`. Nothing is lost: leases expire.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownTimedOut> {
        let context = self.context();
        let (tasks, shutdown) = (&context.tasks, &context.tasks.shutdown);
        shutdown.drain();
        let ended = async {
            shutdown.executions_ended().await;
            tasks.close();
            shutdown.tasks_ended().await;
            context.leases.flush().await;
        };
        let result = tasks.runtime.within(timeout, ended).await;
        tasks.close();
        self.inner.publisher.hub.close();
        self.inner.feed_tail.close();
        result.ok_or(ShutdownTimedOut(timeout))
    }
}
