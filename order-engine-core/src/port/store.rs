use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{EventRecord, Lane, Order, OrderId, Outbox, Status, UserId};

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
    async fn create_many(
        &self,
        orders: &[NewOrder],
    ) -> Result<Vec<Result<Creation, CreateError>>, StoreError>;

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
    async fn rouse(&self, ids: &[OrderId]) -> Result<(), StoreError>;

    /// Records what happened to orders: one result each, in order. Two items of one call never
    /// concern one order.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn append_many(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError>;

    /// The orders with these ids, in order.
    ///
    /// # Errors
    /// If the store cannot answer, or one of the orders cannot be decoded.
    async fn load(&self, ids: &[OrderId]) -> Result<Vec<Option<Order>>, StoreError>;

    /// At most `limit` events of an order with a number above `after`, oldest first.
    ///
    /// # Errors
    /// If the store cannot answer, or an event cannot be decoded.
    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError>;

    /// The number of the last event of each order, in order; none for an unknown order.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn heads(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError>;

    /// At most `query.limit` orders, newest first: by their ids, which sort by the time of acceptance.
    ///
    /// An order that cannot be read has its place in the list, with the reason.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, Unreadable>>, StoreError>;

    /// At most `limit` orders of a lane that are due, those that became due first, first. Nothing is
    /// leased: this is for whoever sends orders to a queue of their own.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn due(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError>;

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

/// Which orders to list.
///
/// The next page begins before the last order of this one; orders that are accepted meanwhile shift
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderQuery {
    /// Only this user's.
    pub user_id: Option<UserId>,
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those that an operator should look at: in quarantine, of unknown outcome, or unreadable.
    pub attention: bool,
    /// Only those with a smaller id: the last one of the page before.
    pub before: Option<OrderId>,
    /// How many at most.
    pub limit: u32,
}

impl OrderQuery {
    /// Whether a readable order is among those asked for.
    pub fn matches(&self, order: &Order) -> bool {
        self.user_id.as_ref().is_none_or(|user| *user == order.request.user_id)
            && self.status.is_none_or(|status| status == order.status())
            && (!self.attention || order.state.attention().is_some())
            && self.before.is_none_or(|before| order.id < before)
    }
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

/// An order to accept.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// The order, as it is after its first event.
    pub order: Arc<Order>,
    /// The first event.
    pub event: Arc<EventRecord>,
}

/// What became of a [`NewOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It was accepted.
    Created,
    /// The user already has an order with this client order id: this one.
    Existing(Box<Order>),
}

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
pub struct Lease {
    /// The order.
    pub order_id: OrderId,
    /// The right to act for it.
    pub fence: Fence,
}

/// Which orders to lease, and to whom.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The lane the orders must be in.
    pub lane: Lane,
    /// Which of the due orders.
    pub scope: ClaimScope,
    /// How many at most.
    pub limit: u32,
    /// The owner half of the new fences.
    pub owner: u128,
    /// How long the leases last without renewal.
    pub duration: Duration,
}

/// Which of the due orders to lease.
#[derive(Clone, Debug)]
pub enum ClaimScope {
    /// Any.
    Any,
    /// Only these.
    Ids(Vec<OrderId>),
}

/// The result of a claim.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The leased orders.
    pub claims: Vec<Claim>,
    /// The store's time at the claim, as [`OrderStore::now`] tells it.
    pub as_of: DateTime<Utc>,
    /// When the next order of the lane becomes due, if one is waiting. It may be a little too
    /// early, never too late; it says nothing about orders that arrive meanwhile.
    pub next_due_in: Option<Duration>,
}

/// A leased order.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The lease.
    pub lease: Lease,
    /// How many claims of this order in a row, this one included, brought no progress. More than
    /// one says that a worker died or gave up with it.
    pub fruitless_claims: u32,
    /// The order as it is now, or why it cannot be read.
    pub order: Result<Arc<Order>, Undecodable>,
}

/// A stored order that this program cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored order cannot be read: {message}")]
pub struct Undecodable {
    /// Why, in words.
    pub message: String,
}

/// An order in a list that this program cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("order {order_id}: {error}")]
pub struct Unreadable {
    /// The order.
    pub order_id: OrderId,
    /// Why it cannot be read.
    pub error: Undecodable,
}

/// A lease to give back.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// The lease.
    pub lease: Lease,
    /// When the order is due again, from now.
    pub due_in: Duration,
    /// Why it brought nothing.
    pub blame: Blame,
}

