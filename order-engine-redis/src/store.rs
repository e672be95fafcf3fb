//! The store, which calls each operation and bounds its time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use order_engine_core::store::{
    Append, AppendError, ClaimRequest, Claims, Controls, CreateError, Creation, Deliveries, DeliveryAck,
    DeliveryRequest, EventFeed, FeedPage, FeedRequest, Lease, Outbox, PauseRequest, PurgeRequest, Purged,
    Release,
};
use order_engine_core::{
    Activity, Backlog, ClientOrderId, Durability, EventRecord, FeedCursor, Lane, NewOrder, Order, OrderId,
    OrderQuery, OrderStore, Pause, PauseScope, StoreError, UndecodableOrder, UserId,
};

use crate::connect::Purpose;
use crate::controls;
use crate::durability::DurabilityGuard;
use crate::feed;
use crate::options::RedisOptions;
use crate::outbox;
use crate::read;
use crate::session::Session;
use crate::write;

/// A store on one Redis server. Cheap to clone: clones share the connection.
#[derive(Clone, Debug)]
pub struct RedisStore {
    session: Arc<Session>,
    durability: Durability,
}

impl RedisStore {
    /// Connects to the server and checks that it can keep orders.
    ///
    /// # Errors
    /// If the server cannot be reached, is part of a cluster, may evict keys, promises less than
    /// [required](RedisOptions::with_required_durability), or has orders of a newer version of this software.
    pub async fn open(options: RedisOptions) -> Result<Self, StoreError> {
        Self::boxed_open(options).await
    }

    /// Boxes the future in this crate, so that the callers' crates do not compile the driver again.
    fn boxed_open(options: RedisOptions) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(Self::connect(options))
    }

    async fn connect(options: RedisOptions) -> Result<Self, StoreError> {
        let opening = Session::open(options.clone(), Purpose::Store(DurabilityGuard::default())).await;
        let session = opening.map_err(|error| error.at(&options))?;
        let durability = match session.purpose() {
            Purpose::Store(durability) => durability.promised(),
            Purpose::Hints => None,
        };
        Ok(Self { session: Arc::new(session), durability: durability.unwrap_or(Durability::BoundedLoss) })
    }
}

#[async_trait]
impl OrderStore for RedisStore {
    fn durability(&self) -> Durability {
        self.durability
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.session.in_time(read::now(&self.session)).await
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        self.session.in_time(write::create(&self.session, orders)).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.session.in_time(write::claim(&self.session, request)).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.session.in_time(write::renew(&self.session, leases, duration)).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.session.in_time(write::release(&self.session, releases)).await
    }

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        self.session.in_time(write::make_due(&self.session, id)).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.session.in_time(write::append(&self.session, appends)).await
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.session.in_time(read::load(&self.session, id)).await
    }

    async fn load_named(&self, user: &UserId, name: &ClientOrderId) -> Result<Option<Order>, StoreError> {
        self.session.in_time(read::load_named(&self.session, user, name)).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.session.in_time(read::events(&self.session, id, after, limit)).await
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.session.in_time(read::last_seqs(&self.session, ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        self.session.in_time(read::list(&self.session, query)).await
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.session.in_time(read::due_orders(&self.session, lane, limit)).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.session.in_time(read::backlog(&self.session)).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.session.in_time(write::purge(&self.session, request)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.session.in_time(write::check(&self.session)).await
    }
}

#[async_trait]
impl Outbox for RedisStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.session.in_time(outbox::register_sinks(&self.session, sinks)).await
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.session.in_time(outbox::unregister_sink(&self.session, sink, limit)).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        self.session.in_time(outbox::claim_deliveries(&self.session, request)).await
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        self.session.in_time(outbox::ack_deliveries(&self.session, acks)).await
    }
}

#[async_trait]
impl EventFeed for RedisStore {
    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        self.session.in_time(feed::feed_end(&self.session)).await
    }

    async fn read_feed(&self, request: &FeedRequest) -> Result<FeedPage, StoreError> {
        self.session.in_time(feed::read_feed(&self.session, request)).await
    }
}

#[async_trait]
impl Controls for RedisStore {
    async fn pause(&self, pause: &PauseRequest) -> Result<(), StoreError> {
        self.session.in_time(controls::pause(&self.session, pause)).await
    }

    async fn resume(&self, activity: Activity, scope: &PauseScope) -> Result<bool, StoreError> {
        self.session.in_time(controls::resume(&self.session, activity, scope)).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.session.in_time(controls::pauses(&self.session)).await
    }
}
