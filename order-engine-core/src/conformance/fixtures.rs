//! Orders with legal histories, workers that claim them and relays that deliver their events. The cases are
//! made of these, and so are the backends' own tests.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::amount::Amount;
use crate::domain::event::{EventRecord, OrderEvent, UnknownReason};
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::OrderId;
use crate::domain::order::{Order, OrderRequest};
use crate::domain::route::{Candidate, Leg, Route};
use crate::domain::state::OrderState;
use crate::domain::state::step::Lane;
use crate::domain::transaction::{Fill, SignedTx, Validity};
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::lease::{
    Claim, ClaimRequest, ClaimScope, Claims, Fence, Lease, Release, ReleaseReason,
};
use crate::ports::order_store::write::{Append, AppendError, CreateError, Creation, Guard, NewOrder, Then};
use crate::ports::outbox::{Deliveries, Delivery, DeliveryAck, DeliveryOutcome, DeliveryRequest};
use crate::testing;

/// The duration of leases and waits that must not end while a case runs.
pub const HOUR: Duration = Duration::from_hours(1);
/// The duration of leases and waits that a case lets end.
pub const SHORT: Duration = Duration::from_millis(500);
/// The time that a case lets elapse until they have ended.
pub const LONGER_THAN_SHORT: Duration = Duration::from_millis(600);

/// The number of attempts that the orders have.
const MAX_ATTEMPTS: u32 = 3;

/// Returns a time of the engine. No store measures leases or waits on it.
pub fn moment(ms: u64) -> DateTime<Utc> {
    let ms = i64::try_from(ms).expect("a small number");
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_767_225_600) + TimeDelta::milliseconds(ms)
}

/// Returns the id of the order with this number.
pub fn id(n: u64) -> OrderId {
    OrderId::new(moment(n), 0)
}

/// Returns a request without a client order id.
pub fn request() -> OrderRequest {
    testing::request()
}

/// Returns a request with a client order id.
pub fn request_named(user: &str, key: &str) -> OrderRequest {
    request().with_user_id(user).with_client_order_id(key)
}

/// Returns a new order with this number.
pub fn new_order(n: u64) -> NewOrder {
    new_order_for(n, request())
}

/// Returns a new order with this number, for a request.
pub fn new_order_for(n: u64, request: OrderRequest) -> NewOrder {
    let (order, event) = Order::accept(id(n), request, MAX_ATTEMPTS, moment(n));
    NewOrder::new(Arc::new(order), Arc::new(event))
}

/// Returns new orders, numbered from 1.
pub fn new_orders(count: u64) -> Vec<NewOrder> {
    (1..=count).map(new_order).collect()
}

/// Creates orders, and checks that all of them are new.
pub async fn create(store: &Arc<dyn OrderStore>, orders: &[NewOrder]) {
    let results = store.create(orders).await.expect("the store answers");
    assert_eq!(results, vec![Ok(Creation::Created); orders.len()]);
}

/// Creates an order without a client order id, and returns it.
pub async fn create_one(store: &Arc<dyn OrderStore>, n: u64) -> Arc<Order> {
    let new = new_order(n);
    create(store, std::slice::from_ref(&new)).await;
    new.order
}

/// Returns the stored order.
pub async fn load(store: &Arc<dyn OrderStore>, id: OrderId) -> Order {
    store.load(id).await.expect("the store answers").expect("the order is there")
}

/// Returns all events of an order.
pub async fn history(store: &Arc<dyn OrderStore>, id: OrderId) -> Vec<EventRecord> {
    store.events(id, 0, u32::MAX).await.expect("the store answers")
}

/// Checks that the stored order equals this one, and is the fold of its stored events.
pub async fn assert_stored(store: &Arc<dyn OrderStore>, order: &Order) {
    let stored = load(store, order.id).await;
    assert_eq!(&stored, order);
    let events = history(store, order.id).await;
    assert_eq!(events.last().map(|event| event.seq), Some(order.seq));
    assert_eq!(OrderState::replay(&events), Ok(stored.state));
}

