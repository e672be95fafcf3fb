//! The engine in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis::prelude::{Monitor, WorkerBuilder};
use order_engine_core::testing::InterceptedStore;
use order_engine_core::{
    Amount, Durability, Engine, OrderId, OrderRequest, OrderStore, Runtime, Status, Submission, Subscription,
    execute_order,
};
use order_engine_sim::{Rate, SimConfig, Simulator, default_tokens};

use crate::args::{Args, Watch};
use crate::commits::{Commits, Life};
use crate::databases::Databases;
use crate::drive::{Followed, Target};
use crate::error::Result;
use crate::ledger;

/// The longest time that an engine may take to shut down.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// An engine with a worker, and maybe a second one whose subscribers follow its orders.
pub(crate) struct InProcess {
    engine: Engine,
    /// The engine of the subscribers, if there are any.
    watching: Option<Engine>,
    commits: Arc<Commits>,
    simulator: Simulator,
    request: OrderRequest,
}

impl InProcess {
    /// Starts the engine and its worker.
    ///
    /// # Errors
    /// If a part cannot be started.
    pub(crate) async fn start(args: &Args, databases: &Databases) -> Result<Self> {
        let config = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
        let simulator = Simulator::open(config, Runtime::tokio()).await?;
        let commits = Arc::<Commits>::default();
        let store = InterceptedStore::new(databases.open().await?, commits.clone());
        let build = async |store: Arc<dyn OrderStore>| {
            let engine = Engine::builder().store(store).router(simulator.router()).venue(simulator.venue());
            Result::Ok(databases.join(engine).await?.build().await?)
        };
        let engine = build(Arc::new(store)).await?;
        let watching = match args.watch {
            Watch::None => None,
            Watch::All => Some(engine.clone()),
            Watch::Elsewhere => Some(build(databases.open().await?).await?),
        };
        let (worker_engine, slots) = (engine.clone(), args.slots);
        let monitor = Monitor::new().register(move |restart| {
            WorkerBuilder::new(format!("load-{restart}"))
                .backend(worker_engine.backend(slots))
                .build(execute_order)
        });
        tokio::spawn(monitor.run());
        Ok(Self { engine, watching, commits, simulator, request: request()? })
    }

    /// Returns what the store's commits survive.
    pub(crate) fn durability(&self) -> Durability {
        self.engine.durability()
    }

    /// Shuts the engine down, and returns how often the ledger executed each order.
    ///
    /// # Errors
    /// If it does not end in time.
    pub(crate) async fn stop(&self) -> Result<BTreeMap<OrderId, usize>> {
        self.engine.shutdown(SHUTDOWN).await?;
        if let Some(watching) = &self.watching {
            watching.shutdown(SHUTDOWN).await?;
        }
        Ok(ledger::count(&self.simulator.executions(None)))
    }
}

impl Target for InProcess {
    type Client = ();

    async fn connect(&self) -> Result<()> {
        Ok(())
    }

    async fn submit(&self, (): &mut ()) -> Result<OrderId> {
        match self.engine.submit(self.request.clone()).await? {
            Submission::Created(order) => Ok(order.id),
            other => Err(format!("an order without a client order id is not new: {other:?}").into()),
        }
    }

    async fn follow(&self, id: OrderId) -> Result<Option<Followed>> {
        let received = match &self.watching {
            None => None,
            Some(engine) => Some(receive(engine, id).await?),
        };
        let life = self.commits.life(id).await.ok_or("the record of the commits is gone")?;
        let ended = life.ended().ok_or("an order ended without an event")?;
        if life.end() != Some(Status::Confirmed) {
            return Err(format!("order {id} ended as {:?}", life.end()).into());
        }
        let delivered = received.map_or_else(|| Ok(Vec::new()), |received| received.check(&life))?;
        Ok(Some(Followed { ended, delivered }))
    }

    async fn wait_for_ends(&self, _orders: usize) -> Result<()> {
        // Each order was followed to its end.
        Ok(())
    }

    async fn stored_lives(&self, _orders: usize) -> Result<Vec<Duration>> {
        Ok(Vec::new())
    }
}

/// The deliveries to a subscriber.
struct Received {
    /// The times of the deliveries, in the order of the events.
    at: Vec<Instant>,
    /// The number of events that were committed before the subscription.
    history: u64,
}

/// Follows an order to its end.
async fn receive(engine: &Engine, id: OrderId) -> Result<Received> {
    let mut events: Subscription = engine.subscribe(id, 0).await?.ok_or("an accepted order is unknown")?;
    let mut received = Received { at: Vec::new(), history: events.last_seq() };
    while let Some(event) = events.next().await {
        let event = event?;
        received.at.push(Instant::now());
        if event.seq != received.at.len() as u64 {
            return Err(
                format!("order {id}: event {} came as number {}", event.seq, received.at.len()).into()
            );
        }
    }
    Ok(received)
}

impl Received {
    /// Compares the deliveries with the commits. Returns the age of each event that was delivered live.
    fn check(&self, life: &Life) -> Result<Vec<Duration>> {
        if self.at.len() as u64 != life.events() {
            return Err(
                format!("{} events were delivered, and {} committed", self.at.len(), life.events()).into()
            );
        }
        let delivered_live = (1..).zip(&self.at).filter(|(seq, _)| *seq > self.history);
        Ok(delivered_live
            .filter_map(|(seq, at)| Some(at.saturating_duration_since(life.committed(seq)?)))
            .collect())
    }
}

/// Returns a request to sell one SOL for USDC.
fn request() -> Result<OrderRequest> {
    let tokens = default_tokens();
    let [input, output, ..] = tokens.as_slice() else { return Err("the simulator has no pair".into()) };
    Ok(OrderRequest::new("load", input.clone(), output.clone(), Amount::new(1_000_000_000)))
}