/// Why a claim brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing is wrong with the order: its worker shut down, for instance. The claim does not count
    /// as fruitless.
    Nobody,
    /// Its worker panicked.
    Worker,
    /// The order cannot be read. Until somebody can write to it again, an operator should look at it.
    Payload,
}

/// How much waits to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The orders for workers.
    pub execute: LaneBacklog,
    /// The orders whose transactions are to be observed.
    pub observe: LaneBacklog,
    /// How many orders an operator should look at.
    pub attention: u64,
    /// What each registered sink is owed, by its name.
    pub sinks: Vec<SinkBacklog>,
}

/// The orders of a lane. One that a worker holds is due when its lease runs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneBacklog {
    /// All of them: due, held, and waiting for a time.
    pub orders: u64,
    /// Those that are due.
    pub due: u64,
    /// How long the one that became due first has been due.
    pub due_for: Option<Duration>,
}

/// What a sink is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkBacklog {
    /// The name of the sink.
    pub sink: Arc<str>,
    /// Of how many orders it is owed events.
    pub orders: u64,
    /// For how long it has been owed the oldest of them.
    pub owed_for: Option<Duration>,
}

/// A step of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// Orders whose last event is older than this may go.
    pub ended_before: DateTime<Utc>,
    /// The same for orders with a client order id: a name must not be forgotten while its owner may
    /// still repeat the request.
    pub named_ended_before: DateTime<Utc>,
    /// Where the walk goes on: after this order.
    pub after: Option<OrderId>,
    /// How many orders to look at, at most.
    pub limit: u32,
}

/// What a step of a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// How many orders are gone.
    pub orders: u64,
    /// Where the next step goes on; none when the walk is over.
    pub next: Option<OrderId>,
}

impl PurgeRequest {
    /// Whether an order that nobody is owed anything of may go.
    pub fn covers(&self, order: &Order) -> bool {
        let limit =
            if order.request.client_order_id.is_some() { self.named_ended_before } else { self.ended_before };
        order.status().is_terminal() && order.updated_at < limit
    }
}

/// Events to record.
#[derive(Clone, Debug)]
pub struct Append {
    /// Who may write.
    pub guard: Guard,
    /// The revision the order must have now.
    pub expected_seq: u64,
    /// The order as it is after the events.
    pub order: Arc<Order>,
    /// The events, oldest first, numbered from `expected_seq + 1`. At least one.
    pub events: Vec<Arc<EventRecord>>,
    /// What becomes of the lease. Whatever stands here, an order without a lane (a terminal one, or
    /// one in quarantine) loses its lease and is due no more.
    pub then: Then,
    /// Until when the events may be written, on the store's clock: compared in the very write. Past it
    /// the append is refused, unless there is another reason to.
    pub not_after: Option<DateTime<Utc>>,
}

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The holder of this lease.
    Fence(Fence),
    /// Anyone; only the revision is compared. With `revoke`, whoever holds a lease loses it.
    Revision {
        /// Whether a current lease ends: the epoch grows and the order is due at once.
        revoke: bool,
    },
}

/// What becomes of the lease after an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays, or the order stays as free as it was.
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
    /// Another transaction is about to use this name and has not ended. Nothing was written: ask
    /// again.
    #[error("another transaction is about to use this client order id and has not ended")]
    Locked,
    /// The item cannot be stored.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why an append was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Somebody else holds the lease, or nobody does.
    #[error("the lease is no longer current")]
    StaleFence,
    /// The lease is current, but the order has moved on: read it again and go on.
    #[error("the order has moved on to revision {actual}")]
    StaleRevision {
        /// The revision it has.
        actual: u64,
    },
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// Another transaction holds the order and has not ended. Nothing was written: ask again.
    #[error("another transaction holds the order and has not ended")]
    Locked,
    /// Nobody stood in the way, but the store's clock is past [`Append::not_after`]. Nothing is written.
    #[error("it is too late to write this")]
    TooLate,
    /// The item cannot be stored.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// An item that can never be stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store refuses this item: {message}")]
pub struct Refused {
    /// Why, in words.
    pub message: String,
}

/// A store that cannot answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure a [`StoreError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store does not answer, is full or is busy; it may recover by itself.
    Unavailable,
    /// The data was written by a newer version of this software, or by another one.
    Incompatible,
    /// The store is set up so that it cannot keep its promise.
    Misconfigured,
    /// A defect in the store or its data.
    Internal,
}

impl StoreError {
    /// An error of a kind, in words.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable)
    }
}
