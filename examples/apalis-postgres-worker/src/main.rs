//! Executes orders on simulated exchanges, from a queue in the stock `apalis-postgres` storage.

use std::sync::Arc;
use std::time::Duration;

use apalis_postgres_worker::work;
use clap::Parser;
use order_engine_core::{Amount, Engine, OrderRequest, Runtime, Submission};
use order_engine_postgres::{PostgresOptions, PostgresStore};
use order_engine_sim::{SimConfig, Simulator, default_tokens};
use sqlx::PgPool;

/// Submits some orders, executes them from a stock queue, and prints their events.
#[derive(Parser)]
struct Args {
    /// The URL of the database with the orders and the queue.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database: String,
    /// How many orders to submit.
    #[arg(long, default_value_t = 5)]
    orders: usize,
    /// How many orders are executed at a time.
    #[arg(long, default_value_t = 10)]
    slots: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();
    let simulator = Simulator::open(SimConfig::default(), Runtime::tokio()).await?;
    let store = PostgresStore::open(PostgresOptions::new(&args.database)?).await?;
    let engine = Engine::builder()
        .store(Arc::new(store))
        .router(simulator.router())
        .venue(simulator.venue())
        .build()
        .await?;
    let pool = PgPool::connect(&args.database).await?;
    let working = tokio::spawn({
        let engine = engine.clone();
        async move { work(engine, pool, "orders", args.slots, Duration::from_secs(1)).await }
    });
    for _ in 0..args.orders {
        let Submission::Created(order) = engine.submit(request()).await? else { continue };
        let mut events = engine.subscribe(order.id, 0).await?.ok_or("the order is gone")?;
        while let Some(event) = events.next().await {
            let event = event?;
            println!("{} {:>3} {}", order.id, event.progress, event.message());
        }
    }
    engine.shutdown(Duration::from_secs(10)).await?;
    working.await?
}

fn request() -> OrderRequest {
    let [sol, usdc, ..] = &default_tokens()[..] else { unreachable!("the list has five tokens") };
    OrderRequest::new("alice", sol.clone(), usdc.clone(), Amount::new(1_000_000_000)).with_slippage_bps(100)
}
