//! Giving orders in quarantine back to the workers.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::change::{ChangeError, Holder};
use crate::domain::event::OrderEvent;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::ports::order_store::write::Then;

impl Engine {
    /// Gives an order in quarantine back to the workers, which go on from where it stands. Nothing
    /// for an unknown order; an order that is not in quarantine is given as it is.
    pub async fn lift_quarantine(&self, id: OrderId) -> Result<Option<Arc<Order>>, ChangeError> {
        let due_now = Then::Release { due_in: Duration::ZERO };
        loop {
            let Some(order) = self.order(id).await? else { return Ok(None) };
            if order.state.quarantine().is_none() {
                return Ok(Some(Arc::new(order)));
            }
            let lifted =
                self.try_change(&order, [OrderEvent::QuarantineLifted], Holder::Stays, due_now).await?;
            if lifted.is_some() {
                return Ok(lifted);
            }
        }
    }
}
