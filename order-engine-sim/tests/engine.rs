//! The engine on a chain with every kind of fault, in processes that are killed repeatedly: the ledger shows
//! at most one execution per order, and every order ends as the ledger says.
//!
//! To run more seeds: `SEEDS=200 cargo test --release -p order-engine-sim --all-features --test engine`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use order_engine_core::testing::{Process, SeededEntropy};
use order_engine_core::{
    Amount, Engine, EngineConfig, MemoryStore, OrderId, OrderRequest, Runtime, Status, Submission, TokioClock,
};
use order_engine_sim::{Execution, FaultConfig, Rate, SimConfig, Simulator, default_tokens};
use tokio::task::JoinHandle;

const ORDERS: usize = 300;

/// Returns the number of seeds to run.
fn seeds() -> u64 {
    std::env::var("SEEDS").map_or(4, |text| text.parse().expect("a number"))
}

fn everything_fails() -> FaultConfig {
    let tenth = Rate::from_percent(10).unwrap();
    FaultConfig {
        lost_request_rate: tenth,
        lost_reply_rate: tenth,
        drop_rate: tenth,
        duplicate_rate: tenth,
        delay_rate: tenth,
        delay_slots: 200,
        late_rate: Rate::from_percent(5).unwrap(),
        reorg_rate: tenth,
        node_lag_rate: tenth,
        node_lag_slots: 60,
        history_lag_rate: tenth,
        history_lag_slots: 20,
        history_prune_rate: tenth,
        history_kept_slots: 40,
        ..FaultConfig::default()
    }
}

/// An engine with a worker, in its own simulated process.
struct Worker {
    engine: Engine,
    process: Process,
    running: JoinHandle<()>,
}

impl Worker {
    async fn start(store: &MemoryStore, sim: &Simulator, surroundings: &Runtime) -> Self {
        let process = Process::new();
        let mut config = EngineConfig::default();
        config.lease_duration = Duration::from_secs(2);
        let engine = Engine::builder()
            .store(Arc::new(store.clone()))
            .router(sim.router())
            .venue(sim.venue())
            .config(config)
            .runtime(process.within(surroundings.clone()))
            .build()
            .await
            .unwrap();
        let running = tokio::spawn(engine.run(10));
        Self { engine, process, running }
    }

    async fn kill(self) {
        self.process.kill().await;
        self.running.abort();
        let _ = self.running.await;
    }
}

fn request() -> OrderRequest {
    let tokens = default_tokens();
    OrderRequest::new("alice", tokens[0].clone(), tokens[1].clone(), Amount::new(1_000_000_000))
        .with_slippage_bps(100)
}

/// Runs one seed and returns the executions, to compare runs.
async fn run(seed: u64) -> Vec<Execution> {
    let config = SimConfig { seed, ..SimConfig::default() };
    // The seed determines all random numbers and times.
    let clock = Arc::new(TokioClock::starting_at(DateTime::UNIX_EPOCH + chrono::Duration::days(20_000)));
    let surroundings = Runtime::tokio().with_clock(clock.clone()).with_entropy(SeededEntropy::new(seed));
    let sim = Simulator::open(config, surroundings.clone()).await.unwrap();
    sim.set_faults(everything_fails());
    let store = MemoryStore::with_clock(clock);
    let mut worker = Worker::start(&store, &sim, &surroundings).await;
    let mut orders: Vec<OrderId> = Vec::new();
    for _ in 0..ORDERS {
        let Submission::Created(order) = worker.engine.submit(request()).await.unwrap() else { panic!() };
        orders.push(order.id);
    }
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        worker.kill().await;
        worker = Worker::start(&store, &sim, &surroundings).await;
    }
    // The faults end, and then every order must end.
    sim.set_faults(FaultConfig::default());
    let deadline = tokio::time::Instant::now() + Duration::from_mins(30);
    let mut statuses: BTreeMap<OrderId, Status> = BTreeMap::new();
    while statuses.len() < orders.len() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "seed {seed}: {} orders hang",
            orders.len() - statuses.len()
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        for id in &orders {
            let order = worker.engine.order(*id).await.unwrap().unwrap();
            if order.status().is_terminal() {
                statuses.insert(*id, order.status());
            }
        }
    }
    for (id, status) in statuses {
        let executed = sim.executions(Some(id)).iter().filter(|execution| execution.executed).count();
        let expected = usize::from(status == Status::Confirmed);
        assert_eq!(executed, expected, "seed {seed}: order {id} is {status}");
    }
    worker.kill().await;
    sim.executions(None)
}

#[tokio::test(start_paused = true)]
async fn one_seed_is_one_run() {
    assert_eq!(run(7).await, run(7).await);
}

#[tokio::test(start_paused = true)]
async fn killed_processes_on_a_faulty_chain_execute_each_order_at_most_once() {
    for seed in 0..seeds() {
        run(seed).await;
    }
}
