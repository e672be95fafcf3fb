//! What is written into a store: new orders, and events.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::codec::ItemRejected;
use crate::domain::event::EventRecord;
use crate::domain::ids::{OrderId, VenueName};
use crate::domain::order::Order;
use crate::domain::transaction::{AccountNonce, NonceValue, OpaqueNonce};
use crate::ports::order_store::lease::Fence;
use crate::setters::setters;

/// An order to accept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewOrder {
    /// The order, as it is after its first event.
    pub order: Arc<Order>,
    /// The first event.
    pub event: Arc<EventRecord>,
    /// How long after its acceptance the order's turn comes at the earliest. Until then it is claimed only
    /// when nothing else is due.
    pub handicap: Duration,
    /// The lease that its creator takes with it, if it executes the order itself: the order is written as if it had
    /// been claimed right after its creation.
    pub lease: Option<FirstLease>,
}

/// The first lease of an order, taken by the write that creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirstLease {
    /// The owner half of the fence.
    pub owner: u128,
    /// How long the lease lasts without renewal.
    pub duration: Duration,
}

impl FirstLease {
    /// Returns a lease for this owner, which lasts so long without renewal.
    pub const fn new(owner: u128, duration: Duration) -> Self {
        Self { owner, duration }
    }

    /// Returns the fence, once the order is created.
    pub const fn fence(&self) -> Fence {
        Fence { epoch: 1, owner: self.owner }
    }
}

/// What came of a [`NewOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The order was accepted.
    Created,
    /// The user already has an order with this client order id: this one.
    Existing(Box<Order>),
}

/// Events to append to an order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Append {
    /// What the write needs besides the revision.
    pub guard: Guard,
    /// The revision the order must have now.
    pub expected_seq: u64,
    /// The order as it is after the events.
    pub order: Arc<Order>,
    /// The events, oldest first, numbered from `expected_seq + 1`. At least one.
    pub events: Vec<Arc<EventRecord>>,
    /// What happens to the lease. An order without a lane (a terminal one, or one in quarantine) always
    /// loses its lease and is due no more.
    pub then: Then,
    /// Until when the events may be written, on the store's clock, which the write itself reads. After that
    /// the append fails with [`AppendError::TooLate`], unless it fails for another reason.
    pub not_after: Option<DateTime<Utc>>,
    /// The nonce that is reserved with the events: both are written, or neither.
    pub reservation: Option<NonceReservation>,
}

/// A nonce of an account, to be used by the transactions of one attempt of one order.
///
/// The numbers of an account are given out in their order and each once, so that no gap blocks later ones: a
/// reservation is written only if its value is the lowest one from [`first`](Self::first) on that nobody has
/// reserved for this account on this venue. An opaque value is given out once: its reservation is written only if nobody has
/// reserved it. While it is the account's value, that keeps the whole account for the order. A reservation lasts as long as the
/// order is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NonceReservation {
    /// The venue that the account is on.
    pub venue: VenueName,
    /// The nonce.
    pub nonce: AccountNonce,
    /// The account's next number as the chain has it: lower ones are used. Of an opaque value it says nothing.
    pub first: u64,
}

/// A nonce as stores keep it: a number of a sequence. The lowest number from some on that is not reserved is free.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SequenceNumber<'a> {
    /// The name of the sequence, unique for its venue.
    pub sequence: Cow<'a, str>,
    /// The number.
    pub value: u64,
    /// The lowest number that may be free.
    pub first: u64,
}

impl NonceReservation {
    /// Returns a reservation, where the chain's next number of the account is `first`.
    pub const fn new(venue: VenueName, nonce: AccountNonce, first: u64) -> Self {
        Self { venue, nonce, first }
    }

    /// Returns what a store writes. The numbers of an account are the sequence of its name. An opaque value is the only
    /// number of a sequence of its own, named by the account and the value as a JSON array.
    pub fn as_number(&self) -> SequenceNumber<'_> {
        let AccountNonce { account, value } = &self.nonce;
        match value {
            NonceValue::Number(value) => {
                SequenceNumber { sequence: account.as_str().into(), value: *value, first: self.first }
            }
            NonceValue::Opaque(OpaqueNonce { text, .. }) => {
                let name = serde_json::json!([account.as_str(), text]).to_string();
                SequenceNumber { sequence: name.into(), value: 0, first: 0 }
            }
        }
    }
}