/// Returns an append of these events to this state of an order.
pub fn append(order: &Order, guard: Guard, then: Then, events: &[OrderEvent]) -> Append {
    let mut next = order.clone();
    let advance = |event: &OrderEvent| {
        let at = next.updated_at + TimeDelta::milliseconds(7);
        Arc::new(next.advance_mut(event.clone(), at).expect("the history is legal"))
    };
    let events = events.iter().map(advance).collect();
    Append::new(guard, Arc::new(next), events).with_then(then)
}

/// Appends one item, and repeats that as long as another writer's transaction holds the order.
///
/// # Errors
/// If the store refuses the item.
pub async fn write(store: &Arc<dyn OrderStore>, append: Append) -> Result<(), AppendError> {
    let append = [append];
    loop {
        let results = store.append(&append).await.expect("the store answers");
        assert_eq!(results.len(), 1);
        if results != [Err(AppendError::Locked)] {
            return results[0].clone();
        }
    }
}

/// Creates orders, and repeats that as long as another writer's transaction holds their client order ids.
pub async fn create_racing(
    store: &Arc<dyn OrderStore>,
    orders: &[NewOrder],
) -> Vec<Result<Creation, CreateError>> {
    let mut results = store.create(orders).await.expect("the store answers");
    for (result, new) in results.iter_mut().zip(orders) {
        while *result == Err(CreateError::Locked) {
            let again = store.create(std::slice::from_ref(new)).await.expect("the store answers");
            result.clone_from(&again[0]);
        }
    }
    results
}

/// Appends to an order without a lease, and returns the order after that.
pub async fn write_freely(
    store: &Arc<dyn OrderStore>,
    order: &Order,
    then: Then,
    events: &[OrderEvent],
) -> Arc<Order> {
    let append = append(order, FREELY, then, events);
    let next = Arc::clone(&append.order);
    assert_eq!(write(store, append).await, Ok(()));
    next
}

/// The write needs no lease, and keeps the lease of the order's holder.
pub const FREELY: Guard = Guard::Revision { revoke: false };
/// The write needs no lease, and ends the lease of the order's holder.
pub const REVOKING: Guard = Guard::Revision { revoke: true };
/// The order is due at once.
pub const AT_ONCE: Then = Then::Release { due_in: Duration::ZERO };

/// A worker that claims orders.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The store in which it claims.
    pub store: Arc<dyn OrderStore>,
    /// The owner half of its fences.
    pub owner: u128,
    /// The lane in which it claims.
    pub lane: Lane,
    /// The duration of its leases.
    pub lease: Duration,
}

impl Worker {
    /// Returns a worker of the execute lane whose leases last for the whole case.
    pub fn new(store: &Arc<dyn OrderStore>, owner: u128) -> Self {
        Self { store: Arc::clone(store), owner, lane: Lane::Execute, lease: HOUR }
    }

