//! Orders with which workers die are set aside, and harm no other.
#![allow(clippy::disallowed_methods)] // Tests are the outside world.

mod common;

use std::time::Duration;

use common::Fixture;
use order_engine_core::testing::request;
use order_engine_core::{Cancellation, EventRecord, FailureCode, OrderEvent, OrderId, Status};

async fn until_quarantined(fixture: &Fixture, id: OrderId) -> Vec<EventRecord> {
    fixture.reaches(id, |record| matches!(record.event, OrderEvent::Quarantined { .. })).await
}

#[tokio::test(start_paused = true)]
async fn an_order_that_panics_is_set_aside_after_three_claims_while_a_thousand_others_finish() {
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
async fn claims_are_counted_across_crashes_of_the_process() {
    let mut fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    // The first process gets as far as to record that routing began; the next three get nowhere.
    for _ in 0..4 {
        fixture.router.hang_next();
        let worker = fixture.work();
        tokio::time::sleep(Duration::from_millis(10)).await;
        fixture = fixture.crash(worker).await;
        // The lease of the dead process expires.
        tokio::time::advance(Duration::from_secs(31)).await;
    }
    let worker = fixture.work();
    until_quarantined(&fixture, order.id).await;
    assert_eq!(fixture.venue.signed(), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_gives_it_back_and_it_goes_on() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    fixture.router.panic_for(3);
    let worker = fixture.work();
    until_quarantined(&fixture, order.id).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(fixture.venue.signed(), 0, "nobody touches an order in quarantine");
    let lifted = fixture.engine.lift_quarantine(order.id).await.unwrap().unwrap();
    assert!(lifted.state.quarantine().is_none());
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    assert_eq!(fixture.venue.executions(order.id), 1);
    let again = fixture.engine.lift_quarantine(order.id).await.unwrap().unwrap();
    assert_eq!(again.status(), Status::Confirmed, "a finished order is left as it is");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_can_be_cancelled_instead() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    fixture.router.panic_for(3);
    let worker = fixture.work();
    until_quarantined(&fixture, order.id).await;
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Cancelled(_))));
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Failed);
    worker.stop().await;
}
