use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use order_engine_core::{
    Append, AppendError, ClaimRequest, Claims, Creation, Durability, EventRecord, Lease, MemoryStore,
    NewOrder, Order, OrderId, OrderQuery, OrderStore, Refused, Release, StoreError, StoreErrorKind,
};

/// A store in memory that can be switched off.
#[derive(Debug, Default)]
pub struct FlakyStore {
    inner: MemoryStore,
    is_down: AtomicBool,
}

impl FlakyStore {
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    fn up(&self) -> Result<&MemoryStore, StoreError> {
        if self.is_down.load(Ordering::SeqCst) {
            Err(StoreError::new(StoreErrorKind::Unavailable, "the disk /secret/path is full"))
        } else {
            Ok(&self.inner)
        }
    }
}

#[async_trait::async_trait]
impl OrderStore for FlakyStore {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn create_many(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, Refused>>, StoreError> {
        self.up()?.create_many(orders).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.up()?.claim(request).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.up()?.renew(leases, duration).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.up()?.release(releases).await
    }

    async fn append_many(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.up()?.append_many(appends).await
    }

    async fn load(&self, ids: &[OrderId]) -> Result<Vec<Option<Order>>, StoreError> {
        self.up()?.load(ids).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.up()?.events(id, after, limit).await
    }

    async fn heads(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.up()?.heads(ids).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Order>, StoreError> {
        self.up()?.list(query).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.up()?.check().await
    }
}
