#![doc = include_str!("../README.md")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    let mut sweeping = pin!(sweeping);
    loop {
        let done = Arc::<AtomicU64>::default();
        tokio::select! {
            () = &mut sweeping => return Ok(()),
            ended = worker(&engine, &storage, slots, &done).run() => return Ok(ended?),
            () = until_stalled(&engine, &done, sweep_interval) => {
                tracing::warn!("the storage's worker stands still although orders are due, a new one begins");
            }
        }
    }
}

/// Returns a worker that executes the jobs of a storage and counts those that are done.
fn worker(
    engine: &Engine,
    storage: &PostgresStorage<OrderTask>,
    slots: usize,
    done: &Arc<AtomicU64>,
) -> Monitor {
    let (engine, storage, done) = (engine.clone(), storage.clone(), Arc::clone(done));
    let worker = Monitor::new().register(move |restart| {
        // The name is new at each start: a worker with the name of an earlier one would strand its running
        // jobs.
        let name =
            format!("orders-{}-{}-{restart}", std::process::id(), Runtime::tokio().entropy.next_u128());
        WorkerBuilder::new(name)
            .backend(storage.clone())
            .data(engine.clone())
            .data(Arc::clone(&done))
            .catch_panic()
            .concurrency(slots)
            .build(execute)
    });
    worker.should_restart(|_, _| true)
}

/// Returns when no job was done for fifty sweeps although orders were due at their beginning and their end: the worker of
/// the storage can stop for good without an error. What it has begun is safe to drop.
async fn until_stalled(engine: &Engine, done: &AtomicU64, sweep_interval: Duration) {
    let clock = Runtime::tokio().clock;
    let has_due = async || engine.due_orders(1).await.is_ok_and(|due| !due.is_empty());
    loop {
        let (before, was_due) = (done.load(Ordering::Relaxed), has_due().await);
        clock.sleep(sweep_interval * 50).await;
        if was_due && done.load(Ordering::Relaxed) == before && has_due().await {
            return;
        }
    }
}

/// Executes an order as far as possible now. The job succeeds in any case: the order becomes due again by
/// itself, and the storage would repeat a failed job at once.
async fn execute(task: OrderTask, engine: Data<Engine>, done: Data<Arc<AtomicU64>>) {
    let order_id = task.order_id;
    if let Err(error) = execute_order(task, engine).await {
        tracing::warn!(order.id = %order_id, error = %chain(&error), "an order is left to the sweeper");
    }
    done.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use order_engine_core::MemoryStore;
    use order_engine_core::testing::{ScriptedRouter, ScriptedVenue, request};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_stands_still_if_orders_are_due_and_nothing_is_done() {
        let engine = Engine::builder()
            .store(MemoryStore::new())
            .router(ScriptedRouter::new())
            .venue(ScriptedVenue::new());
        let engine = engine.build().await.unwrap();
        let (done, sweep) = (AtomicU64::default(), Duration::from_millis(100));
        let wait = Duration::from_mins(1);
        assert!(
            tokio::time::timeout(wait, until_stalled(&engine, &done, sweep)).await.is_err(),
            "nothing is due"
        );
        engine.submit(request()).await.unwrap();
        let working = async {
            loop {
                tokio::time::sleep(Duration::from_secs(4)).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = until_stalled(&engine, &done, sweep) => panic!("it works"),
            () = working => {}
            () = tokio::time::sleep(wait) => {}
        }
        tokio::time::timeout(wait, until_stalled(&engine, &done, sweep)).await.expect("it stands still");
    }
}
