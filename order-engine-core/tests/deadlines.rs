//! Deadlines are compared on the store's clock, whatever the processes' own clocks show.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use order_engine_core::conformance::fixtures::{FREELY, append, to_submitted};
use order_engine_core::store::Then;
use order_engine_core::testing::{
    Call, Intercept, InterceptedStore, InterceptedVenue, ManualClock, ScriptedRouter, ScriptedVenue, Sending,
    request,
};
use order_engine_core::{
    Clock, Deadline, Engine, FailureCode, MemoryStore, Order, OrderEvent, OrderId, OrderStore, OrderTask,
    Runtime, Status, StoreError, Submission,
};

/// The time from the orders' submission to their deadline.
const TTL: Duration = Duration::from_mins(1);
/// The last millisecond before the deadline.
const IN_TIME: Duration = Duration::from_millis(59_999);

/// A clock that runs like another one, at an offset.
#[derive(Clone, Debug)]
struct Wrong {
    clock: ManualClock,
    by: TimeDelta,
}

impl Clock for Wrong {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now() + self.by
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }
}

/// An interceptor that advances one clock at one call, and no other clock.
#[derive(Debug)]
struct Jump {
    at: fn(Call<'_>) -> bool,
    clock: ManualClock,
    has_happened: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Intercept for Jump {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if (self.at)(call) && !self.has_happened.swap(true, std::sync::atomic::Ordering::SeqCst) {
            self.clock.advance(TTL);
        }
        Ok(())
    }
}

/// A store, its clock and a venue.
struct World {
    clock: ManualClock,
    store: MemoryStore,
    venue: Arc<ScriptedVenue>,
    /// The clock of a process, which stands still while the process is suspended.
    own: ManualClock,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(clock.clone());
        Self { clock, store, venue: Arc::new(ScriptedVenue::new()), own: ManualClock::new() }
    }

    /// Returns the engine of a process whose clock has this offset.
    async fn process(&self, by: TimeDelta) -> Engine {
        let clock = Wrong { clock: self.clock.clone(), by };
        self.engine(Arc::new(clock), Arc::new(self.store.clone()), self.venue.clone()).await
    }

