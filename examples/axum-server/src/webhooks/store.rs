//! The port to where endpoints are kept.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{StoreError, UserId};
use uuid::Uuid;

use crate::webhooks::attempt::Attempt;
use crate::webhooks::endpoint::{Endpoint, EndpointId, Progress};
use crate::webhooks::lease::Lease;

/// How many entries the log of an endpoint has at least; older ones go.
pub(crate) const LOG_ENTRIES: u64 = 500;

/// Keeps endpoints, how far delivery to them has come, and their logs.
///
/// # Contract
/// - What was answered survives a crash, unless all of the store is in memory.
/// - Each call is one atomic step, also for other processes on the same store.
/// - Leases are measured on the clock of the store.
/// - Calls end in bounded time and may be dropped.
#[async_trait]
pub(crate) trait WebhookStore: fmt::Debug + Send + Sync + 'static {
    /// Adds an endpoint, and returns true, unless its user has `most` of them.
    async fn create(&self, endpoint: &Endpoint, most: usize) -> Result<bool, StoreError>;

    /// Returns a user's endpoints, the oldest first.
    async fn endpoints(&self, user: &UserId) -> Result<Vec<Endpoint>, StoreError>;

    /// Returns endpoints of all users in the order of their ids, only those after one, at most `limit`.
    async fn all(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Endpoint>, StoreError>;

    /// Returns an endpoint, if there is one.
    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError>;

    /// Replaces an endpoint's settings, and with `restart` its progress as well, by those of `endpoint`, if its revision is still that of
    /// `endpoint`. The revision grows, and nobody has the lease any more.
    async fn update(&self, endpoint: &Endpoint, restart: bool) -> Result<bool, StoreError>;

    /// Removes an endpoint with its log. Returns whether there was one.
    async fn delete(&self, id: EndpointId) -> Result<bool, StoreError>;

    /// Renews the leases of a holder for a duration, and takes enabled endpoints that nobody has, as long as it then has `most` at most.
    /// Returns all the leases that the holder has.
    async fn lease(&self, holder: Uuid, duration: Duration, most: usize) -> Result<Vec<Lease>, StoreError>;

    /// Gives a lease up. Nobody takes the endpoint before the pause is over.
    async fn release(&self, lease: &Lease, pause: Duration) -> Result<(), StoreError>;

    /// Writes the progress of who has the lease, and adds attempts to the log. Returns false, without an effect, if the lease is lost.
    async fn advance(
        &self,
        lease: &Lease,
        progress: &Progress,
        attempts: &[Attempt],
    ) -> Result<bool, StoreError>;

    /// Adds an attempt to the log of an endpoint, if there is such an endpoint.
    async fn log(&self, id: EndpointId, attempt: &Attempt) -> Result<(), StoreError>;

    /// Returns entries of the log with their numbers, the newest first, only those before a number, at most `limit`.
    async fn attempts(
        &self,
        id: EndpointId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Attempt)>, StoreError>;
}
