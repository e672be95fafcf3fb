//! The smallest host: an engine on a file, a worker, and one order from its first event to its last.

use std::{error::Error, sync::Arc, time::Duration};

use order_engine_core::{Amount, Engine, OrderRequest, OrderStore, Runtime, Submission};
use order_engine_sim::{SimConfig, Simulator};
use order_engine_sqlite::{SqliteOptions, SqliteStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "orders.db".into());
    // This line chooses the store. `Arc::new(order_engine_core::MemoryStore::new())` would choose another
    // one.
    let store: Arc<dyn OrderStore> = Arc::new(SqliteStore::open(SqliteOptions::new(path)).await?);

    let config = SimConfig::default();
    let (sol, usdc) = (config.tokens[0].clone(), config.tokens[1].clone());
    let sim = Simulator::open(config, Runtime::tokio()).await?;
    let engine = Engine::builder().store(store).router(sim.router()).venue(sim.venue()).build().await?;
    tokio::spawn(engine.run(10));

    let amount = Amount::parse_human("1.5", sol.decimals)?;
    let request = OrderRequest::new("alice", sol, usdc, amount);
    let Submission::Created(order) = engine.submit(request).await? else { return Err("not created".into()) };
    let mut events = engine.subscribe(order.id, 0).await?.ok_or("the order is gone")?;
    while let Some(event) = events.next().await {
        let event = event?;
        println!("{:>3} {:<9} {}", event.progress, event.status, event.message());
    }
    Ok(engine.shutdown(Duration::from_secs(10)).await?)
}
