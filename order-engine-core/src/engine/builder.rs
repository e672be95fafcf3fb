//! How a host puts an engine together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Once};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::fair_share::FairShare;
use super::{Engine, Inner};
use crate::commit::committer::Committer;
use crate::commit::store_clock::StoreClock;
use crate::config::EngineConfig;
use crate::delivery::feed::tail::FeedTail;
use crate::delivery::follower::Follower;
use crate::delivery::heads::Heads;
use crate::delivery::hub::Hub;
use crate::delivery::outbox_relay::OutboxRelay;
use crate::delivery::publisher::Publisher;
use crate::delivery::wakers::LaneWakers;
use crate::domain::fee_bump::FeeBumpPolicy;
use crate::domain::ids::VenueName;
use crate::domain::retry_policy::{Backoff, RetryPolicy};
use crate::execution::context::Context;
use crate::execution::executor::Executor;
use crate::execution::holds::Holds;
use crate::execution::in_flight::InFlight;
use crate::execution::lease::{self, LeaseManager};
use crate::execution::nonces::Nonces;
use crate::execution::observer::Observers;
use crate::execution::pauses::{self, Pauses};
use crate::execution::venues::Venues;
use crate::execution::workers::Workers;
use crate::ports::into_port::IntoPort;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::router::DexRouter;
use crate::ports::runtime::Runtime;
use crate::ports::sink::{SinkGuarantee, StatusSink};
use crate::ports::source::StatusSource;
use crate::ports::venue::Venue;
use crate::resilience::tasks::Tasks;
use crate::telemetry;

