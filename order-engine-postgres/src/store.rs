//! The store.

use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::backend::PoolUse;
use order_engine_core::store::{
    Append, AppendError, ClaimRequest, Claims, Controls, CreateError, Creation, Deliveries, DeliveryAck,
    DeliveryRequest, EventFeed, FeedPage, FeedRequest, Lease, Outbox, PauseRequest, PurgeRequest, Purged,
    Release,
};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    Activity, Backlog, ClientOrderId, Durability, EventRecord, FeedCursor, ItemRejected, Lane, NewOrder,
    Order, OrderId, OrderQuery, OrderStore, Pause, PauseScope, StoreError, UndecodableOrder, UserId,
};
use sqlx::{PgConnection, Row};

use crate::connect::Connections;
use crate::error::Error;
use crate::nonces::AppendReserving;
use crate::options::PostgresOptions;
use crate::session::{LOCKED_ROUNDS, Sessions};
use crate::write::Renewal;
use crate::{controls, feed, outbox, read, schema, write};

/// One batch is prepared and executed while the last one waits for the disk.
const WRITES_IN_FLIGHT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// A store in a schema of a PostgreSQL database. Cheap to clone; clones share the connections.
///
/// Any number of processes may use one schema.
#[derive(Clone)]
pub struct PostgresStore {
    sessions: Arc<Sessions>,
    durability: Durability,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("options", self.sessions.options())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and brings the schema up to date; a role that may not change it can open one that
    /// is up to date.
    ///
    /// # Errors
    /// If the database cannot be reached, the role may not do what a store does, or the schema is
    /// newer than this program.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        Self::boxed_open(options).await
    }

    /// Boxes the future in this crate, so that the callers' crates do not compile the driver again.
    fn boxed_open(
        options: PostgresOptions,
    ) -> Pin<Box<dyn Future<Output = Result<Self, StoreError>> + Send>> {
        Box::pin(Self::connect(options))
    }

    async fn connect(options: PostgresOptions) -> Result<Self, StoreError> {
        let timeout = options.operation_timeout;
        let opened = tokio::time::timeout(timeout, Self::open_inner(options)).await;
        Ok(opened.unwrap_or(Err(Error::TimedOut)).map_err(|error| Error::Open(Box::new(error)))?)
    }

    async fn open_inner(options: PostgresOptions) -> Result<Self, Error> {
        let connections = Connections::new(&options);
        let mut used = connections.take().await?;
        schema::migrate(&mut used.connection, &options.schema).await?;
        schema::continue_feed(&mut used.connection, &options.schema).await?;
        let durability = durability(&mut used.connection).await?;
        connections.put_back(used);
        Ok(Self { sessions: Arc::new(Sessions::new(connections, options)), durability })
    }

    /// Returns how far the connections are in use. Those of a fan-out are not among them.
    pub fn pool(&self) -> PoolUse {
        self.sessions.pool()
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    async fn append_plain(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        self.sessions.run_in_parts(appends, 0, write::Append, not_written(AppendError::Locked)).await
    }

    async fn append_reserving(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        let failed = |error| match error {
            Error::NotAppended(refusal) => Ok(Err(refusal)),
            error => not_written(AppendError::Locked)(error),
        };
        self.sessions.run_in_parts(appends, 0, AppendReserving, failed).await
    }
}

/// Returns what a commit survives on this server, provided that it waits for the disk; each write sees to
/// that.
async fn durability(connection: &mut PgConnection) -> Result<Durability, Error> {
    let sql = "SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'
        AS is_durable";
    if sqlx::raw_sql(sql).fetch_one(connection).await?.try_get("is_durable")? {
        return Ok(Durability::Full);
    }
    tracing::warn!(
        "the server has fsync or full_page_writes turned off and may lose orders with its machine"
    );
    Ok(Durability::BoundedLoss)
}

