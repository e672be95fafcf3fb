//! A store that notes when each event was committed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{
    Append, AppendError, Backlog, ClaimRequest, Claims, CreateError, Creation, Deliveries, DeliveryAck,
    DeliveryRequest, Durability, EventRecord, Lane, Lease, NewOrder, Order, OrderId, OrderQuery, OrderStore,
    Outbox, PurgeRequest, Purged, Release, Status, StoreError, UndecodableOrder,
};
use tokio::sync::oneshot;

/// When the events of orders were committed, until somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    orders: Mutex<HashMap<OrderId, Entered>>,
}

#[derive(Debug, Default)]
struct Entered {
    life: Life,
    ended: Option<oneshot::Sender<Life>>,
}

/// When the events of one order were committed.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// By the numbers of the events, from 1.
    committed: Vec<Instant>,
    end: Option<Status>,
}

impl Life {
    /// When an event was committed.
    pub(crate) fn committed(&self, seq: u64) -> Option<Instant> {
        self.committed.get(usize::try_from(seq).ok()?.checked_sub(1)?).copied()
    }

    /// When the last one was.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.committed.last().copied()
    }

    /// What the order came to.
    pub(crate) const fn end(&self) -> Option<Status> {
        self.end
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> u64 {
        self.committed.len() as u64
    }
}

impl Commits {
    fn orders(&self) -> MutexGuard<'_, HashMap<OrderId, Entered>> {
        // Nothing in here panics while the lock is held.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an order has ended, and forgets it. Nothing if the store is gone.
    pub(crate) async fn life(&self, id: OrderId) -> Option<Life> {
        let told = {
            let mut orders = self.orders();
            let entered = orders.entry(id).or_default();
            if entered.life.end.is_some() {
                return orders.remove(&id).map(|entered| entered.life);
            }
            let (tell, told) = oneshot::channel();
            entered.ended = Some(tell);
            told
        };
        told.await.ok()
    }

    fn note<'a>(&self, events: impl Iterator<Item = &'a Arc<EventRecord>>) {
        let now = Instant::now();
        let mut orders = self.orders();
        for event in events {
            let mut entry = match orders.entry(event.order_id) {
                Entry::Occupied(entry) => entry,
                Entry::Vacant(entry) => entry.insert_entry(Entered::default()),
            };
            let entered = entry.get_mut();
            entered.life.committed.push(now);
            if event.status.is_terminal() {
                entered.life.end = Some(event.status);
                if let Some(tell) = entered.ended.take() {
                    // Whoever waited may have given up.
                    let _ = tell.send(entry.remove().life);
                }
            }
        }
    }
}

/// A store whose commits are noted.
#[derive(Debug)]
pub(crate) struct Tapped {
    inner: Arc<dyn OrderStore>,
    commits: Arc<Commits>,
}

impl Tapped {
    /// This store, and where its commits are noted.
    pub(crate) fn new(inner: Arc<dyn OrderStore>) -> (Self, Arc<Commits>) {
        let commits = Arc::<Commits>::default();
        (Self { inner, commits: Arc::clone(&commits) }, commits)
    }
}

#[async_trait]
impl OrderStore for Tapped {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.inner.now().await
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        let results = self.inner.create(orders).await?;
        let created =
            orders.iter().zip(&results).filter(|(_, result)| matches!(result, Ok(Creation::Created)));
        self.commits.note(created.map(|(new, _)| &new.event));
        Ok(results)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.inner.claim(request).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.inner.renew(leases, duration).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.inner.release(releases).await
    }

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        self.inner.make_due(id).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        let results = self.inner.append(appends).await?;
        let written = appends.iter().zip(&results).filter(|(_, result)| result.is_ok());
        self.commits.note(written.flat_map(|(append, _)| &append.events));
        Ok(results)
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.inner.load(id).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.inner.events(id, after, limit).await
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.inner.last_seqs(ids).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        self.inner.list(query).await
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.inner.due_orders(lane, limit).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.inner.backlog().await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.inner.purge(request).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
}

#[async_trait]
impl Outbox for Tapped {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.inner.register_sinks(sinks).await
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.inner.unregister_sink(sink, limit).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        self.inner.claim_deliveries(request).await
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        self.inner.ack_deliveries(acks).await
    }
}
