//! What the server embeds: a store, the simulator, the engine over both, and a worker.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Monitor, MonitorError, WorkerBuilder, WorkerBuilderExt};
use order_engine_core::{
    BuildError, DexRouter, Durability, Engine, EngineConfig, Runtime, StoreError, Venue, execute_order,
};
use order_engine_sim::rpc::{RpcClient, RpcError, RpcOptions, RpcRouter, RpcVenue};
use order_engine_sim::{SimConfig, SimError, Simulator};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::{Config, InvalidRole, Role};
use crate::tokens::{TokenRegistry, TokenRegistryError};

/// How long a crashed process keeps its orders from the next one. The store is a file of this
/// machine, so a lease needs no slack for a slow network.
const LEASE: Duration = Duration::from_secs(10);

/// How often processes that share a store look for what the others wrote where nobody tells them.
const SHARED_POLL: Duration = Duration::from_millis(200);

/// The parts that serve requests: an engine whose orders are executed in this process.
#[derive(Debug)]
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// The tokens that orders may name.
    pub tokens: TokenRegistry,
    worker: Option<Worker>,
}

/// The worker, where this process has one.
#[derive(Debug)]
struct Worker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), MonitorError>>,
}

/// Why a host cannot start: one line for whoever started it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The token file is no registry.
    #[error(transparent)]
    Tokens(#[from] TokenRegistryError),
    /// The store cannot be opened.
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    /// The store promises less than is asked for.
    #[error(
        "the store may lose its last orders when its machine fails, and an order that it forgot may then be \
         executed again; set the store up to lose nothing, or say --accept-bounded-loss"
    )]
    BoundedLoss,
    /// There can be no fan-out.
    #[error("cannot join the fan-out: {0}")]
    Fanout(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The role cannot be filled.
    #[error(transparent)]
    Role(#[from] InvalidRole),
    /// The venue's node cannot be called.
    #[error("cannot call the venue: {0}")]
    Venue(#[from] RpcError),
    /// The simulator cannot be opened.
    #[error("cannot start the simulator: {0}")]
    Sim(#[from] SimError),
    /// The engine cannot be built.
    #[error("cannot start the engine: {0}")]
    Engine(#[from] BuildError),
}

impl Host {
    /// The task of the worker, whose end makes the server unready; none where others execute orders.
    pub fn worker(&self) -> Option<AbortHandle> {
        self.worker.as_ref().map(|worker| worker.task.abort_handle())
    }

    /// Opens the store and the venue, and starts to execute what is due, unless others do.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        config.check_role()?;
        let tokens =
            config.tokens.as_deref().map_or_else(|| Ok(TokenRegistry::default()), TokenRegistry::read)?;
        let store = config.store.open().await?;
        if store.durability() == Durability::BoundedLoss && !config.accept_bounded_loss {
            return Err(StartError::BoundedLoss);
        }
        let fanout = config.fanout.clone().or_else(|| config.store.fanout());
        let (router, venue) = match &config.venue_url {
            Some(url) => remote(url).await?,
            None => {
                let simulator = Simulator::open(sim_config(config, &tokens), Runtime::tokio()).await?;
                (simulator.router(), simulator.venue())
            }
        };
        let mut engine_config = EngineConfig::default();
        engine_config.worker_slots = config.workers;
        engine_config.lease_duration = LEASE;
        if config.role != Role::All && fanout.is_none() {
            engine_config.poll_interval = SHARED_POLL;
        }
        let mut engine = Engine::builder().store(store).router(router).venue(venue).config(engine_config);
        if let Some(fanout) = fanout {
            engine = fanout.join(engine).await.map_err(StartError::Fanout)?;
        }
        let engine = engine.build().await?;
        let worker = (config.role != Role::Api).then(|| {
            let (stop, stopped) = oneshot::channel();
            Worker { stop, task: tokio::spawn(work(engine.clone(), config.workers, stopped)) }
        });
        Ok(Self { engine, tokens, worker })
    }

    /// Ends the worker and the engine: what is in hand comes to the end of its step, and what
    /// waits is given back.
    pub async fn stop(self, timeout: Duration) {
        let end_worker = async {
            if let Some(Worker { stop, task }) = self.worker {
                // An error says that the worker has ended already.
                let _ = stop.send(());
                report_end(timeout, tokio::time::timeout(timeout, task).await);
            }
        };
        let (engine, ()) = tokio::join!(self.engine.shutdown(timeout), end_worker);
        if let Err(error) = engine {
            tracing::warn!(%error, "orders in hand continue when their leases expire");
        }
    }
}

/// Says how the worker ended, unless it ended well.
fn report_end(
    timeout: Duration,
    ended: Result<Result<Result<(), MonitorError>, tokio::task::JoinError>, tokio::time::error::Elapsed>,
) {
    match ended {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!(%error, "the worker failed"),
        Ok(Err(error)) => tracing::error!(%error, "the worker ended abnormally"),
        Err(_) => tracing::warn!(timeout_s = timeout.as_secs(), "the worker did not end in time"),
    }
}

/// What proposes routes, and what trades.
type Trading = (Arc<dyn DexRouter>, Arc<dyn Venue>);

/// The venue behind a URL. It may come later than this process.
async fn remote(url: &str) -> Result<Trading, RpcError> {
    let client = RpcClient::new(RpcOptions::new(url), Runtime::tokio())?;
    let router = RpcRouter::new(&client);
    if let Err(error) = router.refresh().await {
        tracing::warn!(%error, "the venue does not answer yet");
    }
    let venue = RpcVenue::new(client, &router);
    Ok((Arc::new(router), Arc::new(venue)))
}

fn sim_config(config: &Config, tokens: &TokenRegistry) -> SimConfig {
    SimConfig {
        seed: config.sim_seed,
        step_delay: Duration::from_millis(config.sim_delay_ms),
        fail_rate: config.sim_fail_rate,
        ledger: config.ledger(),
        tokens: tokens.tokens().to_vec(),
        ..SimConfig::default()
    }
}

/// Executes orders until told to stop.
async fn work(engine: Engine, slots: usize, stopped: oneshot::Receiver<()>) -> Result<(), MonitorError> {
    Monitor::new()
        .register(move |restart| {
            WorkerBuilder::new(format!("orders-{}-{restart}", std::process::id()))
                .backend(engine.backend())
                .concurrency(slots)
                .catch_panic()
                .build(execute_order)
        })
        .should_restart(|_, _| true)
        .run_with_signal(async {
            // A sender that is gone means the same as one that sends.
            let _ = stopped.await;
            Ok(())
        })
        .await
}
