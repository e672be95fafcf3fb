//! Pausing and resuming, for operators.

use super::Engine;
use crate::ports::controls::{Activity, Pause, PauseRequest, PauseScope};
use crate::ports::order_store::error::StoreError;

impl Engine {
    /// Pauses an activity, for all processes on the store, until it is [resumed](Self::resume). This process
    /// obeys at once, the others within a second, and what is under way ends its step.
    ///
    /// - Paused accepting refuses new orders with
    ///   [`SubmitError::Paused`](crate::SubmitError::Paused).
    /// - Paused routing and paused sending let orders wait. Their deadlines go on, and so does the observation
    ///   of what was sent. In the scope of [all](PauseScope::All) workers claim nothing.
    pub async fn pause(
        &self,
        activity: Activity,
        scope: PauseScope,
        reason: impl Into<String>,
    ) -> Result<(), StoreError> {
        let context = self.context();
        let request = PauseRequest { activity, scope, reason: reason.into() };
        tracing::warn!(pause.activity = %activity, pause.scope = request.scope.to_json(), reason = request.reason, "paused");
        context.tasks.supervisor.store("store.pause", context.store.pause(&request)).await?;
        context.pauses.refresh().await
    }

    /// Ends a pause. Returns whether there was one. Orders that waited go on within seconds.
    pub async fn resume(&self, activity: Activity, scope: &PauseScope) -> Result<bool, StoreError> {
        let context = self.context();
        let resumed = context.tasks.supervisor.store("store.resume", context.store.resume(activity, scope));
        let was_paused = resumed.await?;
        if was_paused {
            tracing::warn!(pause.activity = %activity, pause.scope = scope.to_json(), "resumed");
        }
        context.pauses.refresh().await?;
        Ok(was_paused)
    }

    /// Returns what is paused now.
    pub async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        let context = self.context();
        context.tasks.supervisor.store("store.pauses", context.store.pauses()).await
    }
}
