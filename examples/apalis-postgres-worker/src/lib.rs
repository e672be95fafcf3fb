#![doc = include_str!("../README.md")]

use std::time::Duration;

use apalis::prelude::{BoxDynError, Data, Monitor, TaskSink, WorkerBuilder, WorkerBuilderExt};
use apalis_postgres::{Config, PostgresStorage};
use order_engine_core::telemetry::chain;
use order_engine_core::{Engine, OrderTask, Runtime, enqueue_due_orders, execute_order};
use sqlx::PgPool;

/// Executes the engine's orders from a queue in the stock storage, until the engine shuts down. Orders that
/// are accepted in this process are enqueued at once, and other due orders every `sweep_interval`.
///
/// # Errors
/// If the queue cannot be set up, or the worker ends.
pub async fn work(
    engine: Engine,
    pool: PgPool,
    queue: &str,
    slots: usize,
    sweep_interval: Duration,
) -> Result<(), BoxDynError> {
    PostgresStorage::setup(&pool).await?;
    let config = Config::default().queue(queue).batch_size(slots);
    // An idle storage looks for jobs only at its next heartbeat, by default every 30 seconds. Here the
    // interval is shorter, so more heartbeats must be missed before the storage considers a worker dead.
    let config = config.heartbeat_interval(sweep_interval).missed_heartbeats(60);
    let storage = PostgresStorage::<OrderTask>::new(&pool).with_config(config);
    let queue = storage.clone();
    let sweeping = enqueue_due_orders(engine.clone(), sweep_interval, move |task| {
        let mut queue = queue.clone();
        async move { queue.push(task).await }
    });
    let worker = Monitor::new().register(move |restart| {
        // The name is new at each start: a worker with the name of an earlier one would strand its running
        // jobs.
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

/// Executes an order as far as possible now. The job succeeds in any case: the order becomes due again by
/// itself, and the storage would repeat a failed job at once.
async fn execute(task: OrderTask, engine: Data<Engine>) {
    let order_id = task.order_id;
    if let Err(error) = execute_order(task, engine).await {
        tracing::warn!(order.id = %order_id, error = %chain(&error), "an order is left to the sweeper");
    }
}