    /// Returns the engine of a process with a clock of its own, which is suspended at a call while the
    /// store's clock runs on.
    async fn suspended(&self, at: fn(Call<'_>) -> bool) -> Engine {
        self.jumping(&self.clock, at).await
    }

    /// Returns the engine of a process with a clock of its own. At a call, the given clock jumps.
    async fn jumping(&self, clock: &ManualClock, at: fn(Call<'_>) -> bool) -> Engine {
        let jump = Jump { at, clock: clock.clone(), has_happened: false.into() };
        let jump: Arc<dyn Intercept> = Arc::new(jump);
        let store = InterceptedStore::new(Arc::new(self.store.clone()), Arc::clone(&jump));
        let venue = InterceptedVenue::new(self.venue.clone(), jump);
        self.engine(Arc::new(self.own.clone()), Arc::new(store), Arc::new(venue)).await
    }

    async fn engine(
        &self,
        clock: Arc<dyn Clock>,
        store: Arc<dyn OrderStore>,
        venue: Arc<dyn order_engine_core::Venue>,
    ) -> Engine {
        let engine = Engine::builder().store(store).router(Arc::new(ScriptedRouter::new())).venue(venue);
        engine.runtime(Runtime::tokio().with_clock(clock)).build().await.unwrap()
    }

    /// Lets a process run and time pass until the order has ended.
    async fn until_terminal(&self, engine: &Engine, id: OrderId) -> Order {
        for _ in 0..1_000 {
            let order = engine.order(id).await.unwrap().unwrap();
            if order.status().is_terminal() {
                return order;
            }
            engine.execute(OrderTask::new(id)).await.unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            self.clock.advance(Duration::from_millis(250));
            self.own.advance(Duration::from_millis(250));
            self.venue.grow(1);
        }
        panic!("the order does not end");
    }
}

async fn submit(engine: &Engine, deadline: Deadline) -> Arc<Order> {
    let request = request().with_deadline(deadline);
    match engine.submit(request).await.unwrap() {
        Submission::Created(order) => order,
        other => panic!("{other:?}"),
    }
}

fn ttl() -> Deadline {
    Deadline::After(TTL)
}

fn hours(hours: i64) -> TimeDelta {
    TimeDelta::hours(hours)
}

fn fast() -> TimeDelta {
    TimeDelta::seconds(61)
}

fn code(order: &Order) -> Option<FailureCode> {
    order.state.failure().map(|failure| failure.code.clone())
}

#[tokio::test]
async fn a_process_whose_clock_is_fast_expires_nothing_early() {
    for by in [fast(), hours(1), hours(24 * 365)] {
        let world = World::new();
        let order = submit(&world.process(TimeDelta::zero()).await, ttl()).await;
        world.clock.advance(IN_TIME);
        let worker = world.process(by).await;
        let ended = world.until_terminal(&worker, order.id).await;
        assert_eq!(
            (ended.status(), world.venue.executions(order.id)),
            (Status::Confirmed, 1),
            "{by}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn a_process_whose_clock_is_slow_executes_nothing_late() {
    for by in [-fast(), hours(-1), hours(-24 * 365)] {
        let world = World::new();
        let order = submit(&world.process(TimeDelta::zero()).await, ttl()).await;
        world.clock.advance(TTL);
        let worker = world.process(by).await;
        let ended = world.until_terminal(&worker, order.id).await;
        assert_eq!((code(&ended), world.venue.signed()), (Some(FailureCode::EXPIRED), 0), "{by}");
    }
}

#[tokio::test]
async fn a_time_to_live_counts_from_the_acceptance_in_any_process() {
    for by in [fast(), -fast(), hours(1), hours(-1)] {
        for (waits, expected) in [(IN_TIME, Status::Confirmed), (TTL, Status::Failed)] {
            let world = World::new();
            let order = submit(&world.process(by).await, ttl()).await;
            assert_eq!(order.created_at, world.clock.now(), "{by}");
            assert_eq!(order.expires_at(), Some(world.clock.now() + TTL), "{by}");
            world.clock.advance(waits);
            let worker = world.process(TimeDelta::zero()).await;
            assert_eq!(world.until_terminal(&worker, order.id).await.status(), expected, "{by} {waits:?}");
        }
    }
}

#[tokio::test]
async fn a_deadline_at_a_time_is_a_time_on_the_stores_clock() {
    for by in [fast(), -fast()] {
        for (waits, expected) in [(IN_TIME, Status::Confirmed), (TTL, Status::Failed)] {
            let world = World::new();
            let process = world.process(by).await;
            let order = submit(&process, Deadline::At(world.clock.now() + TTL)).await;
            world.clock.advance(waits);
            assert_eq!(world.until_terminal(&process, order.id).await.status(), expected, "{by} {waits:?}");
        }
    }
}

#[tokio::test]
async fn events_have_the_stores_time() {
    let world = World::new();
    let order = submit(&world.process(hours(1)).await, ttl()).await;
    world.clock.advance(Duration::from_secs(1));
    let worker = world.process(hours(-1)).await;
    worker.execute(OrderTask::new(order.id)).await.unwrap();
    let events = worker.events(order.id, 0, u32::MAX).await.unwrap();
    assert_eq!(events[0].at, order.created_at);
    for event in &events[1..] {
        assert_eq!(event.at, world.clock.now(), "{event:?}");
    }
    world.until_terminal(&worker, order.id).await;
}

/// Checks a worker that was suspended at a call, and whose own clock shows that the deadline has not passed.
async fn sends_nothing_when_suspended(at: fn(Call<'_>) -> bool) {
    let world = World::new();
    let order = submit(&world.process(TimeDelta::zero()).await, ttl()).await;
    let worker = world.suspended(at).await;
    let ended = world.until_terminal(&worker, order.id).await;
    assert_eq!(code(&ended), Some(FailureCode::EXPIRED));
    assert_eq!(world.venue.sent(order.id), [], "it was too late to send anything");
    let events = worker.events(order.id, 0, u32::MAX).await.unwrap();
    let signed = events.iter().any(|record| matches!(record.event, OrderEvent::TransactionSigned { .. }));
    assert!(!signed, "nothing is committed that might be sent: {events:#?}");
}

#[tokio::test]
async fn a_worker_that_is_suspended_while_it_signs_submits_nothing_after_the_deadline() {
    sends_nothing_when_suspended(|call| matches!(call, Call::Prepare(_))).await;
}

#[tokio::test]
async fn a_worker_that_is_suspended_between_signing_and_commit_submits_nothing_after_the_deadline() {
    sends_nothing_when_suspended(|call| {
        let Call::Append(appends) = call else { return false };
        appends
            .iter()
            .flat_map(|append| &append.events)
            .any(|record| record.event == OrderEvent::SubmissionStarted)
    })
    .await;
}

/// A worker that shuts down may commit a signed transaction, and leave its submission to another worker.
#[tokio::test]
async fn a_transaction_that_was_signed_in_time_and_not_submitted_expires() {
    let world = World::new();
    let submitter = world.process(TimeDelta::zero()).await;
    let order = submit(&submitter, ttl()).await;
    let store: Arc<dyn OrderStore> = Arc::new(world.store.clone());
    let mut events = to_submitted();
    events.truncate(4);
    let Some(OrderEvent::TransactionSigned { tx }) = events.last_mut() else { panic!("{events:?}") };
    Arc::make_mut(tx).validity = order_engine_core::Validity::UntilHeight(100);
    let signed = append(&order, FREELY, Then::Release { due_in: Duration::ZERO }, &events);
    assert_eq!(store.append(&[signed]).await.unwrap(), [Ok(())]);
    world.clock.advance(TTL);

    let worker = world.process(hours(-1)).await;
    let ended = world.until_terminal(&worker, order.id).await;
    assert_eq!(code(&ended), Some(FailureCode::EXPIRED));
    assert_eq!(world.venue.total_sent(), 0, "it was too late to send it");
    let events = worker.events(order.id, 0, u32::MAX).await.unwrap();
    let died = events.iter().filter(|record| matches!(record.event, OrderEvent::TransactionDied { .. }));
    assert_eq!(died.count(), 1, "it was left by the proof of its death: {events:#?}");
}

#[tokio::test]
async fn a_transaction_that_dies_after_the_deadline_is_the_last_one() {
    for by in [fast(), -fast(), hours(-1)] {
        let world = World::new();
        world.venue.next_sendings([Sending::Dropped]);
        let worker = world.process(by).await;
        let order = submit(&worker, ttl()).await;
        worker.execute(OrderTask::new(order.id)).await.unwrap();
        world.clock.advance(TTL);
        world.venue.grow(1_000);
        let ended = world.until_terminal(&worker, order.id).await;
        assert_eq!((code(&ended), world.venue.signed()), (Some(FailureCode::EXPIRED), 1), "{by}");
    }
}

/// The process's own clock shows that the deadline has passed, because it jumped while the store answered.
#[tokio::test]
async fn nothing_expires_before_its_deadline_on_the_stores_clock() {
    let world = World::new();
    let worker = world.jumping(&world.own, |call| matches!(call, Call::Claim(_))).await;
    let order = submit(&world.process(TimeDelta::zero()).await, ttl()).await;
    let ended = world.until_terminal(&worker, order.id).await;
    assert_eq!((ended.status(), world.venue.executions(order.id)), (Status::Confirmed, 1), "{ended:?}");
}
