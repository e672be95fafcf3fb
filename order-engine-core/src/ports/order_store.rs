//! Where orders and their events are kept.

pub(crate) mod error;
pub(crate) mod lease;
pub(crate) mod query;
pub(crate) mod write;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::state::step::Lane;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::lease::{ClaimRequest, Claims, Lease, Release};
use crate::ports::order_store::query::{Backlog, OrderQuery, PurgeRequest, Purged, UndecodableOrder};
use crate::ports::order_store::write::{Append, AppendError, CreateError, Creation, NewOrder};
use crate::ports::outbox::Outbox;

/// Keeps orders and their events, and is the queue: an order row that is due is the job.
///
/// # Contract
/// - **Atomic.** Each item of a write changes the order, its events and its due time together or
///   not at all. Items succeed and fail alone: one stale or unencodable item harms no other.
/// - **Durable.** What a write of orders or events returned `Ok` for survives whatever
///   [`durability`](Self::durability) promises. A lease need not: one that is lost was never given, as
///   long as no event that was written under it survives it.
/// - **Fenced.** A write under a [`Guard::Fence`] succeeds only while the order's lease carries the
///   very same epoch and owner, and the order has exactly the expected revision. An expired lease
///   that nobody claimed since is still the current one.
/// - **Its own clock.** Leases and due times are measured on one clock that all users of the store
///   share, and so are deadlines. An order is due when it waits for nothing, when its wait is over, or
///   when the lease of the worker that held it has expired; an order without a lane is never due.
/// - **Unknown outcomes.** If a whole write returns [`StoreError`], its items may or may not have
///   been written; callers read again.
/// - **Owed.** What durable sinks are owed of an event is recorded with the event: see [`Outbox`].
/// - **Brief lock waits.** A write waits only briefly for what another transaction holds. An item
///   that needs it longer fails alone, as `Locked`, and the others are written.
/// - Every call ends by itself in bounded time, and is safe to drop: a dropped write may or may
///   not happen, but never half.
#[async_trait]
pub trait OrderStore: Outbox + Debug + Send + Sync + 'static {
    /// What a successful write survives.
    fn durability(&self) -> Durability;

    /// The time on the store's clock, cut to milliseconds: the clock on which leases and due times are
    /// measured.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn now(&self) -> Result<DateTime<Utc>, StoreError>;

    /// Accepts orders, due at once, each with its first event: one result each, in order.
    ///
    /// A client order id that the user has already used gives [`Creation::Existing`], also within
    /// one call.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError>;

    /// Leases due orders of a lane, those that became due first, first. No order is leased twice
    /// at a time; each claim raises the order's epoch.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError>;

    /// Prolongs leases: for each, in order, whether it is still the current one. One whose order another
    /// transaction holds stays as it is until the next time.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError>;

    /// Gives leases back. One that is no longer current is left alone.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn release(&self, releases: &[Release]) -> Result<(), StoreError>;

    /// Makes orders due at once that wait for a time and that nobody holds; any others are left
    /// alone.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn make_due(&self, id: OrderId) -> Result<(), StoreError>;

    /// Records what happened to orders: one result each, in order. Two items of one call never
    /// concern one order.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError>;

    /// The orders with these ids, in order.
    ///
    /// # Errors
    /// If the store cannot answer, or one of the orders cannot be decoded.
    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError>;

    /// At most `limit` events of an order with a number above `after`, oldest first.
    ///
    /// # Errors
    /// If the store cannot answer, or an event cannot be decoded.
    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError>;

    /// The number of the last event of each order, in order; none for an unknown order.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError>;

    /// At most `query.limit` orders, newest first: by their ids, which sort by the time of acceptance.
    ///
    /// An order that cannot be read has its place in the list, with the reason.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError>;

    /// At most `limit` orders of a lane that are due, those that became due first, first. Nothing is
    /// leased: this is for whoever sends orders to a queue of their own.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError>;

    /// How much waits to be done.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// Forgets orders that ended long ago, with their events and names: one step of a walk from the
    /// oldest to the newest.
    ///
    /// An order of which a sink is still owed something stays.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError>;

    /// Whether the store can take writes now.
    ///
    /// # Errors
    /// Why it cannot.
    async fn check(&self) -> Result<(), StoreError>;
}

/// What a successful write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Durability {
    /// A crash of the process, of the machine, and a loss of power.
    Full,
    /// A crash of the process; the last writes may be lost with the machine.
    BoundedLoss,
    /// Nothing: the store lives and dies with the process.
    Volatile,
}
