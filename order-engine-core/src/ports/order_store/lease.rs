//! Leases: what a claim requests and returns, and how leases are released.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::codec::DecodeError;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::state::step::Lane;
use crate::setters::setters;

/// The right to act for an order, until a time on the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Grows with every claim of the order.
    pub epoch: u64,
    /// Random for every claimer. An epoch can come back after a store lost its last writes; the
    /// pair of both cannot.
    pub owner: u128,
}

/// A fence and the order it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// The order.
    pub order_id: OrderId,
    /// The right to act for it.
    pub fence: Fence,
}

impl Lease {
    /// Returns the right to act for an order.
    pub const fn new(order_id: OrderId, fence: Fence) -> Self {
        Self { order_id, fence }
    }
}

/// Which orders to lease, and for which owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The lane that the orders must be in.
    pub lane: Lane,
    /// Which of the due orders.
    pub scope: ClaimScope,
    /// How many orders to lease at most.
    pub limit: u32,
    /// The owner half of the new fences.
    pub owner: u128,
    /// How long the leases last without renewal.
    pub duration: Duration,
}

impl ClaimRequest {
    /// Returns a request for one due order of a lane, whichever has its turn.
    pub const fn new(lane: Lane, owner: u128, duration: Duration) -> Self {
        Self { lane, scope: ClaimScope::Any, limit: 1, owner, duration }
    }
}

setters! {
    impl ClaimRequest {
        with_scope sets scope: ClaimScope;
        with_limit sets limit: u32;
    }
}

/// Which of the due orders to lease.
#[derive(Clone, Debug)]
pub enum ClaimScope {
    /// Any of them.
    Any,
    /// Only this one.
    Order(OrderId),
}

/// The result of a claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claims {
    /// The leased orders.
    pub claims: Vec<Claim>,
    /// The store's time at the claim, as [`OrderStore::now`](crate::OrderStore::now) returns it.
    pub as_of: DateTime<Utc>,
    /// When the next order of the lane becomes due, if one is waiting. It may be a little too
    /// early, never too late; it says nothing about orders that arrive meanwhile.
    pub next_due_in: Option<Duration>,
}

impl Claims {
    /// Returns the orders that were leased at this time on the store's clock.
    pub const fn new(claims: Vec<Claim>, as_of: DateTime<Utc>) -> Self {
        Self { claims, as_of, next_due_in: None }
    }
}

setters! {
    impl Claims {
        with_next_due_in sets next_due_in: Option<Duration>;
    }
}

/// A leased order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The lease.
    pub lease: Lease,
    /// How many claims of this order in a row, this one included, made no progress. More than one means that a
    /// worker died or failed with it.
    pub claims_without_progress: u32,
    /// The order as it is now, or why it cannot be decoded.
    pub order: Result<Arc<Order>, DecodeError>,
}

impl Claim {
    /// Returns a leased order, with how many claims in a row made no progress.
    pub const fn new(
        lease: Lease,
        claims_without_progress: u32,
        order: Result<Arc<Order>, DecodeError>,
    ) -> Self {
        Self { lease, claims_without_progress, order }
    }
}

/// A lease to release.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Release {
    /// The lease.
    pub lease: Lease,
    /// When the order is due again, from now.
    pub due_in: Duration,
    /// Why it brought nothing.
    pub reason: ReleaseReason,
}

impl Release {
    /// Returns a lease to release, so that its order is due again after a while.
    pub const fn new(lease: Lease, due_in: Duration, reason: ReleaseReason) -> Self {
        Self { lease, due_in, reason }
    }
}

/// Why a lease is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReason {
    /// The worker yields the order, because it shuts down for instance. The claim is not counted as one
    /// without progress.
    Yielded,
    /// The worker panicked with the order, failed with it for a reason that lasts, or was dropped before it
    /// had come to an end with it.
    WorkerPanicked,
    /// The order cannot be decoded. An operator should look at it until it can be written to again.
    Undecodable,
}
