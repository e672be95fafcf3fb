//! How an engine is put together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, mpsc, watch};

use super::lifecycle::Lifecycle;
use super::{Engine, Handle, Inner};
use crate::committer::Committer;
use crate::fanout::Fanout;
use crate::heads::Heads;
use crate::hub::Hub;
use crate::lease::{self, LeaseKeeper};
use crate::telemetry;
use crate::{
    DexRouter, EngineConfig, OrderStore, Runtime, SinkGuarantee, StatusSink, StatusSource, StoreError, Venue,
};

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
    /// [`Engine::forget_sink`].
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
        let fanout = Fanout::start(Hub::new(config.subscription_capacity), best_effort, &runtime);
        let (keeper, give_backs) = LeaseKeeper::new(runtime.clone(), config.lease_duration);
        runtime.spawner.spawn("give back", Box::pin(lease::give_back(Arc::clone(&store), give_backs)));
        let (arrivals, arrivals_queue) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            committer: Committer::start(
                Arc::clone(&store),
                Arc::clone(&fanout),
                &runtime,
                config.commit_batch,
            ),
            heads: Heads::start(Arc::clone(&store), &runtime),
            store,
            router,
            venue,
            runtime,
            fanout,
            sources: self.sources,
            keeper,
            arrivals,
            arrivals_queue: Mutex::new(Some(arrivals_queue)),
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

/// A bound of zero would stop everything, and an interval of zero would never rest.
fn check(config: &EngineConfig) -> Result<(), BuildError> {
    let settings = [
        ("worker_slots", config.worker_slots == 0),
        ("lease_duration", config.lease_duration.is_zero()),
        ("poll_interval", config.poll_interval.is_zero()),
        ("step_timeout", config.step_timeout.is_zero()),
        ("observe_interval", config.observe_interval.is_zero()),
        ("observe_batch", config.observe_batch == 0),
        ("observe_capacity", config.observe_capacity == 0),
        ("subscription_capacity", config.subscription_capacity == 0),
        ("commit_batch", config.commit_batch == 0),
        ("sink_concurrency", config.sink_concurrency == 0),
        ("sink_timeout", config.sink_timeout.is_zero()),
        ("gauge_interval", config.gauge_interval.is_zero()),
        ("quarantine_after", config.quarantine_after == 0),
        ("retry.max_attempts", config.retry.max_attempts == 0),
    ];
    match settings.iter().find(|(_, is_zero)| *is_zero) {
        Some((name, _)) => Err(BuildError::Zero(name)),
        None => Ok(()),
    }
}
