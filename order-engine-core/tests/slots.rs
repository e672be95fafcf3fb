//! A worker holds no order that it does not execute.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apalis::layers::limit::GlobalConcurrencyLimitLayer;
use apalis::prelude::*;
use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{Call, Intercept, request};
use order_engine_core::{OrderId, OrderTask, Status, StoreError, execute_order};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long it takes to build a transaction.
const BUILDING: Duration = Duration::from_secs(5);

/// An interceptor that counts what a process does, and lets it build slowly.
#[derive(Debug, Default)]
struct Slow {
    claims: AtomicUsize,
    building: AtomicUsize,
    built: AtomicUsize,
    most_at_a_time: AtomicUsize,
}

impl Slow {
    fn built(&self) -> usize {
        self.built.load(Ordering::SeqCst)
    }

    fn claims(&self) -> usize {
        self.claims.load(Ordering::SeqCst)
    }

    fn most_at_a_time(&self) -> usize {
        self.most_at_a_time.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Intercept for Slow {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        match call {
            Call::Claim(request) if request.lane == order_engine_core::Lane::Execute => {
                self.claims.fetch_add(1, Ordering::SeqCst);
            }
            Call::Prepare(_) => {
                let building = self.building.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_at_a_time.fetch_max(building, Ordering::SeqCst);
                tokio::time::sleep(BUILDING).await;
                self.building.fetch_sub(1, Ordering::SeqCst);
                self.built.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        Ok(())
    }
}

fn slow() -> (Arc<Slow>, Setup) {
    let slow = Arc::<Slow>::default();
    (Arc::clone(&slow), Setup { intercept: Some(slow), ..Setup::default() })
}

async fn submit(fixture: &Fixture, orders: usize) -> Vec<OrderId> {
    let mut ids = Vec::new();
    for n in 0..orders {
        // Each has a pair of its own, so that none waits for the orders of its pair.
        let mut request = request();
        request.input.mint = format!("mint-{n}");
        ids.push(fixture.submit(request).await.id);
    }
    ids
}

async fn all_confirmed(fixture: &Fixture, ids: Vec<OrderId>) {
    for id in ids {
        assert_eq!(fixture.until_terminal(id).await.status(), Status::Confirmed);
        assert_eq!(fixture.venue.executions(id), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_executes_one_order_at_a_time_leaves_the_others_to_another_process() {
    let (narrow_slow, setup) = slow();
    let narrow = Fixture::with(setup).await;
    let ids = submit(&narrow, 10).await;
    let worker =
        WorkerBuilder::new("narrow").backend(narrow.engine.backend(10)).concurrency(1).build(execute_order);
    let narrow_worker = tokio::spawn(worker.run());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(narrow.engine.due_orders(100).await.unwrap().len(), 9, "it holds only what it executes");

    let (wide_slow, setup) = slow();
    let wide = narrow.restart_with(setup).await;
    let worker = WorkerBuilder::new("wide").backend(wide.engine.backend(10)).build(execute_order);
    let wide_worker = tokio::spawn(worker.run());
    let began = Instant::now();
    all_confirmed(&wide, ids).await;
    assert!(began.elapsed() < 2 * BUILDING, "{:?}", began.elapsed());
    assert_eq!((narrow_slow.built(), wide_slow.built()), (1, 9));
    narrow_worker.abort();
    wide_worker.abort();
}

#[tokio::test(start_paused = true)]
async fn without_a_limiting_layer_a_worker_fills_its_slots_with_one_claim() {
    let (slow, setup) = slow();
    let fixture = Fixture::with(setup).await;
    let ids = submit(&fixture, 100).await;
    let worker = WorkerBuilder::new("wide").backend(fixture.engine.backend(100)).build(execute_order);
    let worker = tokio::spawn(worker.run());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(slow.claims(), 1);
    let began = Instant::now();
    all_confirmed(&fixture, ids).await;
    assert!(began.elapsed() < 2 * BUILDING, "{:?}", began.elapsed());
    assert_eq!(slow.most_at_a_time(), 100);
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn a_worker_takes_more_orders_again_when_its_layers_admit_more() {
    let (slow, setup) = slow();
    let fixture = Fixture::with(setup).await;
    let ids = submit(&fixture, 60).await;
    let admitted = Arc::new(Semaphore::new(2));
    let worker = WorkerBuilder::new("varying")
        .backend(fixture.engine.backend(20))
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&admitted)))
        .build(execute_order);
    let worker = tokio::spawn(worker.run());
    tokio::time::sleep(3 * BUILDING).await;
    assert_eq!(slow.most_at_a_time(), 2);
    assert!(fixture.engine.due_orders(100).await.unwrap().len() >= 52, "it holds only what it executes");
    let claims = slow.claims();
    assert!(claims <= 10, "{claims} claims for 6 orders");
    admitted.add_permits(18);
    all_confirmed(&fixture, ids).await;
    assert_eq!(slow.most_at_a_time(), 20);
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_not_polled_claims_nothing() {
    let (slow, setup) = slow();
    let fixture = Fixture::with(setup).await;
    submit(&fixture, 10).await;
    let worker = WorkerBuilder::new("idle").backend(fixture.engine.backend(10)).build(execute_order);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(slow.claims(), 0);
    assert_eq!(fixture.engine.due_orders(100).await.unwrap().len(), 10);
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_holds_nothing_while_its_last_order_ends() {
    let (_, setup) = slow();
    let fixture = Fixture::with(setup).await;
    let first = submit(&fixture, 1).await;
    let worker = fixture.work();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stopped = tokio::spawn(worker.stop());
    tokio::task::yield_now().await;
    let others = submit(&fixture, 10).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let due = fixture.engine.due_orders(100).await.unwrap();
    assert_eq!(due.into_iter().collect::<BTreeSet<_>>(), others.into_iter().collect());
    stopped.await.unwrap();
    all_confirmed(&fixture, first).await;
}

#[tokio::test(start_paused = true)]
async fn zero_slots_are_one() {
    let (slow, setup) = slow();
    let fixture = Fixture::with(setup).await;
    let ids = submit(&fixture, 3).await;
    let worker = fixture.work_with(0);
    all_confirmed(&fixture, ids).await;
    assert_eq!(slow.most_at_a_time(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_queue_of_the_host_take_no_slots() {
    let (slow, setup) = slow();
    let fixture = Fixture::with(setup).await;
    let mut executions = Vec::new();
    for _ in 0..20 {
        let order = fixture.submit(request()).await;
        let engine = fixture.engine.clone();
        executions.push(tokio::spawn(async move { engine.execute(OrderTask::new(order.id)).await }));
    }
    for execution in executions {
        execution.await.unwrap().unwrap();
    }
    assert_eq!(slow.most_at_a_time(), 20, "also those of one pair");
}
