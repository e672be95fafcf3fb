#![doc = include_str!("../README.md")]

use std::pin::pin;
use std::time::Duration;

use apalis::prelude::{BoxDynError, Data, Monitor, TaskSink, WorkerBuilder, WorkerBuilderExt};
use apalis_postgres::{Config, PostgresStorage};
use order_engine_core::telemetry::chain;
use order_engine_core::{Engine, OrderTask, Runtime, enqueue_due_orders, execute_order, until_queue_stalls};
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
    let mut sweeping = pin!(sweeping);
    loop {
        tokio::select! {
            () = &mut sweeping => return Ok(()),
            ended = worker(&engine, &storage, slots).run() => return Ok(ended?),
            () = until_queue_stalls(&engine, sweep_interval * 50) => {
                tracing::warn!("the storage's worker stands still although orders are due, a new one begins");
            }
        }
    }
}

/// Returns a worker that executes the jobs of a storage.
fn worker(engine: &Engine, storage: &PostgresStorage<OrderTask>, slots: usize) -> Monitor {
    let (engine, storage) = (engine.clone(), storage.clone());
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
    worker.should_restart(|_, _| true)
}

/// Executes an order as far as possible now. The job succeeds in any case: the order becomes due again by
/// itself, and the storage would repeat a failed job at once.
async fn execute(task: OrderTask, engine: Data<Engine>) {
    let order_id = task.order_id;
    if let Err(error) = execute_order(task, engine).await {
        tracing::warn!(order.id = %order_id, error = %chain(&error), "an order is left to the sweeper");
    }
}
