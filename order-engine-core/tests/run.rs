//! The worker of the engine's own, without a job framework.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{Call, Intercept, Reply, request};
use order_engine_core::{
    Activity, OrderEvent, OrderId, OrderQuery, PauseScope, Status, StoreError, Submission,
};
use tokio::task::JoinHandle;

async fn submit(fixture: &Fixture, orders: usize) -> Vec<OrderId> {
    let mut ids = Vec::new();
    for _ in 0..orders {
        ids.push(fixture.submit(request()).await.id);
    }
    ids
}

async fn all_confirmed(fixture: &Fixture, ids: Vec<OrderId>) {
    for id in ids {
        assert_eq!(fixture.until_terminal(id).await.status(), Status::Confirmed);
        assert_eq!(fixture.venue.executions(id), 1);
    }
}

/// Counts how many transactions are built at a time. Each takes a second.
#[derive(Debug, Default)]
struct Building {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Intercept for Building {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Prepare(_)) {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn it_executes_as_many_orders_at_a_time_as_it_has_slots() {
    for (slots, most) in [(0, 1), (1, 1), (7, 6)] {
        let building = Arc::<Building>::default();
        let setup = Setup { intercept: Some(building.clone()), ..Setup::default() };
        let fixture = Fixture::with(setup).await;
        let ids = submit(&fixture, 20).await;
        let running = tokio::spawn(fixture.engine.run(slots));
        all_confirmed(&fixture, ids).await;
        assert_eq!(building.most.load(Ordering::SeqCst), most, "{slots} slots, of which a pair takes some");
        assert_eq!(fixture.engine.health().await.workers, 1);
        fixture.engine.shutdown(Duration::from_secs(10)).await.unwrap();
        running.await.unwrap();
        assert_eq!(fixture.engine.health().await.workers, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn it_outlives_panics() {
    let fixture = Fixture::new().await;
    fixture.router.panic_for(2);
    let running = tokio::spawn(fixture.engine.run(10));
    let ids = submit(&fixture, 100).await;
    all_confirmed(&fixture, ids).await;
    assert_eq!(fixture.engine.health().await.panicked[0].panics, 2);
    assert!(!running.is_finished());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_it_after_the_step_of_its_last_order_and_releases_the_rest() {
    let building = Arc::<Building>::default();
    let setup = Setup { intercept: Some(building.clone()), ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    let ids = submit(&fixture, 30).await;
    let running = tokio::spawn(fixture.engine.run(4));
    fixture.reaches(ids[0], |record| matches!(record.event, OrderEvent::BuildStarted)).await;
    fixture.engine.shutdown(Duration::from_secs(10)).await.unwrap();
    running.await.unwrap();
    assert_eq!(building.now.load(Ordering::SeqCst), 0, "each step came to its end");
    let next = fixture.restart().await;
    let running = tokio::spawn(next.engine.run(4));
    let began = tokio::time::Instant::now();
    all_confirmed(&next, ids).await;
    assert!(began.elapsed() < Duration::from_secs(20), "no lease had to expire: {:?}", began.elapsed());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn dropped_it_claims_no_more() {
    let fixture = Fixture::new().await;
    let running = tokio::spawn(fixture.engine.run(10));
    let ids = submit(&fixture, 10).await;
    all_confirmed(&fixture, ids).await;
    running.abort();
    let _ = running.await;
    let ids = submit(&fixture, 10).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fixture.engine.due_orders(100).await.unwrap().len(), ids.len());
    assert!(fixture.engine.health().await.is_stalled());
}

#[tokio::test(start_paused = true)]
async fn it_shares_orders_with_workers_under_apalis() {
    let fixture = Fixture::new().await;
    let second = fixture.restart().await;
    let ids = submit(&fixture, 500).await;
    let worker = fixture.work();
    let running = tokio::spawn(second.engine.run(10));
    all_confirmed(&fixture, ids).await;
    worker.stop().await;
    running.abort();
}

/// Counts the orders that are created under a lease.
#[derive(Debug, Default)]
struct Leasing {
    leased: AtomicUsize,
    answers_late: bool,
}

#[async_trait]
impl Intercept for Leasing {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if let Call::Create(orders) = call {
            let leased = orders.iter().filter(|new| new.lease.is_some()).count();
            self.leased.fetch_add(leased, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Create(_)) && self.answers_late {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

impl Leasing {
    fn leased(&self) -> usize {
        self.leased.load(Ordering::SeqCst)
    }
}

/// Returns a process with an idle worker of so many slots, and the task of the worker.
async fn leasing(slots: usize, answers_late: bool) -> (Arc<Leasing>, Fixture, JoinHandle<()>) {
    let leasing = Arc::new(Leasing { answers_late, ..Leasing::default() });
    let fixture = Fixture::with(Setup { intercept: Some(leasing.clone()), ..Setup::default() }).await;
    let running = tokio::spawn(fixture.engine.run(slots));
    tokio::time::sleep(Duration::from_secs(1)).await;
    (leasing, fixture, running)
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_takes_what_its_process_accepts_without_a_claim() {
    let (leasing, fixture, running) = leasing(4, false).await;
    let ids = submit(&fixture, 3).await;
    all_confirmed(&fixture, ids.clone()).await;
    assert_eq!(leasing.leased(), 3);
    let now = fixture.engine.order(ids[2]).await.unwrap().unwrap().updated_at;
    let later = fixture.submit(request().with_not_before(now + Duration::from_mins(1))).await;
    all_confirmed(&fixture, vec![later.id]).await;
    assert_eq!(leasing.leased(), 3, "one that has to wait takes no slot meanwhile");
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn orders_without_a_free_slot_are_claimed_later() {
    let (leasing, fixture, running) = leasing(2, false).await;
    let submissions = fixture.engine.submit_many(std::iter::repeat_with(request).take(20)).await;
    let id = |submission: Result<Submission, _>| match submission {
        Ok(Submission::Created(order)) => order.id,
        other => panic!("{other:?}"),
    };
    all_confirmed(&fixture, submissions.into_iter().map(id).collect()).await;
    assert_eq!(leasing.leased(), 2);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_submitter_leaves_is_executed_all_the_same() {
    let (leasing, fixture, running) = leasing(4, true).await;
    let submitting = fixture.engine.submit(request());
    assert!(tokio::time::timeout(Duration::from_millis(500), submitting).await.is_err(), "it leaves");
    let [order] = &fixture.engine.orders(&OrderQuery::new(9)).await.unwrap()[..] else { panic!("one order") };
    let id = order.as_ref().unwrap().id;
    tokio::time::timeout(Duration::from_secs(5), all_confirmed(&fixture, vec![id])).await.unwrap();
    assert_eq!(leasing.leased(), 1);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_paused_worker_takes_nothing_that_its_process_accepts() {
    let (leasing, fixture, running) = leasing(4, false).await;
    fixture.engine.pause(Activity::Routing, PauseScope::All, "a test").await.unwrap();
    let order = fixture.submit(request()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fixture.engine.order(order.id).await.unwrap().unwrap().status(), Status::Pending);
    assert_eq!(leasing.leased(), 0);
    running.abort();
}
