//! An engine over the memory store and a scripted venue.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::apalis::prelude::*;
use order_engine_core::testing::{
    Intercept, InterceptedStore, InterceptedVenue, Process, RecordingSink, ScriptedRouter, ScriptedVenue,
};
use order_engine_core::{
    DexRouter, Engine, EngineConfig, EventRecord, FeeBumpPolicy, MemoryStore, Order, OrderId, OrderRequest,
    Status, StatusSink, Submission, Venue, VenueName, execute_order,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The parts of an engine over a memory store.
#[derive(Clone, Default)]
pub struct Setup {
    pub config: EngineConfig,
    pub sinks: Vec<Arc<dyn StatusSink>>,
    pub intercept: Option<Arc<dyn Intercept>>,
    /// The router and the venue that replace the scripted ones.
    pub router: Option<Arc<dyn DexRouter>>,
    pub venue: Option<Arc<dyn Venue>>,
    /// When transactions of the only venue are replaced.
    pub fee_bumps: Option<FeeBumpPolicy>,
    /// Further venues, by their names.
    pub named_venues: Vec<(&'static str, Arc<dyn Venue>)>,
}

pub struct Fixture {
    pub engine: Engine,
    pub store: MemoryStore,
    pub router: Arc<ScriptedRouter>,
    pub venue: Arc<ScriptedVenue>,
    setup: Setup,
    process: Process,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with_config(config: EngineConfig) -> Self {
        Self::with(Setup { config, ..Setup::default() }).await
    }

    pub async fn with_sinks(sinks: impl IntoIterator<Item = RecordingSink>) -> Self {
        let sinks = sinks.into_iter().map(|sink| Arc::new(sink) as Arc<dyn StatusSink>).collect();
        Self::with(Setup { sinks, ..Setup::default() }).await
    }

    pub async fn with(mut setup: Setup) -> Self {
        let retry = &mut setup.config.retry;
        for budget in [&mut retry.transient, &mut retry.requote] {
            budget.backoff.jitter_percent = 0;
        }
        Self::start(MemoryStore::new(), Arc::default(), Arc::default(), setup).await
    }

    async fn start(
        store: MemoryStore,
        router: Arc<ScriptedRouter>,
        venue: Arc<ScriptedVenue>,
        setup: Setup,
    ) -> Self {
        let process = Process::new();
        let mut engine = Engine::builder()
            .store(Arc::new(store.clone()))
            .router(router.clone())
            .config(setup.config.clone())
            .runtime(process.runtime());
        let mut main: Arc<dyn Venue> = venue.clone();
        if let Some(intercept) = &setup.intercept {
            let store = InterceptedStore::new(Arc::new(store.clone()), Arc::clone(intercept));
            main = Arc::new(InterceptedVenue::new(main, Arc::clone(intercept)));
            engine = engine.store(Arc::new(store));
        }
        if let Some(router) = &setup.router {
            engine = engine.router(Arc::clone(router));
        }
        engine = engine.venue(setup.venue.clone().unwrap_or(main));
        if let Some(policy) = setup.fee_bumps {
            engine = engine.fee_bumps(VenueName::default(), policy);
        }
        for (name, venue) in &setup.named_venues {
            engine = engine.named_venue(*name, Arc::clone(venue));
        }
        for sink in &setup.sinks {
            engine = engine.sink(Arc::clone(sink));
        }
        let engine = engine.build().await.unwrap();
        Self { engine, store, router, venue, setup, process }
    }

    /// Starts another process over the same store and venue.
    pub async fn restart(&self) -> Self {
        self.restart_with(self.setup.clone()).await
    }

    /// Starts another process over the same store and venue, with other parts.
    pub async fn restart_with(&self, setup: Setup) -> Self {
        Self::start(self.store.clone(), self.router.clone(), self.venue.clone(), setup).await
    }

    /// Kills this process, and starts another one.
    pub async fn crash(self, worker: Worker) -> Self {
        self.process.kill().await;
        worker.kill().await;
        self.restart().await
    }

    pub async fn submit(&self, request: OrderRequest) -> Arc<Order> {
        match self.engine.submit(request).await.unwrap() {
            Submission::Created(order) => order,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a worker as a host does.
    pub fn work(&self) -> Worker {
        self.work_with(10)
    }

    /// Runs a worker with so many slots.
    pub fn work_with(&self, slots: usize) -> Worker {
        let engine = self.engine.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let monitor = Monitor::new().register(move |n| {
            WorkerBuilder::new(format!("worker-{n}")).backend(engine.backend(slots)).build(execute_order)
        });
        let task = tokio::spawn(async move {
            monitor
                .run_with_signal(async {
                    let _ = stopped.await;
                    Ok(())
                })
                .await
                .unwrap();
        });
        Worker { stop, task }
    }

    /// Waits until an order has ended, without a subscription.
    pub async fn until_terminal(&self, id: OrderId) -> Order {
        loop {
            let order = self.engine.order(id).await.unwrap().expect("the order exists");
            if order.status().is_terminal() {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn events_to_the_end(&self, id: OrderId) -> Vec<EventRecord> {
        self.reaches(id, |record| record.status.is_terminal()).await
    }

    /// Waits for an event, and returns all events up to it.
    pub async fn reaches(
        &self,
        id: OrderId,
        is_it: impl Fn(&EventRecord) -> bool + Send + Sync,
    ) -> Vec<EventRecord> {
        let mut subscription = self.engine.subscribe(id, 0).await.unwrap().expect("the order exists");
        let mut records = Vec::new();
        let reached = async {
            while let Some(record) = subscription.next().await {
                records.push(EventRecord::clone(&record.unwrap()));
                if is_it(records.last().unwrap()) {
                    return;
                }
            }
            panic!("the order ended elsewhere");
        };
        tokio::time::timeout(Duration::from_hours(1), reached).await.expect("in an hour of paused time");
        records
    }
}

pub struct Worker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Worker {
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub fn statuses(records: &[EventRecord]) -> Vec<Status> {
    let mut statuses: Vec<Status> = records.iter().map(|record| record.status).collect();
    statuses.dedup();
    statuses
}