#[async_trait]
impl OrderStore for PostgresStore {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn writes_in_flight(&self) -> NonZeroUsize {
        WRITES_IN_FLIGHT
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.sessions.run(read::Now).await
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        self.sessions.run_in_parts(orders, 0, write::Create, not_written(CreateError::Locked)).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.sessions.run(write::Claim(request)).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        let locked = |error: Error| if error.is_locked() { Ok(Renewal::Locked) } else { Err(error) };
        let renew = |leases| write::Renew(leases, duration);
        let renewals = self.sessions.run_in_parts(leases, 0, renew, locked).await?;
        if !renewals.contains(&Renewal::Locked) {
            return Ok(renewals.into_iter().map(|renewal| renewal == Renewal::Renewed).collect());
        }
        // A lease cannot be prolonged while another transaction holds its order, but neither can the order
        // be claimed.
        let current = self.sessions.run(write::RenewCurrent(leases)).await?;
        let is_current = |(lease, renewal)| match renewal {
            Renewal::Renewed => true,
            Renewal::NotCurrent => false,
            Renewal::Locked => current.contains(lease),
        };
        Ok(leases.iter().zip(renewals).map(is_current).collect())
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        let failed = |error| Ok(Err(error));
        let results = self.sessions.run_in_parts(releases, LOCKED_ROUNDS, write::Release, failed).await?;
        Ok(results.into_iter().collect::<Result<(), Error>>()?)
    }

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        self.sessions.run(write::MakeDue(id)).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        let has_nonce = |append: &Append| append.reservation.is_some();
        if !appends.iter().any(has_nonce) {
            return self.append_plain(appends).await;
        }
        // Those that reserve no nonce wait for no account.
        let (reserving, plain): (Vec<Append>, Vec<Append>) = appends.iter().cloned().partition(has_nonce);
        let (reserved, written) = tokio::join!(self.append_reserving(&reserving), self.append_plain(&plain));
        let (mut reserved, mut written) = (reserved?.into_iter(), written?.into_iter());
        let next = |append| if has_nonce(append) { reserved.next() } else { written.next() };
        Ok(appends.iter().filter_map(next).collect())
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.sessions.run(read::Load(id)).await
    }

    async fn load_named(&self, user: &UserId, name: &ClientOrderId) -> Result<Option<Order>, StoreError> {
        self.sessions.run(read::LoadNamed(user, name)).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.sessions.run(read::Events { id, after, limit }).await
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.sessions.run(read::LastSeqs(ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        self.sessions.run(read::List(query)).await
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.sessions.run(read::DueOrders { lane, limit }).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.sessions.run(read::Backlog).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.sessions.run(write::Purge(request)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.sessions.run(write::Check).await
    }
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.sessions.run_in_turns(outbox::RegisterSinks(sinks)).await
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.sessions.run_in_turns(outbox::UnregisterSink { sink, limit }).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        let claimed = self.sessions.run(outbox::ClaimDeliveries(request)).await?;
        if claimed.entries.is_empty() {
            return Ok(claimed.with_events([], []));
        }
        let events_limit = request.events_limit;
        let events =
            self.sessions.run(outbox::ClaimDeliveriesEvents { claimed: &claimed, events_limit }).await?;
        Ok(claimed.with_events(events.orders, events.events))
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        // An entry that another transaction holds stays, and its events are delivered twice.
        let locked = |error: Error| if error.is_locked() { Ok(false) } else { Err(error) };
        self.sessions.run_in_parts(acks, LOCKED_ROUNDS, outbox::AckDeliveries, locked).await
    }
}

#[async_trait]
impl EventFeed for PostgresStore {
    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        self.sessions.run(feed::FeedEnd).await
    }

    async fn read_feed(&self, request: &FeedRequest) -> Result<FeedPage, StoreError> {
        self.sessions.run(feed::ReadFeed(request)).await
    }
}

#[async_trait]
impl Controls for PostgresStore {
    async fn pause(&self, request: &PauseRequest) -> Result<(), StoreError> {
        self.sessions.run(controls::SetPause(request)).await
    }

    async fn resume(&self, activity: Activity, scope: &PauseScope) -> Result<bool, StoreError> {
        self.sessions.run(controls::Resume(activity, scope)).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.sessions.run(controls::Pauses).await
    }
}

/// Returns the result of an item that could not be written by itself: that it is locked, or rejected.
fn not_written<T, E: From<ItemRejected> + Clone>(locked: E) -> impl Fn(Error) -> Result<Result<T, E>, Error> {
    move |error| {
        if error.is_locked() {
            return Ok(Err(locked.clone()));
        }
        tracing::warn!(error = %chain(&error), "the database refuses an item");
        Ok(Err(ItemRejected { message: chain(&error).to_string() }.into()))
    }
}