    /// Returns the same worker in another lane.
    pub fn in_lane(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    /// Returns the same worker with leases of this duration.
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Claims orders, and returns the store's result.
    pub async fn ask(&self, scope: ClaimScope, limit: u32) -> Claims {
        let request = ClaimRequest { lane: self.lane, scope, limit, owner: self.owner, duration: self.lease };
        let claims = self.store.claim(&request).await.expect("the store answers");
        for claim in &claims.claims {
            assert_eq!(claim.lease.fence.owner, self.owner);
        }
        claims
    }

    /// Claims orders of its lane that are due.
    pub async fn claim(&self, limit: u32) -> Vec<Claim> {
        self.ask(ClaimScope::Any, limit).await.claims
    }

    /// Claims the only order that is due.
    pub async fn claim_one(&self) -> Claim {
        let mut claims = self.claim(2).await;
        assert_eq!(claims.len(), 1, "one order is due");
        claims.remove(0)
    }

    /// Claims this order if it is due.
    pub async fn claim_order(&self, id: OrderId) -> Vec<Claim> {
        self.ask(ClaimScope::Order(id), 10).await.claims
    }

    /// Checks that no order is due.
    pub async fn finds_nothing(&self) {
        assert_eq!(ids_of(&self.claim(1).await), []);
    }

    /// Renews one lease for an hour. Returns whether it was current.
    pub async fn renews(&self, lease: Lease) -> bool {
        let renewed = self.store.renew(&[lease], HOUR).await.expect("the store answers");
        assert_eq!(renewed.len(), 1);
        renewed[0]
    }

    /// Releases a lease.
    pub async fn release(&self, lease: Lease, due_in: Duration, reason: ReleaseReason) {
        self.store.release(&[Release { lease, due_in, reason }]).await.expect("the store answers");
    }

    /// Appends under a lease, and returns the order after that.
    pub async fn write(&self, claim: &Claim, then: Then, events: &[OrderEvent]) -> Arc<Order> {
        let append = append(order_of(claim), Guard::Fence(claim.lease.fence), then, events);
        let next = Arc::clone(&append.order);
        assert_eq!(write(&self.store, append).await, Ok(()));
        next
    }
}

/// Registers a sink.
pub async fn register(store: &Arc<dyn OrderStore>, sink: &str) {
    store.register_sinks(&[sink.into()]).await.expect("the store answers");
}

/// A relay that delivers the events of a sink.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The store in which it claims.
    pub store: Arc<dyn OrderStore>,
    /// The sink whose entries it claims.
    pub sink: Arc<str>,
    /// The owner half of its fences.
    pub owner: u128,
    /// The duration of its leases.
    pub lease: Duration,
}

impl Relay {
    /// Returns a relay whose leases last for the whole case.
    pub fn new(store: &Arc<dyn OrderStore>, sink: &str, owner: u128) -> Self {
        Self { store: Arc::clone(store), sink: sink.into(), owner, lease: HOUR }
    }

    /// Returns the same relay with leases of this duration.
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Claims entries with at most `events_limit` events of each, and returns the store's result.
    pub async fn ask(&self, limit: u32, events_limit: u32) -> Deliveries {
        let (sink, owner, duration) = (Arc::clone(&self.sink), self.owner, self.lease);
        let request = DeliveryRequest { sink, limit, events_limit, owner, duration };
        let claimed = self.store.claim_deliveries(&request).await.expect("the store answers");
        for delivery in &claimed.deliveries {
            assert_eq!(delivery.lease.fence.owner, self.owner);
        }
        claimed
    }

    /// Claims entries.
    pub async fn claim(&self, limit: u32) -> Vec<Delivery> {
        self.ask(limit, 100).await.deliveries
    }

    /// Claims the only entry that is due.
    pub async fn claim_one(&self) -> Delivery {
        let mut claimed = self.claim(2).await;
        assert_eq!(claimed.len(), 1, "one entry is due");
        claimed.remove(0)
    }

    /// Checks that no entry is due.
    pub async fn finds_nothing(&self) {
        assert!(self.claim(1).await.is_empty());
    }

    /// Records the outcome of a delivery. Returns whether its lease was current.
    pub async fn record(&self, delivery: &Delivery, outcome: DeliveryOutcome) -> bool {
        let ack = DeliveryAck { sink: Arc::clone(&self.sink), lease: delivery.lease, outcome };
        let acked = self.store.ack_deliveries(&[ack]).await.expect("the store answers");
        assert_eq!(acked.len(), 1);
        acked[0]
    }

    /// Acknowledges all events of a delivery. Returns whether its lease was current.
    pub async fn ack(&self, delivery: &Delivery) -> bool {
        let seq = *seqs_of(delivery).last().expect("an entry has events");
        self.record(delivery, DeliveryOutcome::Ack { seq }).await
    }
}

/// Returns the numbers of a delivery's events.
pub fn seqs_of(delivery: &Delivery) -> Vec<u64> {
    delivery.updates.as_ref().expect("the events can be read").iter().map(|update| update.event.seq).collect()
}

