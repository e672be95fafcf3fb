//! Cancels and deadlines at every stage of an order.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::time::Duration;

use common::Fixture;
use order_engine_core::testing::{Sending, request};
use order_engine_core::{
    Cancellation, Deadline, Failure, FailureCode, OrderEvent, OrderId, Status, StepError,
};

#[tokio::test(start_paused = true)]
async fn a_waiting_order_is_cancelled_at_once_and_never_executed() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    let Some(Cancellation::Cancelled(cancelled)) = fixture.engine.cancel(order.id).await.unwrap() else {
        panic!()
    };
    assert_eq!(cancelled.status(), Status::Failed);
    let worker = fixture.work();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].event.failure().unwrap().code, FailureCode::CANCELLED);
    assert_eq!(fixture.venue.signed(), 0);
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Cancelled(_))));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_takes_the_order_from_its_worker() {
    let fixture = Fixture::new().await;
    fixture.router.hang_next();
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::RoutingStarted { .. })).await;
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Cancelled(_))));
    tokio::time::sleep(Duration::from_mins(1)).await;
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().event.failure().unwrap().code, FailureCode::CANCELLED);
    assert_eq!(fixture.venue.signed(), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_landing_wins_over_a_cancel() {
    let fixture = Fixture::new().await;
    fixture.venue.set_down(true);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Pending(_))));
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Pending(_))));
    fixture.venue.set_down(false);
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert_eq!(records.iter().filter(|record| record.event == OrderEvent::CancelRequested).count(), 1);
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::TooLate(_))));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_transaction_is_not_resubmitted_and_its_death_ends_the_order() {
    let fixture = Fixture::new().await;
    fixture.venue.next_sendings([Sending::Dropped]);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Pending(_))));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fixture.venue.sent(order.id).len(), 1);
    assert_eq!(fixture.engine.order(order.id).await.unwrap().unwrap().status(), Status::Submitted);
    fixture.venue.grow(151);
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().event.failure().unwrap().code, FailureCode::CANCELLED);
    assert_eq!(fixture.venue.signed(), 1);
    assert_eq!(fixture.venue.executions(order.id), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_order_cannot_be_cancelled() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.engine.cancel(OrderId::from(uuid::Uuid::nil())).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_any_event_leaves_at_most_one_execution_and_one_end() {
    for seq in 1..=8 {
        let fixture = Fixture::new().await;
        let order = fixture.submit(request()).await;
        let worker = fixture.work();
        fixture.reaches(order.id, |record| record.seq >= seq || record.status.is_terminal()).await;
        let answer = fixture.engine.cancel(order.id).await.unwrap().unwrap();
        let records = fixture.events_to_the_end(order.id).await;
        let end = records.last().unwrap();
        let executions = fixture.venue.executions(order.id);
        match answer {
            Cancellation::Cancelled(_) => assert_eq!((end.status, executions), (Status::Failed, 0)),
            Cancellation::Pending(_) | Cancellation::TooLate(_) => {
                assert_eq!((end.status, executions), (Status::Confirmed, 1));
            }
        }
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_wait() {
    let fixture = Fixture::new().await;
    fixture.router.fail_next(StepError::transient(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "an outage")));
    let order = fixture.submit(request().with_deadline(Deadline::After(Duration::from_millis(400)))).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let end = records.last().unwrap();
    assert_eq!(end.event.failure().unwrap().code, FailureCode::EXPIRED);
    assert!(
        end.at - order.created_at < chrono::Duration::milliseconds(1_000),
        "it ended before its backoff did"
    );
    worker.stop().await;
}
