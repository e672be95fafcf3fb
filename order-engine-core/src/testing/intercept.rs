//! Ports whose calls are intercepted: observed, delayed, or made to fail.

use std::fmt::Debug;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::domain::event::EventRecord;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{AccountId, ClientOrderId, OrderId, TxId, UserId};
use crate::domain::order::{Order, OrderUpdate};
use crate::domain::route::{Candidate, QuoteRequest};
use crate::domain::state::step::Lane;
use crate::domain::transaction::{AccountView, ChainView, Observation, SignedTx, TxRef};
use crate::ports::controls::{Activity, Controls, Pause, PauseRequest, PauseScope};
use crate::ports::feed::{EventFeed, FeedCursor, FeedPage, FeedRequest};
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::lease::{ClaimRequest, Claims, Lease, Release};
use crate::ports::order_store::query::{Backlog, OrderQuery, PurgeRequest, Purged, UndecodableOrder};
use crate::ports::order_store::write::{Append, AppendError, CreateError, Creation, NewOrder};
use crate::ports::order_store::{Durability, OrderStore};
use crate::ports::outbox::{Deliveries, DeliveryAck, DeliveryRequest, Outbox};
use crate::ports::router::{DexRouter, StepError};
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};
use crate::ports::venue::{
    FillRequest, PrepareRequest, ReplaceRequest, SubmitReport, Venue, VenueCapabilities, VenueError,
};