/// What an append needs besides the expected revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The lease with this fence must be current.
    Fence(Fence),
    /// Nothing: only the revision is compared.
    Revision {
        /// Whether the append ends a current lease: the epoch grows and the order is due at once.
        revoke: bool,
    },
}

/// What happens to the lease after an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays; an order without a lease keeps its due time.
    Keep,
    /// It ends, and the order is due after this time.
    Release {
        /// From now, on the store's clock.
        due_in: Duration,
    },
}

/// Why an order was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Another transaction is about to use this client order id and has not ended. Nothing was written, and
    /// a later call may succeed.
    #[error("another transaction is about to use this client order id and has not ended")]
    Locked,
    /// The item cannot be stored.
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
}

/// Why an append was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The lease is not the current one.
    #[error("the lease is no longer current")]
    StaleFence,
    /// The order has more events than expected: read it again and go on.
    #[error("the order has moved on to revision {actual}")]
    StaleRevision {
        /// The revision it has.
        actual: u64,
    },
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// Another transaction has locked the order and has not ended. Nothing was written, and a later call may
    /// succeed.
    #[error("another transaction has locked the order and has not ended")]
    Locked,
    /// The store's clock is past [`Append::not_after`], and there is no other reason to refuse. Nothing is
    /// written.
    #[error("it is too late to write this")]
    TooLate,
    /// The nonce is another order's, or not the account's next one, and there is no other reason to refuse. Nothing is
    /// written.
    #[error("the nonce is another order's or not the account's next one; of numbers, {free} is free")]
    NonceTaken {
        /// The number that a reservation has to have. For an opaque value it says nothing: nobody else gets that one.
        free: u64,
    },
    /// The item cannot be stored.
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
}

impl NewOrder {
    /// Returns an order to accept, with its first event and without a handicap.
    pub const fn new(order: Arc<Order>, event: Arc<EventRecord>) -> Self {
        Self { order, event, handicap: Duration::ZERO, lease: None }
    }

    /// Sets the lease that is taken with the order.
    #[must_use]
    pub const fn with_lease(mut self, lease: Option<FirstLease>) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how long after its acceptance the order's turn comes at the earliest.
    #[must_use]
    pub const fn with_handicap(mut self, handicap: Duration) -> Self {
        self.handicap = handicap;
        self
    }

    /// Checks that the order and its first event belong together.
    ///
    /// # Errors
    /// If they do not. No store may write them.
    pub fn check(&self) -> Result<(), ItemRejected> {
        check_history(self.order.id, 0, self.order.seq, [&*self.event])
    }
}

impl Append {
    /// Returns an append of events, oldest first, that lead to this order. The order must have the revision
    /// before the first of them. The lease stays.
    pub fn new(guard: Guard, order: Arc<Order>, events: Vec<Arc<EventRecord>>) -> Self {
        let expected_seq = order.seq.saturating_sub(events.len() as u64);
        Self { guard, expected_seq, order, events, then: Then::Keep, not_after: None, reservation: None }
    }

    /// Checks that the events follow the expected revision without a gap and lead to the order.
    ///
    /// # Errors
    /// If they do not. No store may write them.
    pub fn check(&self) -> Result<(), ItemRejected> {
        check_history(
            self.order.id,
            self.expected_seq,
            self.order.seq,
            self.events.iter().map(|event| &**event),
        )
    }
}

setters! {
    impl Append {
        with_then sets then: Then;
        with_not_after sets not_after: Option<DateTime<Utc>>;
        with_reservation sets reservation: Option<NonceReservation>;
    }
}

fn check_history<'a>(
    order_id: OrderId,
    from: u64,
    to: u64,
    events: impl IntoIterator<Item = &'a EventRecord>,
) -> Result<(), ItemRejected> {
    let mut last = from;
    for event in events {
        if event.order_id != order_id {
            return Err(refused(format!("an event of order {} among those of {order_id}", event.order_id)));
        }
        if last.checked_add(1) != Some(event.seq) {
            return Err(refused(format!("event {} cannot follow event {last}", event.seq)));
        }
        last = event.seq;
    }
    if last == from {
        return Err(refused("there is no event".to_owned()));
    }
    if last != to {
        return Err(refused(format!("the events end at {last}, the order at {to}")));
    }
    Ok(())
}

fn refused(message: String) -> ItemRejected {
    ItemRejected { message }
}
