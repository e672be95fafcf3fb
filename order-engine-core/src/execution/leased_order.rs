//! A leased order: what is known of it, what is not yet written, and the right to act for it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::commit::committer::{CommitError, Committer};
use crate::domain::event::{EventRecord, OrderEvent};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::order::Order;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::SignedTx;
use crate::execution::in_flight::InFlightPermit;
use crate::execution::lease::LeaseGuard;
use crate::planted::planted;
use crate::ports::order_store::lease::Fence;
use crate::ports::order_store::write::{Append, Guard, NonceReservation, Then};

/// An order that this process holds a lease of.
#[derive(Debug)]
pub(crate) struct LeasedOrder {
    /// The order with all its events, written or not.
    order: Arc<Order>,
    /// The revision that the store has.
    committed_seq: u64,
    /// The events that are not yet written.
    pending: Vec<Arc<EventRecord>>,
    /// The nonce that is reserved when the transaction that has it is written.
    reservation: Option<NonceReservation>,
    lease: LeaseGuard,
    /// Counts the order as in flight, where there is a cap.
    in_flight: Option<InFlightPermit>,
}

impl LeasedOrder {
    pub(crate) fn new(order: Arc<Order>, lease: LeaseGuard) -> Self {
        Self {
            committed_seq: order.seq,
            order,
            pending: Vec::new(),
            reservation: None,
            lease,
            in_flight: None,
        }
    }

    pub(crate) const fn order(&self) -> &Arc<Order> {
        &self.order
    }

    pub(crate) const fn lease(&self) -> &LeaseGuard {
        &self.lease
    }

    pub(crate) const fn lease_mut(&mut self) -> &mut LeaseGuard {
        &mut self.lease
    }

    pub(crate) const fn fence(&self) -> Fence {
        self.lease.lease().fence
    }

    /// Counts the order as in flight until it is released.
    pub(crate) fn set_in_flight(&mut self, permit: Option<InFlightPermit>) {
        self.in_flight = permit;
    }

    /// Whether the order is counted as in flight.
    pub(crate) const fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether there are events that are not yet written.
    pub(crate) const fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Applies an event to the order. It is written by the next commit.
    pub(crate) fn record(&mut self, event: OrderEvent, now: DateTime<Utc>) -> Result<(), IllegalTransition> {
        let record = Arc::make_mut(&mut self.order).advance_mut(event, now)?;
        self.pending.push(Arc::new(record));
        Ok(())
    }

    /// Records a signed transaction, and the nonce that is reserved for it.
    pub(crate) fn record_signed(
        &mut self,
        tx: SignedTx,
        reservation: Option<NonceReservation>,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        self.record(OrderEvent::TransactionSigned { tx: Arc::new(tx) }, now)?;
        self.reservation = reservation;
        Ok(())
    }

    /// Records a transaction that uses up a nonce before the order's own, and what is reserved for it.
    pub(crate) fn record_filler(
        &mut self,
        tx: Arc<SignedTx>,
        reservation: Option<NonceReservation>,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        self.record(OrderEvent::NonceFilled { tx }, now)?;
        self.reservation = reservation;
        Ok(())
    }

    /// Records that the order is set aside for an operator, because it must not take another worker with it.
    pub(crate) fn quarantine(
        &mut self,
        message: String,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        let failure = Failure::new(FailureCode::QUARANTINED, message);
        self.record(OrderEvent::Quarantined { failure }, now)
    }

    /// Writes what is not yet written. The lease stays, unless the order has come to a wait or to its end.
    pub(crate) async fn commit(&mut self, committer: &Committer) -> Result<(), CommitError> {
        let then = self.wait().map_or(Then::Keep, |due_in| Then::Release { due_in });
        self.write(committer, then).await
    }

    /// Returns how long the order waits, if it has come to a wait. A deadline ends a wait.
    fn wait(&self) -> Option<Duration> {
        let last = self.pending.last()?;
        let wait = match last.event {
            OrderEvent::RetryScheduled { retry_in, .. }
            | OrderEvent::Deferred { retry_in, .. }
            | OrderEvent::PriceTooLow { retry_in, .. } => retry_in,
            // What follows is left to a worker.
            OrderEvent::TransactionDied { .. } => Duration::ZERO,
            _ => return None,
        };
        Some(self.until_deadline(wait, last.at))
    }

    /// Returns a wait, or the time until the order's deadline, if that is less.
    pub(crate) fn until_deadline(&self, wait: Duration, now: DateTime<Utc>) -> Duration {
        let left = self.order.expires_at().map(|deadline| (deadline - now).to_std().unwrap_or_default());
        left.map_or(wait, |left| left.min(wait))
    }

    /// Returns until when the pending events may be written. After the commit of a transaction it may be
    /// sent, so that commit comes before the deadline or never, however long this process stands still.
    fn not_after(&self) -> Option<DateTime<Utc>> {
        let allows_sending = |event: &OrderEvent| {
            matches!(event, OrderEvent::TransactionSigned { .. } | OrderEvent::SubmissionStarted)
        };
        let has_to_hold = self.pending.iter().any(|record| allows_sending(&record.event));
        let deadline = self.order.expires_at().filter(|_| has_to_hold && !planted!(LateFirstSend))?;
        // An order has expired at the very moment of its deadline.
        Some(deadline.checked_sub_signed(TimeDelta::microseconds(1)).unwrap_or(deadline))
    }

    /// Writes what is not yet written and releases the order, due after a while.
    pub(crate) async fn release(
        &mut self,
        committer: &Committer,
        due_in: Duration,
    ) -> Result<(), CommitError> {
        // With nothing to write, the lease itself is released when it is dropped.
        self.lease.release_in(due_in);
        self.write(committer, Then::Release { due_in }).await
    }

    async fn write(&mut self, committer: &Committer, then: Then) -> Result<(), CommitError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let not_after = self.not_after();
        let has_nonce = |record: &Arc<EventRecord>| {
            matches!(record.event, OrderEvent::TransactionSigned { .. } | OrderEvent::NonceFilled { .. })
        };
        let reservation = self.pending.iter().any(has_nonce).then(|| self.reservation.take()).flatten();
        let append = Append {
            guard: Guard::Fence(self.fence()),
            expected_seq: self.committed_seq,
            order: Arc::clone(&self.order),
            events: std::mem::take(&mut self.pending),
            then,
            not_after,
            reservation,
        };
        committer.append(append).await?;
        self.committed_seq = self.order.seq;
        if matches!(then, Then::Release { .. }) || self.order.state.lane().is_none() {
            self.lease.end();
        }
        Ok(())
    }

    /// Starts over from what the store has. What was not written never happened.
    pub(crate) fn reset(&mut self, order: Arc<Order>) {
        self.committed_seq = order.seq;
        self.order = order;
        self.pending.clear();
        self.reservation = None;
    }
}
