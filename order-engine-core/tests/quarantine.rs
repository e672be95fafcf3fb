//! Orders that kill workers are quarantined, and affect no other order.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apalis::prelude::*;
use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{Call, Intercept, Reply, ScriptedRouter, request};
use order_engine_core::{
    Amount, Cancellation, Candidate, DexRouter, EventRecord, FailureCode, OrderEvent, OrderId, QuoteRequest,
    Status, StepError, StoreError, StoreErrorKind, execute_order,
};
use tokio::sync::Notify;
use tokio::time::Instant;

async fn until_quarantined(fixture: &Fixture, id: OrderId) -> Vec<EventRecord> {
    fixture.reaches(id, |record| matches!(record.event, OrderEvent::Quarantined { .. })).await
}

#[tokio::test(start_paused = true)]
async fn an_order_that_panics_is_quarantined_after_three_claims_while_a_thousand_others_finish() {
    let fixture = Fixture::new().await;
    let bad = fixture.submit(request()).await;
    fixture.router.panic_for(3);
    let worker = fixture.work();
    let records = until_quarantined(&fixture, bad.id).await;
    assert_eq!(records.last().unwrap().event.failure().unwrap().code, FailureCode::QUARANTINED);
    let mut others = Vec::new();
    for _ in 0..1_000 {
        others.push(fixture.submit(request()).await.id);
    }
    for id in others {
        assert_eq!(fixture.events_to_the_end(id).await.last().unwrap().status, Status::Confirmed);
    }
    let order = fixture.engine.order(bad.id).await.unwrap().unwrap();
    assert!(order.state.quarantine().is_some());
    assert!(!order.status().is_terminal());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn executions_are_counted_across_crashes_of_the_process() {
    let mut fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    // The first process records that routing has started. The next ones record nothing. After three of them
    // the order is executed alone, three times.
    for crash in 1..=7 {
        fixture.router.hang_next();
        let worker = fixture.work();
        tokio::time::sleep(Duration::from_millis(10)).await;
        let state = fixture.engine.order(order.id).await.unwrap().unwrap().state;
        let strikes = u32::saturating_sub(crash, 4);
        assert_eq!((state.strikes(), state.quarantine()), (strikes, None), "crash {crash}");
        fixture = fixture.crash(worker).await;
        // The lease of the dead process expires.
        tokio::time::advance(Duration::from_secs(31)).await;
    }
    let worker = fixture.work();
    until_quarantined(&fixture, order.id).await;
    assert_eq!(fixture.venue.signed(), 0);
    worker.stop().await;
}

/// A router through which one order kills the process: all calls hang from then on.
#[derive(Debug, Default)]
struct DeadlyRouter {
    inner: ScriptedRouter,
    is_dying: AtomicBool,
    dies: Notify,
}

/// The amount of the deadly order.
const DEADLY: Amount = Amount::new(666);

#[async_trait]
impl DexRouter for DeadlyRouter {
    fn dexes(&self) -> Vec<String> {
        self.inner.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        if request.amount == DEADLY {
            self.is_dying.store(true, Ordering::SeqCst);
            self.dies.notify_one();
        }
        // Other quotes of the process begin meanwhile.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.is_dying.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.quote(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_kills_its_process_quarantines_no_other() {
    let router = Arc::new(DeadlyRouter::default());
    let setup = Setup { router: Some(Arc::clone(&router) as Arc<dyn DexRouter>), ..Setup::default() };
    let mut fixture = Fixture::with(setup).await;
    let deadly = fixture.submit(request().with_amount(DEADLY)).await.id;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(fixture.submit(request()).await.id);
    }
    let mut crashes = 0;
    loop {
        let worker = fixture.work();
        let is_dead = tokio::time::timeout(Duration::from_mins(5), router.dies.notified()).await.is_ok();
        if !is_dead {
            worker.stop().await;
            break;
        }
        crashes += 1;
        assert!(crashes <= 10, "it is quarantined in the end");
        fixture = fixture.crash(worker).await;
        router.is_dying.store(false, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(31)).await;
    }
    let order = fixture.engine.order(deadly).await.unwrap().unwrap();
    assert!(order.state.quarantine().is_some(), "{:?} after {crashes} crashes", order.state);
    for id in others {
        let order = fixture.engine.order(id).await.unwrap().unwrap();
        assert_eq!(order.status(), Status::Confirmed, "{:?}", order.state);
    }
}

/// An interceptor that loses the reply to every claim for a while.
#[derive(Debug)]
struct LostClaims {
    until: Instant,
}

#[async_trait]
impl Intercept for LostClaims {
    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        if matches!(call, Call::Claim(_)) && Instant::now() < self.until {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the reply is lost"));
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn orders_whose_claims_lost_their_replies_are_not_suspected() {
    for outage in [Duration::from_secs(95), Duration::from_mins(15)] {
        let intercept = Arc::new(LostClaims { until: Instant::now() + outage });
        let setup = Setup { intercept: Some(intercept), ..Setup::default() };
        let fixture = Fixture::with(setup).await;
        let mut ids = Vec::new();
        for _ in 0..200 {
            ids.push(fixture.submit(request()).await.id);
        }
        let worker = fixture.work();
        for id in ids {
            let ends = tokio::time::timeout(outage + Duration::from_mins(30), fixture.until_terminal(id));
            assert_eq!(ends.await.expect("it ends").status(), Status::Confirmed);
        }
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_goes_on_after_an_operator_lifts_its_quarantine() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    fixture.router.panic_for(3);
    let worker = fixture.work();
    until_quarantined(&fixture, order.id).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(fixture.venue.signed(), 0, "an order in quarantine is not executed");
    let lifted = fixture.engine.lift_quarantine(order.id).await.unwrap().unwrap();
    assert!(lifted.state.quarantine().is_none());
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    assert_eq!(fixture.venue.executions(order.id), 1);
    let again = fixture.engine.lift_quarantine(order.id).await.unwrap().unwrap();
    assert_eq!(again.status(), Status::Confirmed, "a finished order is left as it is");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_in_quarantine_can_be_cancelled() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    fixture.router.panic_for(3);
    let worker = fixture.work();
    until_quarantined(&fixture, order.id).await;
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Cancelled(_))));
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Failed);
    worker.stop().await;
}

