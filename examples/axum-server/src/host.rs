//! The parts that the server embeds: a store, a venue, the engine, and a worker.

use std::time::Duration;

use apalis::prelude::{Monitor, MonitorError, WorkerBuilder};
use order_engine_core::telemetry::chain;
use order_engine_core::{Durability, Engine, EngineConfig, VenueName, execute_order};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::{Config, Role};
use crate::start_error::StartError;
use crate::store_pool::StorePool;
use crate::tokens::TokenRegistry;
use crate::venue::{self, ChainInfo, Trading};
use crate::webhooks::service::Webhooks;

/// How often processes that share a store without a fan-out look for the events of the others.
const SHARED_POLL: Duration = Duration::from_millis(200);

/// The engine, and the worker if this process executes orders.
#[derive(Debug)]
#[must_use = "stop the host, so that running steps finish and leases are released"]
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// The tokens that orders may name.
    pub tokens: TokenRegistry,
    /// The chain that is traded on.
    pub chain: ChainInfo,
    /// The connections to the store.
    pub store_pool: StorePool,
    /// The webhooks of users, if there are any.
    pub webhooks: Option<Webhooks>,
    delivering: Option<Delivering>,
    worker: Option<Worker>,
}

/// The worker, where this process has one.
#[derive(Debug)]
struct Worker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), MonitorError>>,
}

/// The delivery of webhooks, where there are any.
#[derive(Debug)]
struct Delivering {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Delivering {
    fn start(webhooks: Webhooks, engine: Engine, lease_duration: Duration) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            // A dropped sender means the same as a message.
            let _ = stopped.await;
        };
        Self { stop, task: tokio::spawn(webhooks.deliver(engine, lease_duration, stopped)) }
    }

    /// Gives the endpoints to other processes. What was under way is delivered again.
    async fn stop(self, timeout: Duration) {
        // An error means that it has ended already.
        let _ = self.stop.send(());
        if tokio::time::timeout(timeout, self.task).await.is_err() {
            tracing::warn!("webhooks continue when their leases expire");
        }
    }
}

impl Host {
    /// Returns the task of the worker, or `None` if other processes execute the orders.
    pub fn worker(&self) -> Option<AbortHandle> {
        self.worker.as_ref().map(|worker| worker.task.abort_handle())
    }

    /// Opens the store and the venue, and starts the worker if the role has one. Waits for a venue that has not started
    /// yet, unless the configuration says what bounds its transactions.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        config.check_role()?;
        let (store, store_pool) = config.store.open_with_pool().await?;
        if store.durability() == Durability::BoundedLoss && !config.accept_bounded_loss {
            return Err(StartError::BoundedLoss);
        }
        let fanout = config.fanout.clone().or_else(|| config.store.fanout());
        let Trading { router, venue, chain, tokens } = venue::open(config).await?;
        let mut engine_config = EngineConfig::default();
        engine_config.lease_duration = Duration::from_millis(config.lease_ms);
        if config.role != Role::All && fanout.is_none() {
            engine_config.poll_interval = SHARED_POLL;
        }
        let mut engine = Engine::builder()
            .store(store)
            .router(router)
            .venue(venue)
            .fee_bumps(VenueName::default(), config.fee_bumps.policy())
            .config(engine_config);
        if let Some(fanout) = fanout {
            engine = fanout.join(engine).await.map_err(StartError::Fanout)?;
        }
        let engine = engine.build().await?;
        let webhooks = Webhooks::open(&config.store, &config.webhooks).await?;
        let lease_duration = Duration::from_millis(config.lease_ms);
        let delivering =
            webhooks.clone().map(|webhooks| Delivering::start(webhooks, engine.clone(), lease_duration));
        let worker = (config.role != Role::Api).then(|| {
            let (stop, stopped) = oneshot::channel();
            Worker { stop, task: tokio::spawn(work(engine.clone(), config.workers, stopped)) }
        });
        Ok(Self { engine, tokens, chain, store_pool, webhooks, delivering, worker })
    }

    /// Stops the worker and the engine: running steps finish, and the orders that wait are released.
    pub async fn stop(self, timeout: Duration) {
        let end_worker = async {
            if let Some(Worker { stop, task }) = self.worker {
                // An error means that the worker has ended already.
                let _ = stop.send(());
                report_end(timeout, tokio::time::timeout(timeout, task).await);
            }
        };
        let end_delivery = async {
            if let Some(delivering) = self.delivering {
                delivering.stop(timeout).await;
            }
        };
        let (engine, (), ()) = tokio::join!(self.engine.shutdown(timeout), end_worker, end_delivery);
        if let Err(error) = engine {
            tracing::warn!(%error, "claimed orders continue when their leases expire");
        }
    }
}

/// Logs how the worker ended, unless it ended normally.
fn report_end(
    timeout: Duration,
    ended: Result<Result<Result<(), MonitorError>, tokio::task::JoinError>, tokio::time::error::Elapsed>,
) {
    match ended {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!(error = %chain(&error), "the worker failed"),
        Ok(Err(error)) => tracing::error!(%error, "the worker ended abnormally"),
        Err(_) => tracing::warn!(timeout_s = timeout.as_secs(), "the worker did not end in time"),
    }
}

/// Executes orders until `stopped` completes.
async fn work(engine: Engine, slots: usize, stopped: oneshot::Receiver<()>) -> Result<(), MonitorError> {
    Monitor::new()
        .register(move |restart| {
            WorkerBuilder::new(format!("orders-{}-{restart}", std::process::id()))
                .backend(engine.backend(slots))
                .build(execute_order)
        })
        .should_restart(|_, _| true)
        .run_with_signal(async {
            // A dropped sender means the same as a message.
            let _ = stopped.await;
            Ok(())
        })
        .await
}
