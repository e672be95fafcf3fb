//! Trying a failed order again, as a new one.

use std::sync::Arc;

use super::Engine;
use super::change::{ChangeError, Holder};
use super::submit::SubmitError;
use crate::domain::event::{OrderEvent, Status};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{ClientOrderId, OrderId};
use crate::domain::order::{Order, OrderRequest};
use crate::ports::order_store::write::{Append, Creation, NewOrder, Then};

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

/// A retry that is not written yet.
#[derive(Clone, Debug)]
pub enum RetryDraft {
    /// The order has not failed, so there is nothing to try again.
    NotFailed(Arc<Order>),
    /// These writes make the retry, both or neither.
    Ready {
        /// Ends the old order, which is in quarantine. None if it has ended already.
        ending: Option<Box<Append>>,
        /// Makes the new order.
        new: NewOrder,
    },
}

impl Retry {
    /// Returns what a creation means for the new order of a [`RetryDraft`].
    pub fn new(new: &NewOrder, creation: Creation) -> Self {
        match creation {
            Creation::Created => Self::Created(Arc::clone(&new.order)),
            Creation::Existing(existing) if existing.origin == new.order.origin => {
                Self::Existing(existing.into())
            }
            Creation::Existing(other) => Self::NameTaken(other.into()),
        }
    }
}

impl Engine {
    /// Tries a failed order again as a new one, which names it as its origin. However often this is called, it
    /// makes one new order: its client order id is `retry:` and the old order's id. An order in quarantine
    /// that has signed nothing is ended first. Returns nothing for an unknown order.
    ///
    /// **It takes nobody's money.** A host that debits its users, and gives back what a failed order did not
    /// use, must debit them anew for the new order. It calls `retry_in` of its store, in the transaction of
    /// the debit. This method is for hosts that keep no accounts.
    ///
    /// A deadline that is a moment stays that moment; one that counts from the acceptance counts
    /// from the new one.
    ///
    /// # Errors
    /// If the store does not answer, or takes no orders now.
    pub async fn retry(&self, id: OrderId) -> Result<Option<Retry>, RetryError> {
        loop {
            let Some(origin) = self.order(id).await.map_err(ChangeError::from)? else { return Ok(None) };
            let (ending, new) = match self.draft_retry(Arc::new(origin))? {
                RetryDraft::NotFailed(origin) => return Ok(Some(Retry::NotFailed(origin))),
                RetryDraft::Ready { ending, new } => (ending, new),
            };
            if let Some(ending) = ending
                && self.commit_change(*ending).await?.is_none()
            {
                // Another write came first; now the new state decides.
                continue;
            }
            let creation = self.create(new.clone()).await?;
            return Ok(Some(Retry::new(&new, creation)));
        }
    }

    /// Makes a new order of a failed one without accepting it: for stores that can write it within a
    /// transaction of the host's own, in the place of [`retry`](Self::retry).
    ///
    /// # Errors
    /// If the engine shuts down.
    pub fn draft_retry(&self, origin: Arc<Order>) -> Result<RetryDraft, SubmitError> {
        let ending = if origin.state.quarantine().is_some() && origin.state.live_transaction().is_none() {
            let failure = Failure::new(FailureCode::SUPERSEDED, "The order is tried again as a new one");
            self.draft_change(&origin, [OrderEvent::Failed { failure }], Holder::Loses, Then::Keep)
        } else {
            None
        };
        if ending.is_none() && origin.status() != Status::Failed {
            return Ok(RetryDraft::NotFailed(origin));
        }
        let name = ClientOrderId::new(format!("retry:{}", origin.id));
        let request = OrderRequest { client_order_id: Some(name), ..OrderRequest::clone(&origin.request) };
        Ok(RetryDraft::Ready {
            ending: ending.map(Box::new),
            new: self.draft_from(request, Some(origin.id))?,
        })
    }
}
