//! What the cases are made of: orders with legal histories, and workers that claim them. The tests
//! that only one backend has may use them, too.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::amount::Amount;
use crate::domain::event::{EventRecord, OrderEvent, UnknownReason};
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::OrderId;
use crate::domain::order::{Order, OrderRequest};
use crate::domain::route::{Candidate, CandidateOutcome, Leg, Route};
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

/// What must not run out while a case runs.
pub const HOUR: Duration = Duration::from_hours(1);
/// What the case lets run out.
pub const SHORT: Duration = Duration::from_millis(100);
/// What it lets elapse for that.
pub const LONGER_THAN_SHORT: Duration = Duration::from_millis(150);

/// The attempts that the orders have.
const MAX_ATTEMPTS: u32 = 3;

/// A moment in the engine's time, which no store measures anything on.
pub fn moment(ms: u64) -> DateTime<Utc> {
    let ms = i64::try_from(ms).expect("a small number");
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_767_225_600) + TimeDelta::milliseconds(ms)
}

/// The id of the order with a number.
pub fn id(n: u64) -> OrderId {
    OrderId::new(moment(n), 0)
}

/// A request without a client order id.
pub fn request() -> OrderRequest {
    testing::request()
}

/// A request with a client order id.
pub fn request_named(user: &str, key: &str) -> OrderRequest {
    OrderRequest { user_id: user.into(), client_order_id: Some(key.into()), ..request() }
}

/// A new order with a number.
pub fn new_order(n: u64) -> NewOrder {
    new_order_for(n, request())
}

/// A new order with a number, for a request.
pub fn new_order_for(n: u64, request: OrderRequest) -> NewOrder {
    let (order, event) = Order::accept(id(n), request, MAX_ATTEMPTS, moment(n));
    NewOrder { order: Arc::new(order), event: Arc::new(event) }
}

/// New orders numbered from 1.
pub fn new_orders(count: u64) -> Vec<NewOrder> {
    (1..=count).map(new_order).collect()
}

/// Creates orders, all of which must be new.
pub async fn create(store: &Arc<dyn OrderStore>, orders: &[NewOrder]) {
    let results = store.create(orders).await.expect("the store answers");
    assert_eq!(results, vec![Ok(Creation::Created); orders.len()]);
}

/// Creates an order without a client order id.
pub async fn create_one(store: &Arc<dyn OrderStore>, n: u64) -> Arc<Order> {
    let new = new_order(n);
    create(store, std::slice::from_ref(&new)).await;
    new.order
}

/// The stored order.
pub async fn load(store: &Arc<dyn OrderStore>, id: OrderId) -> Order {
    store.load(id).await.expect("the store answers").expect("the order is there")
}

/// All events of an order.
pub async fn history(store: &Arc<dyn OrderStore>, id: OrderId) -> Vec<EventRecord> {
    store.events(id, 0, u32::MAX).await.expect("the store answers")
}

/// Checks that the stored order is this one, and the fold of its stored events.
pub async fn assert_stored(store: &Arc<dyn OrderStore>, order: &Order) {
    let stored = load(store, order.id).await;
    assert_eq!(&stored, order);
    let events = history(store, order.id).await;
    assert_eq!(events.last().map(|event| event.seq), Some(order.seq));
    assert_eq!(OrderState::replay(&events), Ok(stored.state));
}

/// An append of these events to an order as it is now.
pub fn append(order: &Order, guard: Guard, then: Then, events: &[OrderEvent]) -> Append {
    let mut next = order.clone();
    let advance = |event: &OrderEvent| {
        let at = next.updated_at + TimeDelta::milliseconds(7);
        Arc::new(next.advance_mut(event.clone(), at).expect("the history is legal"))
    };
    let events = events.iter().map(advance).collect();
    Append { guard, expected_seq: order.seq, order: Arc::new(next), events, then, not_after: None }
}

/// Appends one item, again while another writer's transaction holds the order.
///
/// # Errors
/// If the item is not written.
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

/// Creates orders of which others may be about to use the names: again while that is not decided.
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

/// Appends to an order, whoever holds it, and gives the order as it is then.
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

