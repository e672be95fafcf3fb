//! What the server embeds: a store, the simulator, the engine over both, and a worker.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Monitor, MonitorError, WorkerBuilder, WorkerBuilderExt};
use order_engine_core::{
    BuildError, Engine, EngineConfig, MemoryStore, OrderStore, Runtime, StoreError, execute_order,
};
use order_engine_sim::{SimConfig, SimError, Simulator};
use order_engine_sqlite::{OptionsError, SqliteOptions, SqliteStore};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::{Config, StoreUrl};
use crate::tokens::{TokenRegistry, TokenRegistryError};

/// How long a crashed process keeps its orders from the next one. The store is a file of this
/// machine, so a lease needs no slack for a slow network.
const LEASE: Duration = Duration::from_secs(10);

/// The parts that serve requests: an engine whose orders are executed in this process.
#[derive(Debug)]
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// The tokens that orders may name.
    pub tokens: TokenRegistry,
    stop_worker: oneshot::Sender<()>,
    worker: JoinHandle<Result<(), MonitorError>>,
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
    /// The URL names no store.
    #[error(transparent)]
    StoreUrl(#[from] OptionsError),
    /// The simulator cannot be opened.
    #[error("cannot start the simulator: {0}")]
    Sim(#[from] SimError),
    /// The engine cannot be built.
    #[error("cannot start the engine: {0}")]
    Engine(#[from] BuildError),
}

impl Host {
    /// The task of the worker, whose end makes the server unready.
    pub fn worker(&self) -> AbortHandle {
        self.worker.abort_handle()
    }

    /// Opens the store and the simulator, and starts to execute what is due.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let tokens =
            config.tokens.as_deref().map_or_else(|| Ok(TokenRegistry::default()), TokenRegistry::read)?;
        let store: Arc<dyn OrderStore> = match &config.store {
            StoreUrl::Memory => Arc::new(MemoryStore::new()),
            StoreUrl::Sqlite { url, .. } => Arc::new(SqliteStore::open(SqliteOptions::from_url(url)?).await?),
        };
        let simulator = Simulator::open(sim_config(config, &tokens), Runtime::tokio()).await?;
        let mut engine_config = EngineConfig::default();
        engine_config.worker_slots = config.workers;
        engine_config.lease_duration = LEASE;
        let engine = Engine::builder()
            .store(store)
            .router(simulator.router())
            .venue(simulator.venue())
            .config(engine_config)
            .build()
            .await?;
        let (stop_worker, stopped) = oneshot::channel();
        let worker = tokio::spawn(work(engine.clone(), config.workers, stopped));
        Ok(Self { engine, tokens, stop_worker, worker })
    }

    /// Ends the worker and the engine: what is in hand comes to the end of its step, and what
    /// waits is given back.
    pub async fn stop(self, timeout: Duration) {
        // An error says that the worker has ended already.
        let _ = self.stop_worker.send(());
        let (engine, worker) =
            tokio::join!(self.engine.shutdown(timeout), tokio::time::timeout(timeout, self.worker));
        if let Err(error) = engine {
            tracing::warn!(%error, "orders in hand continue when their leases expire");
        }
        match worker {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "the worker failed"),
            Ok(Err(error)) => tracing::error!(%error, "the worker ended abnormally"),
            Err(_) => tracing::warn!(timeout_s = timeout.as_secs(), "the worker did not end in time"),
        }
    }
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
