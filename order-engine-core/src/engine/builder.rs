//! How an engine is put together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};

use super::shutdown::Lifecycle;
use super::{Engine, Handle, Inner};
use crate::commit::committer::Committer;
use crate::commit::store_clock::StoreClock;
use crate::config::EngineConfig;
use crate::delivery::heads::Heads;
use crate::delivery::publisher::Fanout;
use crate::delivery::subscribers::Hub;
use crate::domain::retry_policy::{Backoff, RetryPolicy};
use crate::execution::bulkhead::Bulkheads;
use crate::execution::executor::Turns;
use crate::execution::lease::{self, LeaseManager};
use crate::execution::observer::Observer;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::router::DexRouter;
use crate::ports::runtime::Runtime;
use crate::ports::sink::{SinkGuarantee, StatusSink};
use crate::ports::source::StatusSource;
use crate::ports::venue::Venue;
use crate::resilience::breaker::Breakers;
use crate::resilience::supervisor::Supervisor;
use crate::telemetry;

/// Puts an [`Engine`] together. A store, a router and a venue are required.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct EngineBuilder {
    store: Option<Arc<dyn OrderStore>>,
    router: Option<Arc<dyn DexRouter>>,
    venue: Option<Arc<dyn Venue>>,
    sinks: Vec<Arc<dyn StatusSink>>,
    sources: Vec<Arc<dyn StatusSource>>,
    config: EngineConfig,
    runtime: Option<Runtime>,
}

/// Why an engine cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A required part is missing.
    #[error("an engine needs a {0}")]
    Missing(&'static str),
    /// A setting makes no sense.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// A setting is so long that the engine could not count with it.
    #[error("{0} must be at most a year")]
    TooLong(&'static str),
    /// Two durable sinks have one name.
    #[error("two durable sinks are called '{0}'")]
    SinkNameTaken(Arc<str>),
    /// The store cannot take orders.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EngineBuilder {
    /// Where orders are kept.
    pub fn store(mut self, store: Arc<dyn OrderStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Who proposes routes.
    pub fn router(mut self, router: Arc<dyn DexRouter>) -> Self {
        self.router = Some(router);
        self
    }

    /// Where transactions go.
    pub fn venue(mut self, venue: Arc<dyn Venue>) -> Self {
        self.venue = Some(venue);
        self
    }

    /// One more that is told of committed events, as its [guarantee](StatusSink::guarantee) says. A
    /// durable one is registered in the store when the engine is built, and stays registered until
    /// [`Engine::unregister_sink`].
    pub fn sink(mut self, sink: Arc<dyn StatusSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// One more that tells of events committed by other processes.
    pub fn source(mut self, source: Arc<dyn StatusSource>) -> Self {
        self.sources.push(source);
        self
    }

    /// Bounds and intervals.
    pub fn config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self
    }

    /// Time, randomness and tasks; the real ones, on tokio, unless set.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Builds the engine and starts its background tasks. Orders are executed once a worker runs
    /// on [`Engine::backend`].
    ///
    /// # Errors
    /// If a part is missing, a setting makes no sense, or the store cannot take orders.
    pub async fn build(self) -> Result<Engine, BuildError> {
        let store = self.store.ok_or(BuildError::Missing("store"))?;
        let router = self.router.ok_or(BuildError::Missing("router"))?;
        let venue = self.venue.ok_or(BuildError::Missing("venue"))?;
        check(&self.config)?;
        store.check().await?;
        let runtime = self.runtime.unwrap_or_else(Runtime::tokio);
        let config = self.config;
        telemetry::describe();
        let (durable, best_effort): (Vec<_>, Vec<_>) =
            self.sinks.into_iter().partition(|sink| sink.guarantee() == SinkGuarantee::Durable);
        register(&*store, &durable).await?;
        let supervisor = Supervisor::new(runtime.clone());
        let store_clock =
            StoreClock::start(Arc::clone(&store), runtime.clone(), Arc::clone(&supervisor)).await?;
        let store_clock = Arc::new(store_clock);
        let hub = Hub::new(config.subscription_capacity);
        let fanout = Fanout::start(hub, best_effort, &runtime, &supervisor, Arc::clone(&store_clock));
        let (keeper, give_backs) = LeaseManager::new(runtime.clone(), config.lease_duration);
        let give_back = lease::give_back(Arc::clone(&supervisor), Arc::clone(&store), give_backs);
        runtime.spawner.spawn("give back", Box::pin(give_back));
        let (arrivals, arrivals_queue) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            committer: Committer::start(
                Arc::clone(&store),
                Arc::clone(&fanout),
                &runtime,
                &supervisor,
                config.commit_batch,
            ),
            store_clock,
            heads: Heads::start(Arc::clone(&store), &runtime, &supervisor),
            turns: Turns::default(),
            bulkheads: Bulkheads::new(config.worker_slots, runtime.clone()),
            router_breakers: Breakers::new(config.breaker, runtime.clone()),
            venue_breakers: Breakers::new(config.breaker, runtime.clone()),
            observe_breakers: Breakers::new(config.breaker, runtime.clone()),
            supervisor,
            store,
            router,
            venue,
            runtime,
            fanout,
            sources: self.sources,
            keeper,
            arrivals,
            observer: Mutex::new(Some(Observer::new(arrivals_queue))),
            observe_slots: Arc::new(Semaphore::new(config.observe_capacity)),
            execute_wakes: watch::Sender::new(()),
            observe_wakes: watch::Sender::new(()),
            lifecycle: Lifecycle::new(),
            config,
        });
        inner.start(durable);
        Ok(Engine { handle: Arc::new(Handle { inner }) })
    }
}