/// Puts an [`Engine`] together. A store, a router and a venue are required.
///
/// ```
/// use std::sync::Arc;
///
/// use order_engine_core::testing::{ScriptedRouter, ScriptedVenue};
/// use order_engine_core::{BuildError, Engine, EngineConfig, MemoryStore, TracingSink};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new()); // A port may be shared with the host.
/// let engine = Engine::builder()
///     .store(Arc::clone(&store))
///     .router(ScriptedRouter::new())
///     .venue(ScriptedVenue::new())
///     .sink(TracingSink)
///     .config(EngineConfig::default().with_observe_batch(64))
///     .build()
///     .await?;
/// assert!(engine.health().await.store.is_ok());
///
/// let without_a_router = Engine::builder().store(store).build().await;
/// assert!(matches!(without_a_router, Err(BuildError::Missing("router"))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct EngineBuilder {
    store: Option<Arc<dyn OrderStore>>,
    router: Option<Arc<dyn DexRouter>>,
    venues: Vec<(VenueName, Arc<dyn Venue>)>,
    fee_bumps: BTreeMap<VenueName, FeeBumpPolicy>,
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
    /// No engine can drive a venue safely.
    #[error("the venue '{venue}' cannot be driven safely: {hazard}")]
    UnsafeVenue {
        /// The venue's name.
        venue: VenueName,
        /// Why.
        hazard: &'static str,
    },
    /// Two venues have one name.
    #[error("two venues are called '{0}'")]
    VenueNameTaken(VenueName),
    /// The store cannot take orders.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EngineBuilder {
    /// Sets where orders are kept.
    pub fn store(mut self, store: impl IntoPort<dyn OrderStore>) -> Self {
        self.store = Some(store.into_port());
        self
    }

    /// Sets what proposes routes.
    pub fn router(mut self, router: impl IntoPort<dyn DexRouter>) -> Self {
        self.router = Some(router.into_port());
        self
    }

    /// Adds where transactions are built, sent and observed: the [default](VenueName::default) venue, which
    /// routes are for that name no other.
    pub fn venue(self, venue: impl IntoPort<dyn Venue>) -> Self {
        self.named_venue(VenueName::default(), venue)
    }

    /// Adds a venue for the routes that [name](crate::Route::venue) it. Venues do not get in each other's way:
    /// where one does not answer, orders of the others go on.
    ///
    /// All processes on a store have the same venues under the same names. An order whose venue a process does
    /// not have waits for one that has it.
    pub fn named_venue(mut self, name: impl Into<VenueName>, venue: impl IntoPort<dyn Venue>) -> Self {
        self.venues.push((name.into(), venue.into_port()));
        self
    }

    /// Sets when the transactions of a venue are sent again for a higher fee, where the venue can replace
    /// transactions. Unless set, the [default](FeeBumpPolicy::default) holds.
    pub fn fee_bumps(mut self, venue: impl Into<VenueName>, policy: FeeBumpPolicy) -> Self {
        self.fee_bumps.insert(venue.into(), policy);
        self
    }

    /// Adds a sink that committed events are delivered to, as its [guarantee](StatusSink::guarantee) says. A
    /// durable sink is registered in the store when the engine is built, and stays registered until
    /// [`Engine::unregister_sink`].
    pub fn sink(mut self, sink: impl IntoPort<dyn StatusSink>) -> Self {
        self.sinks.push(sink.into_port());
        self
    }

    /// Adds a source of hints about what other processes have committed.
    pub fn source(mut self, source: impl IntoPort<dyn StatusSource>) -> Self {
        self.sources.push(source.into_port());
        self
    }

    /// Sets bounds and intervals.
    pub fn config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets where time, randomness and tasks come from: from the system and tokio, unless set.
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
        self.boxed_start().await
    }

    /// Boxes the future in this crate, so that the callers' crates do not compile the engine again.
    fn boxed_start(self) -> BoxFuture<'static, Result<Engine, BuildError>> {
        Box::pin(self.start())
    }

    async fn start(self) -> Result<Engine, BuildError> {
        let store = self.store.ok_or(BuildError::Missing("store"))?;
        let router = self.router.ok_or(BuildError::Missing("router"))?;
        let venues = by_name(self.venues)?;
        let config = self.config;
        check(&config)?;
        store.check().await?;
        telemetry::describe();
        let (durable, best_effort): (Vec<_>, Vec<_>) =
            self.sinks.into_iter().partition(|sink| sink.guarantee() == SinkGuarantee::Durable);
        register(&*store, &durable).await?;

        let tasks = Tasks::new(self.runtime.unwrap_or_else(Runtime::tokio));
        let Tasks { runtime, supervisor, .. } = &tasks;
        let store_clock =
            StoreClock::start(Arc::clone(&store), runtime.clone(), Arc::clone(supervisor)).await?;
        let store_clock = Arc::new(store_clock);
        let publisher = Publisher::start(Hub::new(config.subscription_capacity), best_effort, &tasks);
        let committer = Committer::start(
            Arc::clone(&store),
            Arc::clone(&publisher),
            Arc::clone(&store_clock),
            &tasks,
            config.commit_batch,
        );
        let (leases, releases) =
            LeaseManager::new(runtime.clone(), config.lease_duration, Arc::clone(&tasks.shutdown));
        let run_releases = lease::run_releases(Arc::clone(supervisor), Arc::clone(&store), releases);
        runtime.spawner.spawn("releases", Box::pin(run_releases));
        let heads = Heads::start(Arc::clone(&store), runtime, supervisor);
        let pauses = Pauses::start(Arc::clone(&store), Arc::clone(supervisor)).await?;
        let feed_tail = FeedTail::start(Arc::clone(&store), &publisher.hub, &tasks, config.poll_interval);
        let fair_share = FairShare::new(config.fair_share_interval);
        let venues = Venues::new(venues, &self.fee_bumps, config.breaker, runtime);
        let nonces = Nonces::new(config.account_in_flight_max);
        let in_flight = InFlight::new(config.user_in_flight_max, config.venue_in_flight_max);
        let wakers = Arc::new(LaneWakers::new());
        let context = Arc::new(Context {
            store,
            router,
            venues,
            config,
            store_clock,
            committer,
            leases,
            pauses,
            in_flight,
            holds: Holds::new(tasks.runtime.clone()),
            nonces,
            wakers,
            workers: Arc::new(Workers::default()),
            openings: Arc::default(),
            tasks,
        });

        let observers = Observers::new(&context);
        start_maintenance(&context);
        start_delivery(&context, &publisher, &self.sources, durable);
        let inner = Inner {
            executor: Executor::new(Arc::clone(&context), Arc::clone(&observers)),
            observers,
            observer_start: Once::new(),
            publisher,
            heads,
            feed_tail,
            fair_share,
            sources: self.sources,
            context,
        };
        Ok(Engine { inner: Arc::new(inner) })
    }
}

