//! The settings of an engine.

use std::time::Duration;

use crate::domain::retry_policy::{Backoff, RetryPolicy};
use crate::resilience::breaker::BreakerConfig;
use crate::setters::setters;

/// The engine's bounds and intervals. The default suits a service with one store.
///
/// ```
/// use std::time::Duration;
///
/// use order_engine_core::testing::{ScriptedRouter, ScriptedVenue};
/// use order_engine_core::{BuildError, Engine, EngineConfig, MemoryStore, RetryPolicy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = EngineConfig::default()
///     .with_lease_duration(Duration::from_secs(10))
///     .with_user_in_flight_max(Some(20))
///     .with_retry(RetryPolicy::default().with_max_attempts(5));
/// let builder = || {
///     Engine::builder().store(MemoryStore::new()).router(ScriptedRouter::new()).venue(ScriptedVenue::new())
/// };
/// assert!(builder().config(config.clone()).build().await.is_ok());
///
/// // What makes no sense is refused.
/// let hasty = config.with_poll_interval(Duration::ZERO);
/// assert!(matches!(builder().config(hasty).build().await, Err(BuildError::Zero("poll_interval"))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineConfig {
    /// How long a lease lasts without renewal: after a crash, others take over after this long.
    pub lease_duration: Duration,
    /// How often the store is polled for what no hint announced.
    pub poll_interval: Duration,
    /// How long one call of a router or a venue may take.
    pub step_timeout: Duration,
    /// How old a quote may be when a transaction is built on it. An older one is quoted again, if the
    /// order has an attempt left.
    pub quote_ttl: Duration,
    /// How often a transaction that was sent is observed.
    pub observe_interval: Duration,
    /// How many transactions are observed in one call of the venue.
    pub observe_batch: usize,
    /// How many such calls are under way at a time.
    pub observe_concurrency: usize,
    /// How many sent transactions are held in memory; more than that wait in the store.
    pub observe_capacity: usize,
    /// After what time a transaction that the venue does not know is sent again.
    pub resend_interval: Duration,
    /// How many events may wait for a subscriber before its subscription ends as lagged.
    pub subscription_capacity: usize,
    /// How many orders are written at once.
    pub commit_batch: usize,
    /// After how many strikes in a row an order is put into quarantine. A panic of the worker is a strike. A
    /// worker that dies may have died of any of its orders: an order with more claims without progress than
    /// this is executed alone from then on, and each such execution without progress is a strike.
    pub quarantine_after: u32,
    /// How long the outcome of a transaction must have been unknown before an operator is called. The
    /// transaction goes on being observed all the same.
    pub unknown_after: Duration,
    /// How long the venue must not have known a transaction that may still land before an operator is called.
    /// The transaction goes on being observed all the same.
    pub absent_after: Duration,
    /// When a router (for a pair), a venue or a sink that does not answer is left alone for a while. How long
    /// a sink is left alone depends on [`sink_backoff`](Self::sink_backoff).
    pub breaker: BreakerConfig,
    /// How many orders are delivered to a durable sink at a time. At most half of them are repetitions.
    pub sink_concurrency: u32,
    /// How long a durable sink may take for one delivery.
    pub sink_timeout: Duration,
    /// The waits after deliveries that a durable sink did not take.
    pub sink_backoff: Backoff,
    /// How many orders of a user may be in flight in this process: between the building of a transaction and
    /// its outcome. Further ones wait before they are built. No cap unless set.
    pub user_in_flight_max: Option<usize>,
    /// The same for each venue.
    pub venue_in_flight_max: Option<usize>,
    /// How many transactions of an account, on a venue whose transactions have nonces, may be under way: reserved,
    /// and not yet in a block. Nodes keep few of them (16 is usual), and one that is stuck blocks all behind it.
    pub account_in_flight_max: u64,
    /// How far apart the turns of one user's orders are when more orders are due than workers can take: a user
    /// who submits many at once lets the orders of others go first. It makes no difference while workers
    /// are free. Zero: orders go first that came first.
    pub fair_share_interval: Duration,
    /// How often the backlog is counted for the metrics.
    pub gauge_interval: Duration,
    /// How often, and how soon, a failed attempt is followed by another.
    pub retry: RetryPolicy,
}

setters! {
    impl EngineConfig {
        with_lease_duration sets lease_duration: Duration;
        with_poll_interval sets poll_interval: Duration;
        with_step_timeout sets step_timeout: Duration;
        with_quote_ttl sets quote_ttl: Duration;
        with_observe_interval sets observe_interval: Duration;
        with_observe_batch sets observe_batch: usize;
        with_observe_concurrency sets observe_concurrency: usize;
        with_observe_capacity sets observe_capacity: usize;
        with_resend_interval sets resend_interval: Duration;
        with_subscription_capacity sets subscription_capacity: usize;
        with_commit_batch sets commit_batch: usize;
        with_quarantine_after sets quarantine_after: u32;
        with_unknown_after sets unknown_after: Duration;
        with_absent_after sets absent_after: Duration;
        with_breaker sets breaker: BreakerConfig;
        with_sink_concurrency sets sink_concurrency: u32;
        with_sink_timeout sets sink_timeout: Duration;
        with_sink_backoff sets sink_backoff: Backoff;
        with_user_in_flight_max sets user_in_flight_max: Option<usize>;
        with_venue_in_flight_max sets venue_in_flight_max: Option<usize>;
        with_account_in_flight_max sets account_in_flight_max: u64;
        with_fair_share_interval sets fair_share_interval: Duration;
        with_gauge_interval sets gauge_interval: Duration;
        with_retry sets retry: RetryPolicy;
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
            step_timeout: Duration::from_secs(10),
            quote_ttl: Duration::from_secs(10),
            observe_interval: Duration::from_millis(250),
            observe_batch: 256,
            observe_concurrency: 4,
            observe_capacity: 10_000,
            resend_interval: Duration::from_secs(2),
            subscription_capacity: 256,
            commit_batch: 256,
            quarantine_after: 3,
            unknown_after: Duration::from_secs(30),
            absent_after: Duration::from_mins(5),
            breaker: BreakerConfig::default(),
            sink_concurrency: 32,
            sink_timeout: Duration::from_secs(10),
            sink_backoff: Backoff::default().with_max(Duration::from_mins(1)),
            user_in_flight_max: None,
            venue_in_flight_max: None,
            account_in_flight_max: 16,
            fair_share_interval: Duration::from_secs(1),
            gauge_interval: Duration::from_secs(10),
            retry: RetryPolicy::default(),
        }
    }
}
