//! The parts that the server embeds: a store, a venue, the engine, and a worker.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Monitor, MonitorError, WorkerBuilder};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    BuildError, DexRouter, Durability, Engine, EngineConfig, Runtime, StoreError, Venue, VenueName,
    execute_order,
};
use order_engine_sim::rpc::{RpcClient, RpcError, RpcOptions, RpcRouter, RpcVenue};
use order_engine_sim::{NonceConfig, SimConfig, SimError, Simulator};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::{Config, InvalidRole, Role, TxBound};
use crate::tokens::{TokenRegistry, TokenRegistryError};

/// How often processes that share a store without a fan-out look for the events of the others.
const SHARED_POLL: Duration = Duration::from_millis(200);

/// How often a venue that has not started yet is asked again.
const VENUE_POLL: Duration = Duration::from_secs(1);

/// The engine, and the worker if this process executes orders.
#[derive(Debug)]
#[must_use = "stop the host, so that running steps finish and leases are released"]
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

/// Why a host cannot start, as one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The token file has no valid registry.
    #[error(transparent)]
    Tokens(#[from] TokenRegistryError),
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The store may lose its last writes, and the operator has not accepted that.
    #[error(
        "the store may lose its last orders if its machine fails, and a lost order may be executed again; \
         configure the store to lose nothing, or use --accept-bounded-loss"
    )]
    BoundedLoss,
    /// The fan-out cannot be used.
    #[error("cannot join the fan-out")]
    Fanout(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration does not fit the role.
    #[error(transparent)]
    Role(#[from] InvalidRole),
    /// The venue's node refuses to be called.
    #[error("cannot call the venue")]
    Venue(#[from] RpcError),
    /// The simulator cannot be opened.
    #[error("cannot start the simulator")]
    Sim(#[from] SimError),
    /// The engine cannot be built.
    #[error("cannot start the engine")]
    Engine(#[from] BuildError),
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
        let tokens =
            config.tokens.as_deref().map_or_else(|| Ok(TokenRegistry::default()), TokenRegistry::read)?;
        let store = config.store.open().await?;
        if store.durability() == Durability::BoundedLoss && !config.accept_bounded_loss {
            return Err(StartError::BoundedLoss);
        }
        let fanout = config.fanout.clone().or_else(|| config.store.fanout());
        let (router, venue) = match &config.venue_url {
            Some(url) => remote(url.as_str(), venue_bound(config)).await?,
            None => {
                let simulator = Simulator::open(sim_config(config, &tokens), Runtime::tokio()).await?;
                (simulator.router(), simulator.venue())
            }
        };
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
        let worker = (config.role != Role::Api).then(|| {
            let (stop, stopped) = oneshot::channel();
            Worker { stop, task: tokio::spawn(work(engine.clone(), config.workers, stopped)) }
        });
        Ok(Self { engine, tokens, worker })
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
        let (engine, ()) = tokio::join!(self.engine.shutdown(timeout), end_worker);
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

/// The router and the venue.
type Trading = (Arc<dyn DexRouter>, Arc<dyn Venue>);

/// Returns what bounds the venue's transactions, if that is known or makes no difference: only a worker sends some.
fn venue_bound(config: &Config) -> Option<TxBound> {
    config.venue_validity.or_else(|| (config.role == Role::Api).then_some(TxBound::Height))
}

/// Returns the router and the venue behind a URL. The engine has to know what bounds the venue's transactions; if the
/// configuration does not say that, the venue is asked, and waited for.
async fn remote(url: &str, bound: Option<TxBound>) -> Result<Trading, RpcError> {
    let client = RpcClient::new(RpcOptions::new(url), Runtime::tokio())?;
    let router = RpcRouter::new(&client);
    let venue = match bound {
        Some(TxBound::Height) => RpcVenue::new(client, &router),
        Some(TxBound::Nonce) => RpcVenue::new(client, &router).with_nonces(),
        None => connect(client, &router).await?,
    };
    if let Err(error) = router.refresh().await {
        tracing::warn!(error = %chain(&error), "the pools are not known yet");
    }
    Ok((Arc::new(router), Arc::new(venue)))
}

/// Asks a node for its kind until it answers.
async fn connect(client: RpcClient, router: &RpcRouter) -> Result<RpcVenue, RpcError> {
    loop {
        match RpcVenue::connect(client.clone(), router).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chain(&error), "the venue does not answer yet");
                tokio::time::sleep(VENUE_POLL).await;
            }
            connected => return connected,
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
        nonces: (config.sim_validity == TxBound::Nonce)
            .then_some(NonceConfig { accounts: config.sim_accounts, ..NonceConfig::default() }),
        ..SimConfig::default()
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
