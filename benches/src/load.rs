//! Drives an engine in process: submits orders, watches each to its end, and checks what it is told.
//!
//! `cargo run --release -p order-engine-benches --bin load -- --help`

use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis::prelude::{Monitor, WorkerBuilder, WorkerBuilderExt};
use clap::{Parser, ValueEnum};
use order_engine_core::{
    Amount, Durability, Engine, EngineConfig, MemoryStore, OrderRequest, OrderStore, Runtime, Status,
    Submission, execute_order,
};
use order_engine_postgres::PostgresStore;
use order_engine_postgres::testing::fresh_schema;
use order_engine_sim::{Rate, SimConfig, Simulator, default_tokens};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use tokio::task::JoinSet;

/// Executes orders on a simulated venue that takes no time, through the apalis worker, and prints the rate.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How many orders a run executes.
    #[arg(long, default_value_t = 10_000)]
    orders: usize,
    /// How many runs, of which the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How many callers submit and watch at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How many orders the worker executes at a time.
    #[arg(long, default_value_t = 64)]
    slots: usize,
    /// Where orders are kept.
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    store: Store,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Store {
    Memory,
    Sqlite,
    /// In the server that `ORDER_ENGINE_TEST_POSTGRES_URL` names, or in one that is started for it.
    Postgres,
}

/// What one run measured.
struct Run {
    per_second: f64,
    /// From the submission to the terminal event in the subscriber's hands, sorted.
    latencies: Vec<Duration>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let (store, durability) = open(args.store, folder.path()).await?;
    let config = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
    let simulator = Simulator::open(config, Runtime::tokio()).await?;
    let engine = start(&args, store, &simulator).await?;
    println!(
        "{:?} store, durability {durability:?}, {} slots, {} clients, {} cores",
        args.store,
        args.slots,
        args.clients,
        std::thread::available_parallelism()?
    );
    let mut rates = Vec::with_capacity(args.runs);
    for number in 1..=args.runs {
        let run = run(&engine, &args).await;
        let at = |share: usize| run.latencies[(run.latencies.len() - 1) * share / 1_000];
        println!(
            "run {number}: {} orders, {:.0} a second; submit to confirmed p50 {:?}, p99 {:?}, p99.9 {:?}",
            args.orders,
            run.per_second,
            at(500),
            at(990),
            at(999)
        );
        rates.push(run.per_second);
    }
    rates.sort_by(f64::total_cmp);
    println!("median {:.0} a second", rates[rates.len() / 2]);
    check(&simulator, args.orders * args.runs);
    engine.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

async fn open(
    store: Store,
    folder: &std::path::Path,
) -> Result<(Arc<dyn OrderStore>, Durability), Box<dyn std::error::Error>> {
    let store: Arc<dyn OrderStore> = match store {
        Store::Memory => Arc::new(MemoryStore::new()),
        Store::Sqlite => Arc::new(SqliteStore::open(SqliteOptions::new(folder.join("orders.db"))).await?),
        Store::Postgres => Arc::new(PostgresStore::open(fresh_schema()).await?),
    };
    let durability = store.durability();
    Ok((store, durability))
}

async fn start(
    args: &Args,
    store: Arc<dyn OrderStore>,
    simulator: &Simulator,
) -> Result<Engine, Box<dyn std::error::Error>> {
    let mut config = EngineConfig::default();
    config.worker_slots = args.slots;
    let engine = Engine::builder()
        .store(store)
        .router(simulator.router())
        .venue(simulator.venue())
        .config(config)
        .build()
        .await?;
    let (worker_engine, slots) = (engine.clone(), args.slots);
    let monitor = Monitor::new().register(move |n| {
        WorkerBuilder::new(format!("load-{n}"))
            .backend(worker_engine.backend())
            .concurrency(slots)
            .build(execute_order)
    });
    tokio::spawn(monitor.run());
    Ok(engine)
}

/// Every client submits an order, watches it to its end, and then submits the next.
async fn run(engine: &Engine, args: &Args) -> Run {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..args.clients {
        let share = args.orders / args.clients + usize::from(client < args.orders % args.clients);
        let engine = engine.clone();
        clients.spawn(async move {
            let mut latencies = Vec::with_capacity(share);
            for _ in 0..share {
                let begun = Instant::now();
                one(&engine).await;
                latencies.push(begun.elapsed());
            }
            latencies
        });
    }
    let mut latencies: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    #[allow(clippy::cast_precision_loss)] // Counts of orders are far below 2⁵³.
    let per_second = args.orders as f64 / begun.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Run { per_second, latencies }
}

/// Executes one order.
///
/// # Panics
/// If it is not confirmed, or an event is missing or doubled.
async fn one(engine: &Engine) {
    let submission = engine.submit(request()).await.expect("the store takes the order");
    let Submission::Created(order) = submission else { panic!("an order without a key is new") };
    let mut events =
        engine.subscribe(order.id, 0).await.expect("the store answers").expect("it was just created");
    let (mut last, mut seen) = (Status::Pending, 0);
    while let Some(event) = events.next().await {
        let event = event.expect("a subscriber that keeps up is not told otherwise");
        seen += 1;
        assert_eq!(event.seq, seen, "an event is missing or doubled");
        last = event.status;
    }
    assert_eq!(last, Status::Confirmed);
}

/// # Panics
/// If an order was executed twice, or not at all.
fn check(simulator: &Simulator, orders: usize) {
    let mut executed: Vec<_> =
        simulator.executions(None).iter().map(|execution| execution.order_id).collect();
    executed.sort_unstable();
    executed.dedup();
    assert_eq!(executed.len(), orders, "orders that executed");
    assert_eq!(simulator.executions(None).len(), orders, "executions");
    println!(
        "{orders} orders confirmed, each executed once by the ledger, every event delivered once and in order"
    );
}

fn request() -> OrderRequest {
    let mut tokens = default_tokens().into_iter();
    let (Some(input), Some(output)) = (tokens.next(), tokens.next()) else {
        unreachable!("the list has five")
    };
    OrderRequest {
        user_id: "load".into(),
        client_order_id: None,
        input,
        output,
        amount: Amount::new(1_000_000_000),
        slippage_bps: 50,
        deadline: None,
    }
}