/// Whoever writes need not hold a lease, and leaves a lease alone.
pub const FREELY: Guard = Guard::Revision { revoke: false };
/// Whoever writes need not hold a lease, and ends one.
pub const REVOKING: Guard = Guard::Revision { revoke: true };
/// The order is due at once.
pub const AT_ONCE: Then = Then::Release { due_in: Duration::ZERO };

/// Somebody who claims orders.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Where it claims.
    pub store: Arc<dyn OrderStore>,
    /// Who it is.
    pub owner: u128,
    /// The lane in which it claims.
    pub lane: Lane,
    /// How long its leases last.
    pub lease: Duration,
}

impl Worker {
    /// A worker of the execute lane whose leases last for the whole case.
    pub fn new(store: &Arc<dyn OrderStore>, owner: u128) -> Self {
        Self { store: Arc::clone(store), owner, lane: Lane::Execute, lease: HOUR }
    }

    /// The same worker in another lane.
    pub fn in_lane(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    /// The same worker with leases that last so long.
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Claims, and gives what the store gives.
    pub async fn ask(&self, scope: ClaimScope, limit: u32) -> Claims {
        let request = ClaimRequest { lane: self.lane, scope, limit, owner: self.owner, duration: self.lease };
        let claims = self.store.claim(&request).await.expect("the store answers");
        for claim in &claims.claims {
            assert_eq!(claim.lease.fence.owner, self.owner);
        }
        claims
    }

    /// Claims any due orders.
    pub async fn claim(&self, limit: u32) -> Vec<Claim> {
        self.ask(ClaimScope::Any, limit).await.claims
    }

    /// Claims the one order that is due.
    pub async fn claim_one(&self) -> Claim {
        let mut claims = self.claim(2).await;
        assert_eq!(claims.len(), 1, "one order is due");
        claims.remove(0)
    }

    /// Claims this order, if it is due.
    pub async fn claim_order(&self, id: OrderId) -> Vec<Claim> {
        self.ask(ClaimScope::Order(id), 10).await.claims
    }

    /// Checks that nothing is due.
    pub async fn finds_nothing(&self) {
        assert_eq!(ids_of(&self.claim(1).await), []);
    }

    /// Renews one lease for an hour.
    pub async fn renews(&self, lease: Lease) -> bool {
        let renewed = self.store.renew(&[lease], HOUR).await.expect("the store answers");
        assert_eq!(renewed.len(), 1);
        renewed[0]
    }

    /// Gives a lease back.
    pub async fn release(&self, lease: Lease, due_in: Duration, reason: ReleaseReason) {
        self.store.release(&[Release { lease, due_in, reason }]).await.expect("the store answers");
    }

    /// Appends under a lease, and gives the order as it is then.
    pub async fn write(&self, claim: &Claim, then: Then, events: &[OrderEvent]) -> Arc<Order> {
        let append = append(order_of(claim), Guard::Fence(claim.lease.fence), then, events);
        let next = Arc::clone(&append.order);
        assert_eq!(write(&self.store, append).await, Ok(()));
        next
    }
}

/// A sink that is registered.
pub async fn register(store: &Arc<dyn OrderStore>, sink: &str) {
    store.register_sinks(&[sink.into()]).await.expect("the store answers");
}

/// A relay of a sink.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where it claims.
    pub store: Arc<dyn OrderStore>,
    /// Whose debts it pays.
    pub sink: Arc<str>,
    /// Who it is.
    pub owner: u128,
    /// How long its leases last.
    pub lease: Duration,
}

impl Relay {
    /// A relay whose leases last for the whole case.
    pub fn new(store: &Arc<dyn OrderStore>, sink: &str, owner: u128) -> Self {
        Self { store: Arc::clone(store), sink: sink.into(), owner, lease: HOUR }
    }

    /// The same relay with leases that last so long.
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Claims debts with so many events of each at most, and gives what the store gives.
    pub async fn ask(&self, limit: u32, events_limit: u32) -> Deliveries {
        let (sink, owner, duration) = (Arc::clone(&self.sink), self.owner, self.lease);
        let request = DeliveryRequest { sink, limit, events_limit, owner, duration };
        let claimed = self.store.claim_deliveries(&request).await.expect("the store answers");
        for delivery in &claimed.deliveries {
            assert_eq!(delivery.lease.fence.owner, self.owner);
        }
        claimed
    }

    /// Claims debts.
    pub async fn claim(&self, limit: u32) -> Vec<Delivery> {
        self.ask(limit, 100).await.deliveries
    }

