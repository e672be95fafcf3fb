//! The store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{
    Append, AppendError, Backlog, ClaimRequest, Claims, CreateError, Creation, Deliveries, DeliveryAck,
    DeliveryRequest, Durability, EventRecord, Lane, Lease, NewOrder, Order, OrderId, OrderQuery, OrderStore,
    Outbox, PurgeRequest, Purged, Release, StoreError, UndecodableOrder,
};

use crate::connect::{Promise, Purpose};
use crate::error::Error;
use crate::link::Link;
use crate::options::RedisOptions;
use crate::{outbox, read, write};

/// A store on one Redis server. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct RedisStore {
    link: Arc<Link>,
    durability: Durability,
}

impl RedisStore {
    /// Connects to the server and checks that it can keep orders.
    ///
    /// # Errors
    /// If the server cannot be reached, is part of a cluster, may evict keys, promises less than
    /// [required](RedisOptions::require_durability), or has orders of a newer version of this software.
    pub async fn open(options: RedisOptions) -> Result<Self, StoreError> {
        let address = options.address();
        let link = Link::open(options, Purpose::Store(Promise::default()))
            .await
            .map_err(|error| Error::Open { address, source: Box::new(error) })?;
        let durability = match link.purpose() {
            Purpose::Store(promise) => promise.durability(),
            Purpose::Hints => None,
        };
        Ok(Self { link, durability: durability.unwrap_or(Durability::BoundedLoss) })
    }
}

#[async_trait]
impl OrderStore for RedisStore {
    fn durability(&self) -> Durability {
        self.durability
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.link.in_time(read::now(&self.link)).await
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        self.link.in_time(write::create(&self.link, orders)).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.link.in_time(write::claim(&self.link, request)).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.link.in_time(write::renew(&self.link, leases, duration)).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.link.in_time(write::release(&self.link, releases)).await
    }

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        self.link.in_time(write::make_due(&self.link, &[id])).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.link.in_time(write::append(&self.link, appends)).await
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        Ok(self.link.in_time(read::load(&self.link, &[id])).await?.pop().flatten())
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.link.in_time(read::events(&self.link, id, after, limit)).await
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.link.in_time(read::last_seqs(&self.link, ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        self.link.in_time(read::list(&self.link, query)).await
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.link.in_time(read::due_orders(&self.link, lane, limit)).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.link.in_time(read::backlog(&self.link)).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.link.in_time(write::purge(&self.link, request)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.link.in_time(write::check(&self.link)).await
    }
}

#[async_trait]
impl Outbox for RedisStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.link.in_time(outbox::register(&self.link, sinks)).await
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.link.in_time(outbox::forget(&self.link, sink, limit)).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        self.link.in_time(outbox::claim(&self.link, request)).await
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        self.link.in_time(outbox::settle(&self.link, acks)).await
    }
}
