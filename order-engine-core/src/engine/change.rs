//! Changes without a lease: a host or an operator makes them, and one write decides.

use std::sync::Arc;

use super::Engine;
use crate::commit::committer::CommitError;
use crate::domain::codec::ItemRejected;
use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::write::{Append, AppendError, Guard, Then};

/// Why an order could not be changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The store failed. The change may have been made; calling again is safe.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The store can never take the change.
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    /// The engine shuts down.
    #[error("the engine shuts down")]
    ShuttingDown,
}

/// What a change does to the worker that may hold the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// It goes on, from the new state.
    Stays,
    /// It can write nothing more.
    Loses,
}

impl Engine {
    /// Writes events to the order as it was read, and wakes the claimers. Returns nothing if the order has
    /// changed meanwhile: then the new state decides, and the caller reads it.
    pub(super) async fn try_change(
        &self,
        order: &Order,
        events: impl IntoIterator<Item = OrderEvent> + Send,
        holder: Holder,
        then: Then,
    ) -> Result<Option<Arc<Order>>, ChangeError> {
        match self.draft_change(order, events, holder, then) {
            Some(append) => self.commit_change(append).await,
            None => Ok(None),
        }
    }

    /// Makes the write of a change. Returns nothing if the order's state does not allow it.
    pub(super) fn draft_change(
        &self,
        order: &Order,
        events: impl IntoIterator<Item = OrderEvent>,
        holder: Holder,
        then: Then,
    ) -> Option<Append> {
        let (mut next, now) = (order.clone(), self.context().now());
        let advanced: Result<Vec<_>, _> =
            events.into_iter().map(|event| next.advance_mut(event, now).map(Arc::new)).collect();
        Some(Append {
            reservation: None,
            guard: Guard::Revision { revoke: holder == Holder::Loses },
            expected_seq: order.seq,
            order: Arc::new(next),
            events: advanced.ok()?,
            then,
            not_after: None,
        })
    }

    /// Writes a change, and wakes the claimers. Returns nothing if the order has changed since it was read.
    pub(super) async fn commit_change(&self, append: Append) -> Result<Option<Arc<Order>>, ChangeError> {
        let (context, next) = (self.context(), Arc::clone(&append.order));
        match context.committer.append(append).await {
            Ok(()) => {
                context.wakers.wake_for(&next);
                Ok(Some(next))
            }
            Err(CommitError::Append(AppendError::Rejected(refused)) | CommitError::Rejected(refused)) => {
                Err(refused.into())
            }
            Err(CommitError::Append(_)) => Ok(None),
            Err(CommitError::Store(error)) => Err(ChangeError::Store(error)),
            Err(CommitError::Closed) => Err(ChangeError::ShuttingDown),
        }
    }
}
