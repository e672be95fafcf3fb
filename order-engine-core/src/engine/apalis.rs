//! The worker under apalis: the one module that knows it.
//!
//! The order row is the job, so there is no second queue: the [`Backend`] here delivers claimed rows. It owns
//! the worker's slots, because apalis does not tell a backend how many tasks run; it never fails, because a
//! failing backend would end its worker and drop what is in flight.

mod intake;
mod layer;

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
use uuid::Uuid;

use self::intake::Intake;
use self::layer::WorkerLayer;
use super::Engine;
use super::execute::OrderTask;
use crate::config::EngineConfig;
use crate::domain::state::step::Lane;
use crate::execution::claimer;
use crate::execution::error::ExecuteError;
use crate::execution::openings::Deliver;
use crate::execution::workers::RunningWorker;

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
    /// Returns the due orders as an apalis backend, of which the worker executes at most `slots` at a time; an
    /// order that waits takes no slot. Zero is taken as one.
    ///
    /// Without layers that limit it, the worker executes as many orders at a time as there are slots. If a
    /// layer admits fewer, no more orders stay claimed than it admits. Orders of one pair of tokens take three
    /// quarters of the slots of this process' workers at most.
    ///
    /// Must be called within the runtime that the engine runs on.
    pub fn backend(&self, slots: usize) -> OrderBackend {
        self.ensure_observer();
        OrderBackend::new(self.clone(), claimer::valid_slots(slots))
    }
}

/// The due orders as an apalis backend, made by [`Engine::backend`].
#[derive(Debug)]
#[must_use = "a backend does nothing unless a worker polls it"]
pub struct OrderBackend {
    engine: Engine,
    slots: usize,
    intake: Arc<Intake>,
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
    fn new(engine: Engine, slots: usize) -> Self {
        let (intake, free, deliver) = Intake::new(slots);
        let (context, receiver) = (Arc::clone(engine.context()), Arc::downgrade(&intake));
        let deliver: Arc<Deliver> = Arc::new(move |claimed| {
            let is_open = receiver.upgrade().is_some_and(|intake| intake.is_open());
            is_open && deliver.send(claimed).is_ok()
        });
        engine.context().tasks.keep_running("claimer", move || {
            claimer::run(Arc::clone(&context), Lane::Execute, Arc::clone(&free), Arc::clone(&deliver))
        });
        Self { engine, slots, intake, running: None, flush: None }
    }
}

impl Drop for OrderBackend {
    fn drop(&mut self) {
        self.intake.close();
    }
}

impl Backend for OrderBackend {
    type Task = Task<OrderTask>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        if self.flush.is_none() && self.running.is_none() {
            self.intake.begin(worker);
            self.running = Some(self.engine.context().workers.begin(self.slots));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.intake.poll_next(cx).map(|next| next.map(|task| Ok(with_id(task))))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.running = None;
        let Self { engine, intake, flush, .. } = self;
        let flush = flush.get_or_insert_with(|| {
            // The leases of orders that were not started are released as the orders are dropped.
            intake.close();
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
    type Layer = Stack<Data<Engine>, WorkerLayer>;

    fn config(&self) -> &EngineConfig {
        &self.engine.context().config
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        let supervisor = Arc::clone(&self.engine.context().tasks.supervisor);
        let outermost = WorkerLayer::new(Arc::clone(&self.intake), supervisor);
        Stack::new(Data::new(self.engine.clone()), outermost)
    }
}

fn with_id(task: OrderTask) -> Task<OrderTask> {
    let id = TaskId::from_string(task.order_id.to_string());
    TaskBuilder::new(task).task_id(id).build()
}
