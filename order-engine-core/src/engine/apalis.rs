//! The worker: the one module that knows apalis.
//!
//! The order row is the job, so there is no second queue: the [`Backend`] here delivers claimed rows. It owns
//! the worker slots, because apalis does not tell a backend how many tasks run; it never fails, because a
//! failing backend would end its worker and drop what is in flight.

mod containment;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::layers::Stack;
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::data::Data;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument;
use uuid::Uuid;

use self::containment::Containment;
use super::Engine;
use crate::config::EngineConfig;
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::execution::claimer::{self, ClaimedOrder};
use crate::execution::error::ExecuteError;
use crate::execution::workers::RunningWorker;

/// An order to execute: the argument of [`execute_order`].
///
/// A task from [`Engine::backend`] has its claim. A task from a queue of the host's own only names the order,
/// and claims it first; that there is nothing to do for it is no error.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderTask {
    /// The order.
    pub order_id: OrderId,
    #[serde(skip)]
    claim: Option<ClaimedOrder>,
}

impl OrderTask {
    /// Returns a task that claims the order itself.
    pub const fn new(order_id: OrderId) -> Self {
        Self { order_id, claim: None }
    }

    pub(crate) fn into_parts(self) -> (OrderId, Option<ClaimedOrder>) {
        (self.order_id, self.claim)
    }
}

/// Executes an order until it waits, is handed to the observer, or is done.
///
/// It is safe to drop at every await, so timeouts and other tower layers work: what is committed
/// stays, and the lease is released. An order that is dropped again and again without progress is put into
/// quarantine, so a time-out has to be longer than [`EngineConfig::step_timeout`].
///
/// # Errors
/// Why the worker could not go on. The order is safe: another claim continues it. apalis' own
/// retries are not needed, and do nothing for a task without its claim that is no longer due.
pub async fn execute_order(task: OrderTask, engine: Data<Engine>) -> Result<(), ExecuteError> {
    engine.execute(task).await
}

impl Engine {
    /// Returns the due orders as an apalis backend with [`EngineConfig::worker_slots`] slots.
    ///
    /// Must be called within the runtime that the engine runs on.
    pub fn backend(&self) -> OrderBackend {
        self.ensure_observer();
        OrderBackend::new(self.clone())
    }

    /// Executes one order as far as it goes now: the way without apalis, and the way for tasks of a queue of
    /// the host's own. Does nothing if the order is not due for a worker.
    ///
    /// # Errors
    /// Why it could not go on. The order is safe: another claim continues it.
    pub async fn execute(&self, task: OrderTask) -> Result<(), ExecuteError> {
        let (order_id, claimed) = task.into_parts();
        let context = self.context();
        self.ensure_observer();
        let span = tracing::info_span!("order", order.id = %order_id);
        let _running = context.tasks.shutdown.enter_execution();
        async {
            // The slot is taken until the execution ends.
            let (order, _slot) = match claimed {
                Some(ClaimedOrder { order, slot }) => (order, Some(slot)),
                None => match claimer::claim_order(context, order_id).await {
                    Ok(Some(order)) => (order, None),
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(ExecuteError::Store(Arc::new(error))),
                },
            };
            let executed =
                context.tasks.supervisor.guard("execution", self.inner.executor.execute(order)).await;
            executed.unwrap_or_else(|panicked| Err(ExecuteError::Panicked(panicked.part)))
        }
        .instrument(span)
        .await
    }
}

/// The due orders as an apalis backend, made by [`Engine::backend`].
#[derive(Debug)]
#[must_use = "a backend does nothing unless a worker polls it"]
pub struct OrderBackend {
    engine: Engine,
    tasks: mpsc::UnboundedReceiver<ClaimedOrder>,
    /// Counts the worker from its first poll to its end.
    running: Option<RunningWorker>,
    flush: Option<Flush>,
}

/// Waits until the leases of undelivered orders are released.
struct Flush(BoxFuture<'static, ()>);

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flush")
    }
}

impl OrderBackend {
    pub(crate) fn new(engine: Engine) -> Self {
        let context = Arc::clone(engine.context());
        // As many as there are slots can be in this queue, and no more.
        let (deliver, tasks) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(context.config.worker_slots));
        let claimed = Arc::clone(&context);
        context.tasks.keep_running("claimer", move || {
            let deliver = deliver.clone();
            let deliver = move |claimed| deliver.send(claimed).is_ok();
            claimer::run(Arc::clone(&claimed), Lane::Execute, Arc::clone(&slots), deliver)
        });
        Self { engine, tasks, running: None, flush: None }
    }
}

impl Backend for OrderBackend {
    type Task = Task<OrderTask>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        if self.flush.is_none() {
            self.running.get_or_insert_with(|| self.engine.context().workers.begin());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.tasks.poll_recv(cx).map(|claimed| Some(Ok(task(claimed?))))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.running = None;
        let Self { engine, tasks, flush, .. } = self;
        let flush = flush.get_or_insert_with(|| {
            // The leases of orders that were not started are released as the orders are dropped.
            tasks.close();
            while tasks.try_recv().is_ok() {}
            let engine = engine.clone();
            Flush(Box::pin(async move { engine.context().leases.flush().await }))
        });
        flush.0.poll_unpin(cx).map(Ok)
    }
}

impl BackendConfig for OrderBackend {
    type Args = OrderTask;
    type Id = Uuid;
    type Kind = Ephemeral;
    type Config = EngineConfig;
    type Layer = Stack<Data<Engine>, Containment>;

    fn config(&self) -> &EngineConfig {
        &self.engine.context().config
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        let supervisor = Arc::clone(&self.engine.context().tasks.supervisor);
        Stack::new(Data::new(self.engine.clone()), Containment::new(supervisor))
    }
}

fn task(claimed: ClaimedOrder) -> Task<OrderTask> {
    let order_id = claimed.order.order().id;
    TaskBuilder::new(OrderTask { order_id, claim: Some(claimed) })
        .task_id(TaskId::from_string(order_id.to_string()))
        .build()
}