    /// Claims the one debt that is due.
    pub async fn claim_one(&self) -> Delivery {
        let mut claimed = self.claim(2).await;
        assert_eq!(claimed.len(), 1, "one entry is due");
        claimed.remove(0)
    }

    /// Checks that nothing is due.
    pub async fn finds_nothing(&self) {
        assert!(self.claim(1).await.is_empty());
    }

    /// Records what came of a delivery. Returns whether its lease was current.
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

/// The numbers of the events of a delivery.
pub fn seqs_of(delivery: &Delivery) -> Vec<u64> {
    delivery.events.as_ref().expect("the events can be read").iter().map(|event| event.seq).collect()
}

/// The order of a claim.
pub fn order_of(claim: &Claim) -> &Arc<Order> {
    claim.order.as_ref().expect("the order can be read")
}

/// The orders that were claimed, in order.
pub fn ids_of(claims: &[Claim]) -> Vec<OrderId> {
    claims.iter().map(|claim| claim.lease.order_id).collect()
}

/// The fence with another epoch.
pub fn with_epoch(fence: Fence, epoch: u64) -> Fence {
    Fence { epoch, ..fence }
}

/// The first event of an attempt.
pub fn routing_started(attempt: u32) -> OrderEvent {
    OrderEvent::RoutingStarted { attempt, dexes: vec!["Raydium".into(), "Meteora".into()] }
}

/// A route through one pool.
pub fn route() -> Route {
    let leg = Leg {
        dex: "Meteora".into(),
        pool: "meteora-sol-usdc".into(),
        input_mint: testing::sol().mint,
        output_mint: testing::usdc().mint,
        amount_in: Amount::new(1_000_000_000),
        amount_out: Amount::new(150_750_000),
    };
    Route {
        dex: leg.dex.clone(),
        amount_in: leg.amount_in,
        amount_out: leg.amount_out,
        legs: vec![leg],
        analysis: None,
    }
}

/// A route that was chosen, and one that was rejected.
pub fn route_chosen() -> OrderEvent {
    let candidate = |dex: &str, outcome| Candidate { dex: dex.into(), id: dex.to_lowercase(), outcome };
    let paused = Failure::new(FailureCode::NO_ROUTE, "The pool is paused");
    let candidates = vec![
        candidate("Meteora", CandidateOutcome::Quoted(route())),
        candidate("Raydium", CandidateOutcome::Rejected(paused)),
    ];
    OrderEvent::RouteChosen { route: route().into(), candidates, quoted_at: Some(moment(1_234)) }
}

/// A transaction with an id.
pub fn tx(id: &str) -> SignedTx {
    SignedTx {
        id: id.into(),
        bytes: (0..=255).collect(),
        validity: Validity::UntilHeight(u64::MAX),
        min_amount_out: Amount::new(149_996_250),
    }
}

/// What the transaction did.
pub fn fill() -> Fill {
    Fill { amount_in: Amount::new(1_000_000_000), amount_out: Amount::new(150_750_000), height: 4_711 }
}

/// From the acceptance to the sending: five events.
pub fn to_submitted() -> Vec<OrderEvent> {
    vec![
        routing_started(1),
        route_chosen(),
        OrderEvent::BuildStarted,
        OrderEvent::TransactionSigned { tx: tx("tx-1").into() },
        OrderEvent::SubmissionStarted,
    ]
}

/// From the acceptance to the end: six events.
pub fn to_confirmed() -> Vec<OrderEvent> {
    let mut events = to_submitted();
    events.push(OrderEvent::Confirmed { fill: fill() });
    events
}

/// An attempt that failed and may be repeated.
pub fn attempt_failed() -> OrderEvent {
    let failure = Failure::new(FailureCode::QUOTE_UNAVAILABLE, "No answer in time");
    OrderEvent::AttemptFailed { failure, class: FailureClass::Transient }
}

/// Nobody can say what became of the transaction.
pub fn outcome_unknown() -> OrderEvent {
    OrderEvent::OutcomeUnknown { reason: UnknownReason::Unproven }
}

/// The end of an order that nothing was signed for.
pub fn cancelled() -> OrderEvent {
    OrderEvent::Failed { failure: Failure::new(FailureCode::CANCELLED, "The order was cancelled") }
}