/// Returns the order of a claim.
pub fn order_of(claim: &Claim) -> &Arc<Order> {
    claim.order.as_ref().expect("the order can be read")
}

/// Returns the ids of the claimed orders, in order.
pub fn ids_of(claims: &[Claim]) -> Vec<OrderId> {
    claims.iter().map(|claim| claim.lease.order_id).collect()
}

/// Returns the fence with another epoch.
pub fn with_epoch(fence: Fence, epoch: u64) -> Fence {
    Fence { epoch, ..fence }
}

/// Returns the first event of an attempt.
pub fn routing_started(attempt: u32) -> OrderEvent {
    OrderEvent::RoutingStarted { attempt, dexes: vec!["Raydium".into(), "Meteora".into()] }
}

/// Returns a route through one pool.
pub fn route() -> Route {
    let (amount_in, amount_out) = (Amount::new(1_000_000_000), Amount::new(150_750_000));
    let (sold, bought) = ((testing::sol().mint, amount_in), (testing::usdc().mint, amount_out));
    let leg = Leg::new("Meteora", "meteora-sol-usdc", sold, bought);
    Route::new("Meteora", vec![leg], amount_in, amount_out)
}

/// Returns the event of a route that was chosen over a rejected one.
pub fn route_chosen() -> OrderEvent {
    let paused = Failure::new(FailureCode::NO_ROUTE, "The pool is paused");
    let candidates =
        vec![Candidate::quoted("meteora", route()), Candidate::rejected("Raydium", "raydium", paused)];
    OrderEvent::RouteChosen {
        route: route().into(),
        candidates,
        quoted_at: Some(moment(1_234)),
        min_amount_out: Amount::new(149_996_250),
    }
}

/// Returns a transaction with this id.
pub fn tx(id: &str) -> SignedTx {
    let bytes: Vec<u8> = (0..=255).collect();
    SignedTx::new(id, bytes, Validity::UntilHeight(u64::MAX), Amount::new(149_996_250))
}

/// Returns the fill of the transaction.
pub fn fill() -> Fill {
    Fill::new(Amount::new(1_000_000_000), Amount::new(150_750_000), 4_711)
}

/// Returns the five events between an order's creation and the submission of its transaction.
pub fn to_submitted() -> Vec<OrderEvent> {
    vec![
        routing_started(1),
        route_chosen(),
        OrderEvent::BuildStarted,
        OrderEvent::TransactionSigned { tx: tx("tx-1").into() },
        OrderEvent::SubmissionStarted,
    ]
}

/// Returns the six events between an order's creation and its confirmation.
pub fn to_confirmed() -> Vec<OrderEvent> {
    let mut events = to_submitted();
    events.push(confirmed());
    events
}

/// Returns an event that any order without a transaction may have next, as often as it likes.
pub fn next_event(order: &Order) -> OrderEvent {
    let failure = Failure::new(FailureCode::WORKER_DIED, "A worker died with it");
    OrderEvent::Suspected { failure, strikes: order.state.strikes() + 1, alone: false }
}

/// Returns the event of an execution.
pub fn confirmed() -> OrderEvent {
    OrderEvent::Confirmed { tx_id: "tx-1".into(), fill: fill() }
}

/// Returns the event of a failed attempt that may be repeated.
pub fn attempt_failed() -> OrderEvent {
    let failure = Failure::new(FailureCode::QUOTE_UNAVAILABLE, "No answer in time");
    OrderEvent::AttemptFailed { failure, class: FailureClass::Transient }
}

/// Returns the event after which the outcome of the transaction is unknown.
pub fn outcome_unknown() -> OrderEvent {
    OrderEvent::OutcomeUnknown { reason: UnknownReason::Unproven }
}

/// Returns the event of a cancel before anything was signed.
pub fn cancelled() -> OrderEvent {
    OrderEvent::Failed { failure: Failure::new(FailureCode::CANCELLED, "The order was cancelled") }
}
