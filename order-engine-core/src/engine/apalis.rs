//! The worker: the one module that knows apalis.
//!
//! The order row is the job, so there is no second queue: the [`Backend`] here hands out claims on
//! rows. It owns the worker slots, because apalis does not tell a backend how many tasks run; it
//! never fails, because a failing backend would end its worker and drop what is in flight.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::data::Data;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::config::EngineConfig;
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::engine::Engine;
use crate::execution::claimer::{self, Claimed};
use crate::execution::executor::ExecuteError;

/// An order to execute: the argument of [`execute_order`].
///
/// A task from [`Engine::backend`] carries its claim. One that only names the order, from a queue
/// of the host's own, claims the row first; if there is nothing to do for it, that is no error.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderTask {
    /// The order.
    pub order_id: OrderId,
    #[serde(skip)]
    claim: Option<Claimed>,
}

impl OrderTask {
    /// A task that claims the order itself.
    pub const fn new(order_id: OrderId) -> Self {
        Self { order_id, claim: None }
    }

    pub(crate) fn into_parts(self) -> (OrderId, Option<Claimed>) {
        (self.order_id, self.claim)
    }
}

/// Executes an order until it waits, is handed to the observer, or is done.
///
/// It is safe to drop at every await, so timeouts and other tower layers work: what is committed
/// stays, and the order is given back.
///
/// # Errors
/// Why the worker could not go on. The order is safe: another claim continues it. apalis' own
/// retries are not needed, and do nothing for a task without its claim that is no longer due.
pub async fn execute_order(task: OrderTask, engine: Data<Engine>) -> Result<(), ExecuteError> {
    engine.execute(task).await
}

/// Due orders as an apalis backend, made by [`Engine::backend`].
#[derive(Debug)]
#[must_use = "a backend does nothing unless a worker polls it"]
pub struct OrderBackend {
    engine: Engine,
    tasks: mpsc::UnboundedReceiver<Claimed>,
    closing: Option<Closing>,
}

struct Closing(BoxFuture<'static, ()>);

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Closing")
    }
}

impl OrderBackend {
    pub(crate) fn new(engine: Engine) -> Self {
        let inner = engine.inner();
        // As many as there are slots can be in this queue, and no more.
        let (deliver, tasks) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(inner.config.worker_slots));
        let dispatched = Arc::clone(inner);
        inner.keep_running("dispatcher", move || {
            let deliver = deliver.clone();
            let deliver = move |claimed| deliver.send(claimed).is_ok();
            claimer::run(Arc::clone(&dispatched), Lane::Execute, Arc::clone(&slots), deliver)
        });
        Self { engine, tasks, closing: None }
    }
}

impl Backend for OrderBackend {
    type Task = Task<OrderTask>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
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
        let Self { engine, tasks, closing } = self;
        let closing = closing.get_or_insert_with(|| {
            // What was claimed and not started goes back as it is dropped.
            tasks.close();
            while tasks.try_recv().is_ok() {}
            let engine = engine.clone();
            Closing(Box::pin(async move { engine.inner().keeper.flush().await }))
        });
        closing.0.poll_unpin(cx).map(Ok)
    }
}

impl BackendConfig for OrderBackend {
    type Args = OrderTask;
    type Id = Uuid;
    type Kind = Ephemeral;
    type Config = EngineConfig;
    type Layer = Data<Engine>;

    fn config(&self) -> &EngineConfig {
        &self.engine.inner().config
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Data<Engine> {
        Data::new(self.engine.clone())
    }
}

fn task(claimed: Claimed) -> Task<OrderTask> {
    let order_id = claimed.active.order().id;
    TaskBuilder::new(OrderTask { order_id, claim: Some(claimed) })
        .task_id(TaskId::from_string(order_id.to_string()))
        .build()
}
