//! Trying a failed order again, as a new one.

use std::sync::Arc;

use super::Engine;
use super::change::{ChangeError, Holder};
use super::submit::SubmitError;
use crate::domain::event::{OrderEvent, Status};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{ClientOrderId, OrderId};
use crate::domain::order::{Order, OrderRequest};
use crate::ports::order_store::write::{Creation, Then};

/// What came of trying an order again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    /// This new order was made. It names the old one as its origin.
    Created(Arc<Order>),
    /// This new order was made before.
    Existing(Arc<Order>),
    /// The order has not failed, so there is nothing to try again.
    NotFailed(Arc<Order>),
    /// The user gave the client order id of the new order to another order: this one.
    NameTaken(Arc<Order>),
}

/// Why an order could not be tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// The old order could not be read or ended.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The new order could not be accepted. Calling again is safe.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl Engine {
    /// Tries a failed order again as a new one, which names it as its origin. However often this is called, it
    /// makes one new order: its client order id is `retry:` and the old order's id. An order in quarantine
    /// that has signed nothing is ended first. Returns nothing for an unknown order.
    ///
    /// A deadline that is a moment stays that moment; one that counts from the acceptance counts
    /// from the new one.
    ///
    /// # Errors
    /// If the store does not answer, or takes no orders now.
    pub async fn retry(&self, id: OrderId) -> Result<Option<Retry>, RetryError> {
        let Some(origin) = self.ended_for_retry(id).await? else { return Ok(None) };
        if origin.status() != Status::Failed {
            return Ok(Some(Retry::NotFailed(origin)));
        }
        let name = ClientOrderId::new(format!("retry:{id}"));
        let request = OrderRequest { client_order_id: Some(name), ..OrderRequest::clone(&origin.request) };
        let new = self.draft_from(request, Some(id))?;
        Ok(Some(match self.create(new.clone()).await? {
            Creation::Created => Retry::Created(new.order),
            Creation::Existing(existing) if existing.origin == Some(id) => Retry::Existing(existing.into()),
            Creation::Existing(other) => Retry::NameTaken(other.into()),
        }))
    }

    /// Returns the order, ended if it is in quarantine with nothing signed.
    async fn ended_for_retry(&self, id: OrderId) -> Result<Option<Arc<Order>>, ChangeError> {
        loop {
            let Some(order) = self.order(id).await? else { return Ok(None) };
            if order.state.quarantine().is_none() || order.state.live_transaction().is_some() {
                return Ok(Some(Arc::new(order)));
            }
            let failure = Failure::new(FailureCode::SUPERSEDED, "The order is tried again as a new one");
            let event = OrderEvent::Failed { failure };
            if let Some(ended) = self.try_change(&order, [event], Holder::Loses, Then::Keep).await? {
                return Ok(Some(ended));
            }
        }
    }
}
