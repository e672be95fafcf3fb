//! The store.

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
use order_engine_core::{
    Activity, Backlog, ClientOrderId, Durability, EventRecord, FeedCursor, Lane, NewOrder, Order, OrderId,
    OrderQuery, OrderStore, Pause, PauseScope, StoreError, UndecodableOrder, UserId,
};
use sqlx::{Connection, SqlitePool};

use crate::clock::StoreClock;
use crate::error::Error;
use crate::items::{AppendItem, NewItem};
use crate::open_file::OpenFiles;
use crate::options::SqliteOptions;
use crate::session::Operation;
use crate::writer::WriterHandle;
use crate::{connect, controls, feed, folder, outbox, read, schema, write};

/// Two: while the thread that writes is busy with one, the next one is encoded and queued, so that the thread does not
/// wait for it.
const WRITES_IN_FLIGHT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// A store in one SQLite file. Cheap to clone; clones share the connections.
///
/// Several processes may use one file: each has one writer, and the writers take turns.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: WriterHandle,
    readers: SqlitePool,
    clock: StoreClock,
    operation_timeout: Duration,
}

impl SqliteStore {
    /// Opens the file, creates it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// If the file cannot be opened or written, its schema is newer than this program, or the
    /// settings that durability rests on do not take effect.
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        Self::boxed_open(options).await
    }

    /// Boxes the future in this crate, so that the callers' crates do not compile the driver again.
    fn boxed_open(options: SqliteOptions) -> Pin<Box<dyn Future<Output = Result<Self, StoreError>> + Send>> {
        Box::pin(Self::connect(options))
    }

    async fn connect(options: SqliteOptions) -> Result<Self, StoreError> {
        let path = options.path.clone();
        Ok(Self::open_inner(options).await.map_err(|error| Error::Open { path, source: Box::new(error) })?)
    }

    /// Returns how far the connections that read are in use. The one that writes is not among them.
    pub fn pool(&self) -> PoolUse {
        let (open, idle) = (self.readers.size() as usize, self.readers.num_idle());
        PoolUse::new(open.saturating_sub(idle), idle, self.readers.options().get_max_connections() as usize)
    }

    async fn open_inner(options: SqliteOptions) -> Result<Self, Error> {
        if let Some(folder) = options.path.parent() {
            folder::create(folder).map_err(Error::Folder)?;
        }
        let mut connection = connect::first(&options).await?;
        let files = OpenFiles::note(&options.path)?;
        // It takes the write lock, so a file that cannot be written fails here.
        schema::migrate(&mut connection).await?;
        let clock = StoreClock::open(&mut connection, &options).await?;
        let readers = connect::readers(&options).await?;
        let operation_timeout = options.operation_timeout;
        let writer = connect::writer(&options).await?;
        connection.close().await?;
        let writer = WriterHandle::start(options, clock.clone(), files, writer)?;
        Ok(Self { writer, readers, clock, operation_timeout })
    }

    pub(crate) const fn clock(&self) -> &StoreClock {
        &self.clock
    }

    async fn write<O: Operation + 'static>(&self, operation: O) -> Result<O::Output, StoreError> {
        self.in_time(async { Ok(self.writer.run(operation).await?) }).await
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, StoreError> {
        match tokio::time::timeout(self.operation_timeout, call).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::TimedOut.into()),
        }
    }
}

#[async_trait]
impl OrderStore for SqliteStore {
    fn durability(&self) -> Durability {
        // Every connection was checked to wait for the disk.
        Durability::Full
    }

    fn writes_in_flight(&self) -> NonZeroUsize {
        WRITES_IN_FLIGHT
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(self.clock.now())
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        // Encoded here, in the caller's task, while the thread that writes has other work.
        self.write(orders.iter().map(NewItem::encode).collect::<Vec<_>>()).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        let claimed = self.write(write::Claim(request.clone())).await?;
        Ok(claimed.decode()?)
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.write(write::Renew(leases.to_vec(), duration)).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.write(write::Release(releases.to_vec())).await
    }

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        self.write(write::MakeDue(id)).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.write(appends.iter().map(AppendItem::encode).collect::<Vec<_>>()).await
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.in_time(read::load(&self.readers, id)).await
    }

    async fn load_named(&self, user: &UserId, name: &ClientOrderId) -> Result<Option<Order>, StoreError> {
        self.in_time(read::load_named(&self.readers, user, name)).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.in_time(read::events(&self.readers, id, after, limit)).await
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.in_time(read::last_seqs(&self.readers, ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        self.in_time(read::list(&self.readers, query)).await
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.in_time(read::due_orders(&self.readers, lane, limit, self.clock.now())).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.in_time(read::backlog(&self.readers, self.clock.now())).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.write(write::Purge(*request)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.write(write::Check).await
    }
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.write(outbox::RegisterSinks(sinks.to_vec())).await
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.write(outbox::UnregisterSink { sink: sink.into(), limit }).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        let claimed = self.write(outbox::ClaimDeliveries(request.clone())).await?;
        if claimed.entries.is_empty() {
            return Ok(claimed.with_events([], []));
        }
        let events = outbox::claim_deliveries_events(&self.readers, claimed, request.events_limit);
        self.in_time(events).await
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        self.write(outbox::AckDeliveries(acks.to_vec())).await
    }
}

#[async_trait]
impl EventFeed for SqliteStore {
    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        self.in_time(feed::feed_end(&self.readers)).await
    }

    async fn read_feed(&self, request: &FeedRequest) -> Result<FeedPage, StoreError> {
        self.in_time(feed::read_feed(&self.readers, request)).await
    }
}

#[async_trait]
impl Controls for SqliteStore {
    async fn pause(&self, pause: &PauseRequest) -> Result<(), StoreError> {
        self.write(controls::PauseActivity(pause.clone())).await
    }

    async fn resume(&self, activity: Activity, scope: &PauseScope) -> Result<bool, StoreError> {
        self.write(controls::Resume { activity, scope: scope.clone() }).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.in_time(controls::pauses(&self.readers)).await
    }
}
