//! Where orders and their events are kept.

pub(crate) mod error;
pub(crate) mod lease;
pub(crate) mod query;
pub(crate) mod write;

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::event::EventRecord;
use crate::domain::ids::{ClientOrderId, OrderId, UserId};
use crate::domain::order::Order;
use crate::domain::state::step::Lane;
use crate::ports::controls::Controls;
use crate::ports::feed::EventFeed;
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
/// - **Durable.** A write of orders or events that returned `Ok` survives whatever
///   [`durability`](Self::durability) promises. A lease may be lost, as long as no event that was written
///   under it survives it.
/// - **Fenced.** A write under a [`Guard::Fence`](write::Guard::Fence) succeeds only while the order's lease
///   carries the very same epoch and owner, and the order has exactly the expected revision. An expired
///   lease stays current until the order is claimed again.
/// - **Turns.** When more orders are due than a claim takes, it takes those first whose turn has come, the
///   earliest turn first, and then the others, those first that became due first. An order's turn comes when it
///   becomes due, but not within the [handicap](write::NewOrder::handicap) after its acceptance, and
///   earlier than that by the [head start](crate::Priority::head_start) of its priority.
/// - **Its own clock.** Leases, due times and deadlines are measured on one clock that all users of the
///   store share. An order is due when it waits for nothing, when its wait is over, or when the lease of its
///   worker has expired; an order without a lane is never due.
/// - **Feed.** A write that commits events gives them their places in the feed: see [`EventFeed`].
/// - **Outbox.** A write that commits events adds outbox entries for the registered sinks: see [`Outbox`].
/// - **Brief lock waits.** A write waits only briefly for what another transaction has locked. An item that
///   would have to wait longer fails alone, as `Locked`, and the others are written.
/// - **Bounded.** Every call ends by itself in bounded time, and is safe to drop: a dropped write may or may
///   not happen, but never half.
///
/// # Errors
/// A call returns a [`StoreError`] if the store does not answer. The items of such a write may or may not
/// have been written: the caller reads again.
///
/// # Example
///
/// What a store does for an order: it accepts it, leases it to a worker, and writes what the worker's lease
/// allows. The suite behind the feature `conformance` checks the contract.
///
/// ```
/// use std::time::Duration;
///
/// use order_engine_core::store::{Append, AppendError, ClaimRequest, Guard};
/// use order_engine_core::{Lane, MemoryStore, NewOrder, Order, OrderEvent, OrderId, OrderStore, testing};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let now = store.now().await?;
/// let (order, accepted) = Order::accept(OrderId::new(now, 1), testing::request(), 3, now);
/// store.create(&[NewOrder::new(order.into(), accepted.into())]).await?;
///
/// let claims = store.claim(&ClaimRequest::new(Lane::Execute, 7, Duration::from_secs(30))).await?;
/// let claim = &claims.claims[0];
/// let event = OrderEvent::RoutingStarted { attempt: 1, dexes: vec!["Raydium".into()] };
/// let (next, event) = claim.order.clone()?.advance(event, claims.as_of)?;
/// let append = Append::new(Guard::Fence(claim.lease.fence), next.into(), vec![event.into()]);
/// assert_eq!(store.append(&[append.clone()]).await?, [Ok(())]);
/// // The order has moved on, so the same write is refused.
/// assert_eq!(store.append(&[append]).await?, [Err(AppendError::StaleRevision { actual: 2 })]);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait OrderStore: Outbox + EventFeed + Controls + Debug + Send + Sync + 'static {
    /// Returns what a successful write survives.
    fn durability(&self) -> Durability;

    /// Returns how many calls of [`create`](Self::create), and as many of [`append`](Self::append), are best under
    /// way at a time. More than one is of use where the next one can be prepared while the last one waits for the disk;
    /// where calls wait for each other in any case, fewer and larger ones cost less.
    fn writes_in_flight(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    /// Returns the time on the store's clock, cut to milliseconds.
    async fn now(&self) -> Result<DateTime<Utc>, StoreError>;

    /// Accepts orders, each with its first event. They are due at once, or when their
    /// [`not_before`](crate::OrderRequest::not_before) has come. Returns one result each, in order.
    ///
    /// A client order id that the user has already used gives [`Creation::Existing`], also within
    /// one call.
    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError>;

    /// Leases due orders of a lane, in the order of their turns. No order has two leases at a time; each claim
    /// raises the order's epoch.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError>;

    /// Prolongs leases. Returns for each, in order, whether it is still the current one. A lease whose order
    /// another transaction has locked counts as current and is not prolonged; the next renewal finds out.
    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError>;

    /// Releases leases. A lease that is no longer current is left alone.
    async fn release(&self, releases: &[Release]) -> Result<(), StoreError>;

    /// Makes an order due at once, if it waits for a time and has no lease. Does nothing to any other.
    async fn make_due(&self, id: OrderId) -> Result<(), StoreError>;

    /// Appends events to orders. Returns one result each, in order. No two items of one call have the same
    /// order.
    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError>;

    /// Returns an order; nothing if there is none with this id.
    ///
    /// # Errors
    /// Also if the order cannot be decoded.
    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError>;

    /// Returns the order that a user gave this client order id; nothing if there is none.
    ///
    /// # Errors
    /// Also if the order cannot be decoded.
    async fn load_named(&self, user: &UserId, name: &ClientOrderId) -> Result<Option<Order>, StoreError>;

    /// Returns at most `limit` events of an order with a number above `after`, oldest first.
    ///
    /// # Errors
    /// Also if an event cannot be decoded.
    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError>;

    /// Returns the number of the last event of each order, in order; none for an unknown order.
    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError>;

    /// Returns at most `query.limit` orders, newest first: by their ids, which sort by the time of acceptance.
    ///
    /// An order that cannot be decoded has its place in the list, with the reason.
    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError>;

    /// Returns at most `limit` orders of a lane that are due, those first that became due first. It leases
    /// nothing: a host with a queue of its own sends these orders to it.
    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError>;

    /// Counts what waits to be done.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// Deletes orders that ended long ago, with their events and client order ids: one step of a walk from
    /// the oldest order to the newest.
    ///
    /// An order with an outbox entry stays.
    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError>;

    /// Checks whether the store can take writes now.
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
