//! Cancelling: decided by one write, against whatever a worker does at the same time.

use std::sync::Arc;

use super::Engine;
use crate::committer::CommitError;
use crate::retry::cancelled;
use crate::{Append, AppendError, FailureCode, Guard, Order, OrderEvent, OrderId, Refused, StoreError, Then};

/// What came of a cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The order is cancelled: nothing was sent and nothing will be.
    Cancelled(Arc<Order>),
    /// A transaction is signed and may land. If it lands the order is confirmed all the same; if
    /// it dies the order is cancelled, and nothing is built again.
    Pending(Arc<Order>),
    /// The order had come to its end before.
    TooLate(Arc<Order>),
}

/// Why a cancel could not be decided.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// The store failed. The cancel may have been decided; asking again is safe.
    #[error("the store failed: {0}")]
    Store(Arc<StoreError>),
    /// The store can never take the cancel.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The engine shuts down.
    #[error("the engine shuts down")]
    ShuttingDown,
}

impl From<StoreError> for CancelError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Engine {
    /// Cancels an order. Nothing for an unknown one.
    ///
    /// Before a transaction is signed the order ends here, and the worker that holds it can write
    /// nothing more. After it the wish is recorded, and the transaction's own fate decides.
    /// Cancelling twice gives the same answer.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn cancel(&self, id: OrderId) -> Result<Option<Cancellation>, CancelError> {
        loop {
            let Some(order) = self.order(id).await? else { return Ok(None) };
            if order.status().is_terminal() {
                return Ok(Some(at_the_end(order)));
            }
            if order.state.is_cancel_requested() {
                return Ok(Some(Cancellation::Pending(Arc::new(order))));
            }
            // Whoever was faster moved the order on; then the new state decides.
            if let Some(decided) = self.try_cancel(&order).await? {
                return Ok(Some(decided));
            }
        }
    }

    /// Writes the cancel against the state that was read; nothing if the order has moved on.
    async fn try_cancel(&self, order: &Order) -> Result<Option<Cancellation>, CancelError> {
        let inner = self.inner();
        let is_live = order.state.live_transaction().is_some();
        let event =
            if is_live { OrderEvent::CancelRequested } else { OrderEvent::Failed { failure: cancelled() } };
        let Ok((next, record)) = order.advance(event, inner.runtime.now()) else { return Ok(None) };
        let next = Arc::new(next);
        let append = Append {
            // A live transaction keeps its worker: somebody has to watch it.
            guard: Guard::Revision { revoke: !is_live },
            expected_seq: order.seq,
            order: Arc::clone(&next),
            events: vec![Arc::new(record)],
            then: Then::Keep,
        };
        match inner.committer.append(append).await {
            Ok(()) if is_live => {
                inner.wake_for(&next);
                Ok(Some(Cancellation::Pending(next)))
            }
            Ok(()) => Ok(Some(Cancellation::Cancelled(next))),
            Err(CommitError::Append(AppendError::Refused(refused)) | CommitError::Refused(refused)) => {
                Err(refused.into())
            }
            Err(CommitError::Append(_)) => Ok(None),
            Err(CommitError::Store(error)) => Err(CancelError::Store(error)),
            Err(CommitError::Closed) => Err(CancelError::ShuttingDown),
        }
    }
}

fn at_the_end(order: Order) -> Cancellation {
    let is_cancelled = order.state.failure().is_some_and(|failure| failure.code == FailureCode::CANCELLED);
    if is_cancelled {
        Cancellation::Cancelled(Arc::new(order))
    } else {
        Cancellation::TooLate(Arc::new(order))
    }
}