impl Engine {
    /// Returns a builder of an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }
}

/// Returns the venues by their names.
fn by_name(
    venues: Vec<(VenueName, Arc<dyn Venue>)>,
) -> Result<BTreeMap<VenueName, Arc<dyn Venue>>, BuildError> {
    if venues.is_empty() {
        return Err(BuildError::Missing("venue"));
    }
    let mut by_name = BTreeMap::new();
    for (name, venue) in venues {
        if let Some(hazard) = venue.capabilities().hazard() {
            return Err(BuildError::UnsafeVenue { venue: name, hazard });
        }
        if by_name.insert(name.clone(), venue).is_some() {
            return Err(BuildError::VenueNameTaken(name));
        }
    }
    Ok(by_name)
}

/// Registers durable sinks in the store, which from then on adds outbox entries for them.
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

/// Starts the renewal of leases, the setting of the clock and the counting of the backlog.
fn start_maintenance(context: &Arc<Context>) {
    let (tasks, lease_interval) = (&context.tasks, context.leases.interval());
    let shared = Arc::clone(context);
    tasks.repeat("leases", lease_interval, move || {
        let context = Arc::clone(&shared);
        async move { context.leases.renew(&*context.store).await }
    });
    let shared = Arc::clone(context);
    tasks.repeat("store clock", lease_interval, move || {
        let context = Arc::clone(&shared);
        async move { context.store_clock.refresh().await }
    });
    let shared = Arc::clone(context);
    tasks.repeat("pauses", pauses::REFRESH_INTERVAL, move || {
        let context = Arc::clone(&shared);
        async move {
            if let Err(error) = context.pauses.refresh().await {
                tracing::warn!(%error, "the pauses could not be read; those known so far hold");
            }
        }
    });
    let (store, workers) = (Arc::clone(&context.store), Arc::clone(&context.workers));
    tasks.repeat("gauges", context.config.gauge_interval, move || {
        telemetry::workers(workers.running());
        count_backlog(Arc::clone(&store))
    });
}

async fn count_backlog(store: Arc<dyn OrderStore>) {
    match store.backlog().await {
        Ok(backlog) => telemetry::backlog(&backlog),
        Err(error) => tracing::warn!(error = %telemetry::chain(&error), "the backlog could not be counted"),
    }
}

/// Starts the relays to durable sinks, and the following of what other processes commit.
fn start_delivery(
    context: &Arc<Context>,
    publisher: &Arc<Publisher>,
    sources: &[Arc<dyn StatusSource>],
    durable: Vec<Arc<dyn StatusSink>>,
) {
    let Context { store, tasks, config, wakers, .. } = &**context;
    let follower = Arc::new(Follower {
        store: Arc::clone(store),
        hub: Arc::clone(&publisher.hub),
        wakers: Arc::clone(wakers),
        shutdown: Arc::clone(&tasks.shutdown),
    });
    let polling = Arc::clone(&follower);
    tasks.repeat("hub poll", config.poll_interval, move || {
        let follower = Arc::clone(&polling);
        async move { follower.poll().await }
    });
    for source in sources {
        let (follower, source) = (Arc::clone(&follower), Arc::clone(source));
        tasks.keep_running("source", move || Arc::clone(&follower).follow(Arc::clone(&source)));
    }
    for sink in durable {
        let relay = OutboxRelay::new(sink, Arc::clone(store), publisher, tasks.clone(), config.clone());
        let relay = Arc::new(relay);
        tasks.keep_running("relay", move || Arc::clone(&relay).run());
    }
}

/// Times are added to moments, and multiplied by small numbers. Within this bound none overflows.
const MAX_DURATION: Duration = Duration::from_hours(24 * 366);

/// A bound of zero would stop everything, an interval of zero would never rest, and one without end would
/// never come.
fn check(config: &EngineConfig) -> Result<(), BuildError> {
    let RetryPolicy { transient, requote, outage, .. } = &config.retry;
    let backoff = |backoff: &Backoff| backoff.max;
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
        ("fair_share_interval", config.fair_share_interval),
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
        ("user_in_flight_max", config.user_in_flight_max == Some(0)),
        ("venue_in_flight_max", config.venue_in_flight_max == Some(0)),
        ("account_in_flight_max", config.account_in_flight_max == 0),
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
