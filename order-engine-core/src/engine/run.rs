//! The worker of the engine's own: it needs no job framework.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::Engine;
use super::execute::OrderTask;
use crate::domain::state::step::Lane;
use crate::execution::claimer;
use crate::execution::error::ExecuteError;
use crate::execution::openings::{ClaimedOrder, Deliver};
use crate::telemetry;

impl Engine {
    /// Executes due orders, at most `slots` at a time, until the engine shuts down; an order that waits takes
    /// no slot. Zero is taken as one. Returns when the last order has come to the end of its step.
    ///
    /// Each order is executed by a task of its own. A panic costs one order its execution, and is counted.
    /// Orders of one pair of tokens take three quarters of the slots of this process' workers at most.
    ///
    /// Dropped, it claims no more orders; those that it has claimed are executed on.
    pub fn run(&self, slots: usize) -> BoxFuture<'static, ()> {
        // Boxed in this crate, so that the callers' crates do not compile the engine again.
        Box::pin(work(self.clone(), claimer::valid_slots(slots)))
    }

    /// Executes a claimed order in a task of its own.
    fn start(&self, claimed: ClaimedOrder) {
        let (engine, tasks) = (self.clone(), &self.context().tasks);
        // It counts from here on: the task may begin later.
        let running = tasks.shutdown.enter_execution();
        let task = OrderTask::claimed(claimed, None);
        tasks.spawn(
            "execution",
            Box::pin(async move {
                let order_id = task.order_id;
                match engine.execute(task).await {
                    // A panic is logged where it is caught.
                    Ok(()) | Err(ExecuteError::Panicked(_)) => {}
                    Err(error) => {
                        tracing::warn!(order.id = %order_id, error = %telemetry::chain(&error), "an order is given up for now");
                    }
                }
                drop(running);
            }),
        );
    }
}

async fn work(engine: Engine, slots: usize) {
    engine.ensure_observer();
    let context = Arc::clone(engine.context());
    let running = context.workers.begin(slots);
    let free = Arc::new(Semaphore::new(slots));
    let supervisor = Arc::clone(&context.tasks.supervisor);
    let starting = engine.clone();
    let deliver: Arc<Deliver> = Arc::new(move |claimed| {
        starting.start(claimed);
        true
    });
    let claiming = supervisor.keep_running("claimer", || {
        claimer::run(Arc::clone(&context), Lane::Execute, Arc::clone(&free), Arc::clone(&deliver))
    });
    claiming.await;
    drop(running);
    context.tasks.shutdown.executions_ended().await;
}
