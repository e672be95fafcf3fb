//! Executing an order now: what every worker does.

use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::Engine;
use crate::domain::ids::OrderId;
use crate::execution::claimer;
use crate::execution::error::ExecuteError;
use crate::execution::openings::ClaimedOrder;
use crate::execution::workers::Counted;
use crate::telemetry::trace::TraceContext;

/// An order to execute: the argument of [`Engine::execute`].
///
/// A task that a worker of this engine gets has its claim. A task from a queue of the host's own only names the
/// order, and claims it first; that there is nothing to do for it is no error.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderTask {
    /// The order.
    pub order_id: OrderId,
    #[serde(skip)]
    claim: Option<ClaimedOrder>,
    #[serde(skip)]
    started: Option<Counted>,
}

impl OrderTask {
    /// Returns a task that claims the order itself.
    pub const fn new(order_id: OrderId) -> Self {
        Self { order_id, claim: None, started: None }
    }

    /// Returns a task for a claimed order, with what counts it as started until its execution ends.
    pub(super) fn claimed(claim: ClaimedOrder, started: Option<Counted>) -> Self {
        Self { order_id: claim.order.order().id, claim: Some(claim), started }
    }
}

impl Engine {
    /// Executes one order as far as it goes now: for tasks of a queue of the host's own, and for hosts that
    /// work order by order. Does nothing if the order is not due for a worker.
    ///
    /// Such executions take no slots, so no pair of tokens is limited to a share of them; the host's queue
    /// decides how many orders are executed at a time.
    ///
    /// # Errors
    /// Why it could not go on. The order is safe: another claim continues it.
    pub async fn execute(&self, task: OrderTask) -> Result<(), ExecuteError> {
        let OrderTask { order_id, claim, started: _started } = task;
        let context = self.context();
        self.ensure_observer();
        let trace = TraceContext::of_order(order_id);
        let span = trace.sync_scope(|| tracing::info_span!("order", order.id = %order_id));
        let _running = context.tasks.shutdown.enter_execution();
        // In a box, because the state of a whole execution is large, and each caller and layer around it would
        // copy it.
        let execution = Box::pin(async {
            // The slot is taken until the execution ends.
            let (order, _slot) = match claim {
                Some(ClaimedOrder { order, slot }) => (order, Some(slot)),
                None => match claimer::claim_order(context, order_id).await {
                    Ok(Some(order)) => (order, None),
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(ExecuteError::Store(error)),
                },
            };
            let executed =
                context.tasks.supervisor.guard("execution", self.inner.executor.execute(order)).await;
            executed.unwrap_or_else(|panicked| Err(ExecuteError::Panicked(panicked.part)))
        });
        let executed = trace.scope(execution.instrument(span)).await;
        context.workers.task_done();
        executed
    }
}
