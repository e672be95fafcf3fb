//! Engines with workers, as separate processes have them.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::testing::Process;
use order_engine_core::{
    Amount, Engine, EngineBuilder, EngineConfig, OrderId, OrderRequest, OrderStore, Status, Submission,
};
use order_engine_postgres::PostgresFanout;
use order_engine_sim::{Rate, SimConfig, Simulator, default_tokens};
use tokio::task::JoinHandle;

/// Returns a chain on which everything succeeds at once.
pub async fn simulator() -> Simulator {
    let config = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
    Simulator::open(config, order_engine_core::Runtime::tokio()).await.unwrap()
}

pub fn request() -> OrderRequest {
    let tokens = default_tokens();
    OrderRequest::new("alice", tokens[0].clone(), tokens[1].clone(), Amount::new(1_000_000_000))
        .with_slippage_bps(100)
}

pub fn builder(store: Arc<dyn OrderStore>, simulator: &Simulator) -> EngineBuilder {
    Engine::builder().store(store).router(simulator.router()).venue(simulator.venue())
}

/// Returns an engine that polls so seldom that only the fan-out can wake it.
pub async fn listening(store: Arc<dyn OrderStore>, simulator: &Simulator, fanout: PostgresFanout) -> Engine {
    let mut config = EngineConfig::default();
    config.poll_interval = Duration::from_hours(1);
    let engine = builder(store, simulator).sink(fanout.sink()).source(fanout.source()).config(config);
    let engine = engine.build().await.unwrap();
    while !engine.health().await.sources_connected {
        tokio::task::yield_now().await;
    }
    engine
}

/// Runs a worker on an engine, until it is aborted.
pub fn work(engine: &Engine) -> JoinHandle<()> {
    tokio::spawn(engine.run(32))
}

/// Submits an order that must be new.
pub async fn submit(engine: &Engine) -> OrderId {
    match engine.submit(request()).await.unwrap() {
        Submission::Created(order) => order.id,
        other => panic!("{other:?}"),
    }
}

/// Watches an order until it is confirmed, and checks that every event comes once.
pub async fn watch(engine: &Engine, id: OrderId) {
    let mut events = engine.subscribe(id, 0).await.unwrap().unwrap();
    let (mut seen, mut last) = (0, Status::Pending);
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        seen += 1;
        assert_eq!(event.seq, seen, "an event is missing or doubled");
        last = event.status;
    }
    assert_eq!(last, Status::Confirmed);
}

/// Ends an engine as a kill ends a process.
pub async fn kill(process: Process, worker: JoinHandle<()>) {
    process.kill().await;
    worker.abort();
    let _ = worker.await;
}