/// An interceptor that takes three seconds to build the transactions of one amount.
#[derive(Debug)]
struct SlowToBuild;

#[async_trait]
impl Intercept for SlowToBuild {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if let Call::Prepare(request) = call
            && request.order.request.amount == DEADLY
        {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        Ok(())
    }
}

fn work_with_timeout(fixture: &Fixture, timeout: Duration) -> tokio::task::JoinHandle<()> {
    let worker = WorkerBuilder::new("timeouts")
        .backend(fixture.engine.backend(10))
        .timeout(timeout)
        .build(execute_order);
    tokio::spawn(async move { worker.run().await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_step_takes_longer_than_its_worker_allows_is_quarantined() {
    let setup = Setup { intercept: Some(Arc::new(SlowToBuild)), ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    let slow = fixture.submit(request().with_amount(DEADLY)).await.id;
    let worker = work_with_timeout(&fixture, Duration::from_secs(2));
    let began = Instant::now();
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(fixture.submit(request()).await.id);
    }
    let records = until_quarantined(&fixture, slow).await;
    assert!(began.elapsed() < Duration::from_mins(2), "{:?}", began.elapsed());
    assert_eq!(records.last().unwrap().event.failure().unwrap().code, FailureCode::QUARANTINED);
    assert!(fixture.engine.order(slow).await.unwrap().unwrap().state.attention().is_some());
    for id in others {
        assert_eq!(fixture.until_terminal(id).await.status(), Status::Confirmed);
    }
    assert_eq!(fixture.venue.executions(slow), 0);
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn orders_that_a_shutdown_interrupts_are_not_suspected() {
    let mut fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    for _ in 0..10 {
        fixture.router.hang_next();
        let worker = work_with_timeout(&fixture, Duration::from_hours(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let engine = fixture.engine.clone();
        let shutdown = tokio::spawn(async move { engine.shutdown(Duration::from_secs(30)).await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        // The host waits no longer for the step that hangs.
        worker.abort();
        shutdown.await.unwrap().unwrap();
        fixture = fixture.restart().await;
    }
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert!(!records.iter().any(|record| matches!(record.event, OrderEvent::Suspected { .. })));
    worker.stop().await;
}
