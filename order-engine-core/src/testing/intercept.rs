//! Ports with somebody between the engine and them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use crate::{
    Append, AppendError, Backlog, ChainView, ClaimRequest, Claims, CreateError, Creation, Deliveries,
    DeliveryRequest, Durability, EventRecord, Lane, Lease, NewOrder, Observation, Order, OrderId, OrderQuery,
    OrderStore, Outbox, PrepareRequest, PurgeRequest, Purged, Release, Settlement, SignedTx, StepError,
    StoreError, SubmitReport, TxId, Unreadable, Venue, VenueError,
};

/// A call of a store or a venue, with what it is about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs)] // Each is named after the method that is called.
pub enum Call<'a> {
    Now,
    Create(&'a [NewOrder]),
    Claim(&'a ClaimRequest),
    Renew(&'a [Lease]),
    Release(&'a [Release]),
    Rouse(&'a [OrderId]),
    Append(&'a [Append]),
    Load(&'a [OrderId]),
    Events(OrderId),
    Heads(&'a [OrderId]),
    List(&'a OrderQuery),
    Due(Lane),
    Backlog,
    Purge(&'a PurgeRequest),
    Check,
    RegisterSinks(&'a [Arc<str>]),
    ForgetSink(&'a str),
    ClaimDeliveries(&'a DeliveryRequest),
    SettleDeliveries(&'a [Settlement]),
    Prepare(&'a PrepareRequest<'a>),
    Submit(&'a SignedTx),
    View,
    Observe(&'a [TxId]),
}

/// Stands between an engine and its store or venue.
///
/// A call goes on when this returns; it can be held up, made to hang, or made to fail.
#[async_trait]
pub trait Intercept: Debug + Send + Sync + 'static {
    /// Before the call has any effect.
    ///
    /// # Errors
    /// To let the call of a store fail without having an effect. Calls of a venue do not look at it.
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError>;

    /// After the call has had its effect, and before the caller knows.
    ///
    /// # Errors
    /// To let the caller of a store believe that the call failed. Calls of a venue do not look at it.
    async fn after(&self, call: Call<'_>) -> Result<(), StoreError>;
}

/// A store whose calls are intercepted.
#[derive(Clone, Debug)]
pub struct InterceptedStore {
    inner: Arc<dyn OrderStore>,
    intercept: Arc<dyn Intercept>,
}

impl InterceptedStore {
    /// This store behind this interceptor.
    pub fn new(inner: Arc<dyn OrderStore>, intercept: Arc<dyn Intercept>) -> Self {
        Self { inner, intercept }
    }

    async fn around<'a, T: Send>(
        &'a self,
        call: Call<'a>,
        run: impl FnOnce(&'a dyn OrderStore) -> BoxFuture<'a, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.intercept.before(call).await?;
        let result = run(&*self.inner).await;
        self.intercept.after(call).await?;
        result
    }
}

#[async_trait]
impl OrderStore for InterceptedStore {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.around(Call::Now, |inner| inner.now()).await
    }

    async fn create_many(
        &self,
        orders: &[NewOrder],
    ) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        self.around(Call::Create(orders), |inner| inner.create_many(orders)).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.around(Call::Claim(request), |inner| inner.claim(request)).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.around(Call::Renew(leases), |inner| inner.renew(leases, duration)).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.around(Call::Release(releases), |inner| inner.release(releases)).await
    }

    async fn rouse(&self, ids: &[OrderId]) -> Result<(), StoreError> {
        self.around(Call::Rouse(ids), |inner| inner.rouse(ids)).await
    }

    async fn append_many(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.around(Call::Append(appends), |inner| inner.append_many(appends)).await
    }

    async fn load(&self, ids: &[OrderId]) -> Result<Vec<Option<Order>>, StoreError> {
        self.around(Call::Load(ids), |inner| inner.load(ids)).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.around(Call::Events(id), |inner| inner.events(id, after, limit)).await
    }

    async fn heads(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.around(Call::Heads(ids), |inner| inner.heads(ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, Unreadable>>, StoreError> {
        self.around(Call::List(query), |inner| inner.list(query)).await
    }

    async fn due(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.around(Call::Due(lane), |inner| inner.due(lane, limit)).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.around(Call::Backlog, |inner| inner.backlog()).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.around(Call::Purge(request), |inner| inner.purge(request)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.around(Call::Check, |inner| inner.check()).await
    }
}

#[async_trait]
impl Outbox for InterceptedStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.around(Call::RegisterSinks(sinks), |inner| inner.register_sinks(sinks)).await
    }

    async fn forget_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.around(Call::ForgetSink(sink), |inner| inner.forget_sink(sink, limit)).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        self.around(Call::ClaimDeliveries(request), |inner| inner.claim_deliveries(request)).await
    }

    async fn settle_deliveries(&self, settlements: &[Settlement]) -> Result<Vec<bool>, StoreError> {
        self.around(Call::SettleDeliveries(settlements), |inner| inner.settle_deliveries(settlements)).await
    }
}

/// A venue whose calls are intercepted.
#[derive(Clone, Debug)]
pub struct InterceptedVenue {
    inner: Arc<dyn Venue>,
    intercept: Arc<dyn Intercept>,
}

impl InterceptedVenue {
    /// This venue behind this interceptor.
    pub fn new(inner: Arc<dyn Venue>, intercept: Arc<dyn Intercept>) -> Self {
        Self { inner, intercept }
    }

    async fn around<'a, T: Send>(&'a self, call: Call<'a>, run: BoxFuture<'a, T>) -> T {
        // What the interceptor says of a venue's call is whether it comes through at all: it can hang.
        let _ = self.intercept.before(call).await;
        let result = run.await;
        let _ = self.intercept.after(call).await;
        result
    }
}

#[async_trait]
impl Venue for InterceptedVenue {
    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.around(Call::Prepare(&request), self.inner.prepare(request)).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.around(Call::Submit(tx), self.inner.submit(tx)).await
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.around(Call::View, self.inner.view()).await
    }

    async fn observe(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, VenueError> {
        self.around(Call::Observe(tx_ids), self.inner.observe(tx_ids)).await
    }
}
