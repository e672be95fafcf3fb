#![doc = include_str!("../README.md")]

use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use order_engine_core::{Engine, OrderTask, Runtime, enqueue_due_orders, execute_order};
use sqlx::PgPool;

/// Executes the engine's orders from a queue in the stock storage, until the engine shuts down. Due orders
/// are looked for `every` so often, beyond those that are accepted in this process.
///
/// # Errors
/// If the queue cannot be set up, or its worker ends.
pub async fn work(
    engine: Engine,
    pool: PgPool,
    queue: &str,
    slots: usize,
    every: Duration,
) -> Result<(), BoxDynError> {
    PostgresStorage::setup(&pool).await?;
    let config = Config::default().queue(queue).batch_size(slots);
    // A storage that found nothing to do looks again at its next heartbeat, which comes every half minute
    // unless it is told otherwise; and takes a worker for dead that misses a number of them.
    let config = config.heartbeat_interval(every).missed_heartbeats(60);
    let storage = PostgresStorage::<OrderTask>::new(&pool).with_config(config);
    let queue = storage.clone();
    let sweeping = enqueue_due_orders(engine.clone(), every, move |task| {
        let mut queue = queue.clone();
        async move { queue.push(task).await }
    });
    let worker = Monitor::new().register(move |restart| {
        // A name that no other start has: whoever takes an earlier worker's name strands what it was doing.
        let name =
            format!("orders-{}-{}-{restart}", std::process::id(), Runtime::tokio().entropy.next_u128());
        WorkerBuilder::new(name)
            .backend(storage.clone())
            .data(engine.clone())
            .catch_panic()
            .concurrency(slots)
            .build(execute)
    });
    let worker = worker.should_restart(|_, _| true);
    tokio::select! {
        () = sweeping => Ok(()),
        ended = worker.run() => Ok(ended?),
    }
}

/// Executes an order as far as it goes now. The job is done with that in any case: the order says itself
/// when it is due again, and the storage would only repeat a failed job at once.
async fn execute(task: OrderTask, engine: Data<Engine>) {
    let order_id = task.order_id;
    if let Err(error) = execute_order(task, engine).await {
        tracing::warn!(order.id = %order_id, %error, "an order is left to the sweeper");
    }
}
