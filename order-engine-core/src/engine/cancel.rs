//! Cancelling: decided by one write, against whatever a worker does at the same time.

use std::sync::Arc;

use super::Engine;
use super::change::{ChangeError, Holder};
use crate::domain::event::OrderEvent;
use crate::domain::failure::FailureCode;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::retry_policy::cancelled;
use crate::ports::order_store::write::Then;

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

impl Engine {
    /// Cancels an order. Returns nothing for an unknown one.
    ///
    /// Before a transaction is signed the order ends here, and the worker that holds it can write
    /// nothing more. After that the cancel is recorded, and the outcome of the transaction decides.
    /// A second cancel returns the same answer.
    pub async fn cancel(&self, id: OrderId) -> Result<Option<Cancellation>, ChangeError> {
        loop {
            let Some(order) = self.order(id).await? else { return Ok(None) };
            if order.status().is_terminal() {
                return Ok(Some(at_the_end(order)));
            }
            if order.state.is_cancel_requested() {
                return Ok(Some(Cancellation::Pending(Arc::new(order))));
            }
            // Another write came first; now the new state decides.
            if let Some(decided) = self.try_cancel(&order).await? {
                return Ok(Some(decided));
            }
        }
    }

    async fn try_cancel(&self, order: &Order) -> Result<Option<Cancellation>, ChangeError> {
        if order.state.live_transaction().is_some() {
            // A live transaction has to be observed, so the order keeps its lease.
            let changed =
                self.try_change(order, [OrderEvent::CancelRequested], Holder::Stays, Then::Keep).await?;
            return Ok(changed.map(Cancellation::Pending));
        }
        let event = OrderEvent::Failed { failure: cancelled() };
        let changed = self.try_change(order, [event], Holder::Loses, Then::Keep).await?;
        Ok(changed.map(Cancellation::Cancelled))
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