/// Makes the store keep what these sinks are owed.
async fn register(store: &dyn OrderStore, durable: &[Arc<dyn StatusSink>]) -> Result<(), BuildError> {
    if durable.is_empty() {
        return Ok(());
    }
    let names: Vec<Arc<str>> = durable.iter().map(|sink| sink.name().into()).collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(Arc::clone(name))) {
        return Err(BuildError::SinkNameTaken(Arc::clone(twice)));
    }
    Ok(store.register_sinks(&names).await?)
}

/// Times are added to moments, and multiplied by small numbers. Within this bound none overflows.
const MAX_DURATION: Duration = Duration::from_hours(24 * 366);

/// A bound of zero would stop everything, an interval of zero would never rest, and one without end would
/// never come.
fn check(config: &EngineConfig) -> Result<(), BuildError> {
    let RetryPolicy { transient, requote, outage, .. } = &config.retry;
    let backoff = |backoff: &Backoff| Duration::from_millis(backoff.max_ms);
    let durations = [
        ("lease_duration", config.lease_duration),
        ("poll_interval", config.poll_interval),
        ("step_timeout", config.step_timeout),
        ("quote_ttl", config.quote_ttl),
        ("observe_interval", config.observe_interval),
        ("resend_interval", config.resend_interval),
        ("unknown_after", config.unknown_after),
        ("absent_after", config.absent_after),
        ("sink_timeout", config.sink_timeout),
        ("gauge_interval", config.gauge_interval),
        ("sink_backoff", backoff(&config.sink_backoff)),
        ("breaker.backoff", backoff(&config.breaker.backoff)),
        ("retry.transient.backoff", backoff(&transient.backoff)),
        ("retry.requote.backoff", backoff(&requote.backoff)),
        ("retry.outage.max_wait", outage.max_wait),
        ("retry.outage.min_interval", outage.min_interval),
        ("retry.outage.max_interval", outage.max_interval),
    ];
    if let Some((name, _)) = durations.iter().find(|(_, duration)| *duration > MAX_DURATION) {
        return Err(BuildError::TooLong(name));
    }
    let settings = [
        ("worker_slots", config.worker_slots == 0),
        ("lease_duration", config.lease_duration.is_zero()),
        ("poll_interval", config.poll_interval.is_zero()),
        ("step_timeout", config.step_timeout.is_zero()),
        ("observe_interval", config.observe_interval.is_zero()),
        ("observe_batch", config.observe_batch == 0),
        ("observe_concurrency", config.observe_concurrency == 0),
        ("observe_capacity", config.observe_capacity == 0),
        ("subscription_capacity", config.subscription_capacity == 0),
        ("commit_batch", config.commit_batch == 0),
        ("sink_concurrency", config.sink_concurrency == 0),
        ("sink_timeout", config.sink_timeout.is_zero()),
        ("gauge_interval", config.gauge_interval.is_zero()),
        ("quarantine_after", config.quarantine_after == 0),
        ("breaker.max_failures", config.breaker.max_failures == 0),
        ("retry.max_attempts", config.retry.max_attempts == 0),
        ("retry.outage.min_interval", outage.min_interval.is_zero()),
    ];
    match settings.iter().find(|(_, is_zero)| *is_zero) {
        Some((name, _)) => Err(BuildError::Zero(name)),
        None => Ok(()),
    }
}
