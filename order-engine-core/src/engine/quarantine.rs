//! Lifting the quarantine of an order.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::change::{ChangeError, Holder};
use crate::domain::event::OrderEvent;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::ports::order_store::write::Then;

impl Engine {
    /// Lifts the quarantine of an order, so that workers go on from where it stands. Returns the order, which
    /// stays as it is if it is not in quarantine. Returns nothing for an unknown order.
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