/// A call of a port, with its main argument.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs)] // Each is named after the method that is called.
pub enum Call<'a> {
    Now,
    Create(&'a [NewOrder]),
    Claim(&'a ClaimRequest),
    Renew(&'a [Lease]),
    Release(&'a [Release]),
    MakeDue(OrderId),
    Append(&'a [Append]),
    Load(OrderId),
    LoadNamed(&'a UserId, &'a ClientOrderId),
    Events(OrderId),
    LastSeqs(&'a [OrderId]),
    List(&'a OrderQuery),
    DueOrders(Lane),
    Backlog,
    Purge(&'a PurgeRequest),
    Check,
    RegisterSinks(&'a [Arc<str>]),
    UnregisterSink(&'a str),
    ClaimDeliveries(&'a DeliveryRequest),
    AckDeliveries(&'a [DeliveryAck]),
    Prepare(&'a PrepareRequest<'a>),
    Replace(&'a ReplaceRequest<'a>),
    CancelTransaction(&'a ReplaceRequest<'a>),
    FillNonce(&'a FillRequest<'a>),
    Submit(&'a SignedTx),
    View,
    Accounts(&'a [AccountId]),
    Find(OrderId),
    Observe(&'a [TxRef<'a>]),
    Quote(&'a QuoteRequest),
    FeedEnd,
    ReadFeed(&'a FeedRequest),
    Pause(&'a PauseRequest),
    Resume(Activity, &'a PauseScope),
    Pauses,
    Deliver(&'a [OrderUpdate]),
}

/// A port of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // Each is named after its trait.
pub enum Port {
    Store,
    Venue,
    Router,
    Sink,
}

impl Call<'_> {
    /// Returns the port that is called.
    pub const fn port(&self) -> Port {
        match self {
            Self::Prepare(_)
            | Self::Replace(_)
            | Self::CancelTransaction(_)
            | Self::FillNonce(_)
            | Self::Submit(_)
            | Self::View
            | Self::Accounts(_)
            | Self::Find(_)
            | Self::Observe(_) => Port::Venue,
            Self::Quote(_) => Port::Router,
            Self::Deliver(_) => Port::Sink,
            _ => Port::Store,
        }
    }

    /// Returns the name of the method that is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Create(_) => "create",
            Self::Claim(_) => "claim",
            Self::Renew(_) => "renew",
            Self::Release(_) => "release",
            Self::MakeDue(_) => "make_due",
            Self::Append(_) => "append",
            Self::Load(_) => "load",
            Self::LoadNamed(..) => "load_named",
            Self::Events(_) => "events",
            Self::LastSeqs(_) => "last_seqs",
            Self::List(_) => "list",
            Self::DueOrders(_) => "due_orders",
            Self::Backlog => "backlog",
            Self::Purge(_) => "purge",
            Self::Check => "check",
            Self::RegisterSinks(_) => "register_sinks",
            Self::UnregisterSink(_) => "unregister_sink",
            Self::ClaimDeliveries(_) => "claim_deliveries",
            Self::AckDeliveries(_) => "ack_deliveries",
            Self::Prepare(_) => "prepare",
            Self::Replace(_) => "replace",
            Self::CancelTransaction(_) => "cancel_transaction",
            Self::FillNonce(_) => "fill_nonce",
            Self::Submit(_) => "submit",
            Self::View => "view",
            Self::Accounts(_) => "accounts",
            Self::Find(_) => "find",
            Self::Observe(_) => "observe",
            Self::Quote(_) => "quote",
            Self::FeedEnd => "feed_end",
            Self::ReadFeed(_) => "read_feed",
            Self::Pause(_) => "pause",
            Self::Resume(..) => "resume",
            Self::Pauses => "pauses",
            Self::Deliver(_) => "deliver",
        }
    }
}

/// The results of a call, as far as interceptors look at them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// The results of a `create`.
    Created(&'a [Result<Creation, CreateError>]),
    /// The results of an `append`.
    Appended(&'a [Result<(), AppendError>]),
    /// Any other result, and every failure of a whole call.
    Other,
}

fn created(result: &Result<Vec<Result<Creation, CreateError>>, StoreError>) -> Reply<'_> {
    result.as_ref().map_or(Reply::Other, |results| Reply::Created(results))
}

fn appended(result: &Result<Vec<Result<(), AppendError>>, StoreError>) -> Reply<'_> {
    result.as_ref().map_or(Reply::Other, |results| Reply::Appended(results))
}

/// An interceptor between an engine and one of its ports.
///
/// A call goes on when a method returns. The method may delay the call, hang, panic, or make the call fail.
#[async_trait]
pub trait Intercept: Debug + Send + Sync + 'static {
    /// Returns whether a call is intercepted: by default, every call is. A call that is not goes straight to
    /// the port.
    fn intercepts(&self, call: Call<'_>) -> bool {
        let _ = call;
        true
    }

    /// Runs before the call has any effect.
    ///
    /// # Errors
    /// To make the call fail without an effect. A store fails with this error; any other port fails with an
    /// error of its own that contains this one's message.
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        let _ = call;
        Ok(())
    }

    /// Runs after the call has had its effect, and before the caller learns of it.
    ///
    /// # Errors
    /// To make the call fail although it has had its effect.
    async fn after(&self, call: Call<'_>, reply: Reply<'_>) -> Result<(), StoreError> {
        let _ = (call, reply);
        Ok(())
    }
}

/// Runs a call of a port, with the interceptor before and after it. The outer error is the interceptor's.
async fn around<T: Send + Sync>(
    intercept: &dyn Intercept,
    call: Call<'_>,
    run: impl Future<Output = T> + Send,
    reply: fn(&T) -> Reply<'_>,
) -> Result<T, StoreError> {
    if !intercept.intercepts(call) {
        return Ok(run.await);
    }
    intercept.before(call).await?;
    let result = run.await;
    intercept.after(call, reply(&result)).await?;
    Ok(result)
}

/// A store whose calls are intercepted.
#[derive(Clone, Debug)]
pub struct InterceptedStore {
    inner: Arc<dyn OrderStore>,
    intercept: Arc<dyn Intercept>,
    runtime: Option<Handle>,
    durability: Option<Durability>,
}

impl InterceptedStore {
    /// Returns this store behind this interceptor.
    pub fn new(inner: Arc<dyn OrderStore>, intercept: Arc<dyn Intercept>) -> Self {
        Self { inner, intercept, runtime: None, durability: None }
    }

    /// Runs the store's own calls to their end on a tokio runtime while the caller's thread waits. A store
    /// that needs tokio so works under an [`Executor`](super::Executor), whose clock does not move meanwhile.
    #[must_use]
    pub fn blocking_on(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Makes the store say another durability of itself than it has.
    #[must_use]
    pub const fn claiming(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    async fn around<T: Send + Sync>(
        &self,
        call: Call<'_>,
        run: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.around_with_reply(call, run, |_| Reply::Other).await
    }

    async fn around_with_reply<T: Send + Sync>(
        &self,
        call: Call<'_>,
        run: BoxFuture<'_, Result<T, StoreError>>,
        reply: fn(&Result<T, StoreError>) -> Reply<'_>,
    ) -> Result<T, StoreError> {
        let run = async {
            match &self.runtime {
                Some(runtime) => runtime.block_on(run),
                None => run.await,
            }
        };
        around(&*self.intercept, call, run, reply).await?
    }
}

#[async_trait]
impl OrderStore for InterceptedStore {
    fn durability(&self) -> Durability {
        self.durability.unwrap_or_else(|| self.inner.durability())
    }

    fn writes_in_flight(&self) -> NonZeroUsize {
        self.inner.writes_in_flight()
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.around(Call::Now, self.inner.now()).await
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        self.around_with_reply(Call::Create(orders), self.inner.create(orders), created).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.around(Call::Claim(request), self.inner.claim(request)).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.around(Call::Renew(leases), self.inner.renew(leases, duration)).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.around(Call::Release(releases), self.inner.release(releases)).await
    }

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        self.around(Call::MakeDue(id), self.inner.make_due(id)).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.around_with_reply(Call::Append(appends), self.inner.append(appends), appended).await
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.around(Call::Load(id), self.inner.load(id)).await
    }

    async fn load_named(&self, user: &UserId, name: &ClientOrderId) -> Result<Option<Order>, StoreError> {
        self.around(Call::LoadNamed(user, name), self.inner.load_named(user, name)).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.around(Call::Events(id), self.inner.events(id, after, limit)).await
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.around(Call::LastSeqs(ids), self.inner.last_seqs(ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        self.around(Call::List(query), self.inner.list(query)).await
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.around(Call::DueOrders(lane), self.inner.due_orders(lane, limit)).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.around(Call::Backlog, self.inner.backlog()).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.around(Call::Purge(request), self.inner.purge(request)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.around(Call::Check, self.inner.check()).await
    }
}

#[async_trait]
impl Outbox for InterceptedStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.around(Call::RegisterSinks(sinks), self.inner.register_sinks(sinks)).await
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.around(Call::UnregisterSink(sink), self.inner.unregister_sink(sink, limit)).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        self.around(Call::ClaimDeliveries(request), self.inner.claim_deliveries(request)).await
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        self.around(Call::AckDeliveries(acks), self.inner.ack_deliveries(acks)).await
    }
}

#[async_trait]
impl EventFeed for InterceptedStore {
    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        self.around(Call::FeedEnd, self.inner.feed_end()).await
    }

    async fn read_feed(&self, request: &FeedRequest) -> Result<FeedPage, StoreError> {
        self.around(Call::ReadFeed(request), self.inner.read_feed(request)).await
    }
}

#[async_trait]
impl Controls for InterceptedStore {
    async fn pause(&self, request: &PauseRequest) -> Result<(), StoreError> {
        self.around(Call::Pause(request), self.inner.pause(request)).await
    }

    async fn resume(&self, activity: Activity, scope: &PauseScope) -> Result<bool, StoreError> {
        self.around(Call::Resume(activity, scope), self.inner.resume(activity, scope)).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.around(Call::Pauses, self.inner.pauses()).await
    }
}

/// A venue whose calls are intercepted.
#[derive(Clone, Debug)]
pub struct InterceptedVenue {
    inner: Arc<dyn Venue>,
    intercept: Arc<dyn Intercept>,
}

impl InterceptedVenue {
    /// Returns this venue behind this interceptor.
    pub fn new(inner: Arc<dyn Venue>, intercept: Arc<dyn Intercept>) -> Self {
        Self { inner, intercept }
    }
}

#[async_trait]
impl Venue for InterceptedVenue {
    fn capabilities(&self) -> VenueCapabilities {
        self.inner.capabilities()
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        let prepared =
            around(&*self.intercept, Call::Prepare(&request), self.inner.prepare(request), |_| Reply::Other)
                .await;
        prepared.unwrap_or_else(|error| Err(no_answer(FailureCode::VENUE_UNAVAILABLE, &error)))
    }

    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        let replaced =
            around(&*self.intercept, Call::Replace(&request), self.inner.replace(request), |_| Reply::Other)
                .await;
        replaced.unwrap_or_else(|error| Err(no_answer(FailureCode::VENUE_UNAVAILABLE, &error)))
    }

    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        let signing = self.inner.cancel_transaction(request);
        let signed =
            around(&*self.intercept, Call::CancelTransaction(&request), signing, |_| Reply::Other).await;
        signed.unwrap_or_else(|error| Err(no_answer(FailureCode::VENUE_UNAVAILABLE, &error)))
    }

    async fn fill_nonce(&self, request: FillRequest<'_>) -> Result<SignedTx, StepError> {
        let signing = self.inner.fill_nonce(request);
        let signed = around(&*self.intercept, Call::FillNonce(&request), signing, |_| Reply::Other).await;
        signed.unwrap_or_else(|error| Err(no_answer(FailureCode::VENUE_UNAVAILABLE, &error)))
    }

    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        let asked = self.inner.accounts(accounts);
        let views = around(&*self.intercept, Call::Accounts(accounts), asked, |_| Reply::Other).await;
        views.unwrap_or_else(|error| Err(VenueError::new(error.to_string())))
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        let found =
            around(&*self.intercept, Call::Find(order), self.inner.find(order), |_| Reply::Other).await;
        found.unwrap_or_else(|error| Err(VenueError::new(error.to_string())))
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        let report =
            around(&*self.intercept, Call::Submit(tx), self.inner.submit(tx), |_| Reply::Other).await;
        report.unwrap_or_else(|error| SubmitReport::Ambiguous { message: error.to_string() })
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        let view = around(&*self.intercept, Call::View, self.inner.view(), |_| Reply::Other).await;
        view.unwrap_or_else(|error| Err(VenueError::new(error.to_string())))
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let seen =
            around(&*self.intercept, Call::Observe(txs), self.inner.observe(txs), |_| Reply::Other).await;
        seen.unwrap_or_else(|error| Err(VenueError::new(error.to_string())))
    }
}

/// A router whose calls are intercepted.
#[derive(Clone, Debug)]
pub struct InterceptedRouter {
    inner: Arc<dyn DexRouter>,
    intercept: Arc<dyn Intercept>,
}

impl InterceptedRouter {
    /// Returns this router behind this interceptor.
    pub fn new(inner: Arc<dyn DexRouter>, intercept: Arc<dyn Intercept>) -> Self {
        Self { inner, intercept }
    }
}

#[async_trait]
impl DexRouter for InterceptedRouter {
    fn dexes(&self) -> Vec<String> {
        self.inner.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let quoted =
            around(&*self.intercept, Call::Quote(request), self.inner.quote(request), |_| Reply::Other).await;
        quoted.unwrap_or_else(|error| Err(no_answer(FailureCode::QUOTE_UNAVAILABLE, &error)))
    }
}

/// A sink whose calls are intercepted.
#[derive(Clone, Debug)]
pub struct InterceptedSink {
    inner: Arc<dyn StatusSink>,
    intercept: Arc<dyn Intercept>,
}

impl InterceptedSink {
    /// Returns this sink behind this interceptor.
    pub fn new(inner: Arc<dyn StatusSink>, intercept: Arc<dyn Intercept>) -> Self {
        Self { inner, intercept }
    }
}

#[async_trait]
impl StatusSink for InterceptedSink {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn guarantee(&self) -> SinkGuarantee {
        self.inner.guarantee()
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        let delivered =
            around(&*self.intercept, Call::Deliver(updates), self.inner.deliver(updates), |_| Reply::Other)
                .await;
        delivered.unwrap_or_else(|error| Err(SinkError::new(error.to_string())))
    }
}

fn no_answer(code: FailureCode, error: &StoreError) -> StepError {
    StepError::unavailable(Failure::new(code, error.to_string()))
}
