//! A process that crashes at any point in the life of an order. The order goes on in the next process, and is
//! executed once.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, Setup};
use order_engine_core::testing::{CrashPoint, CrashPoints, RecordingSink, When, assert_path, request};
use order_engine_core::{EngineConfig, OrderRequest, OrderState, Status, Submission};

/// Every write and every effect in the life of an order that is executed.
const POINTS: [CrashPoint; 12] = [
    CrashPoint::Create,
    CrashPoint::Claim,
    CrashPoint::Append("routing_started"),
    CrashPoint::Append("route_chosen"),
    CrashPoint::Append("build_started"),
    CrashPoint::Prepare,
    CrashPoint::Append("transaction_signed"),
    CrashPoint::Append("submission_started"),
    CrashPoint::Submit,
    CrashPoint::Append("submission_accepted"),
    CrashPoint::Observe,
    CrashPoint::Append("confirmed"),
];

fn named() -> OrderRequest {
    request().with_client_order_id("mine")
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_neither_loses_nor_doubles_an_order() {
    for point in POINTS {
        for when in [When::Before, When::After] {
            crashes_at(point, when).await;
        }
    }
}

async fn crashes_at(point: CrashPoint, when: When) {
    let crash = CrashPoints::new();
    let sink = RecordingSink::durable("ledger");
    let mut config = EngineConfig::default();
    // The order goes on from the step that it has reached, without another quote.
    config.quote_ttl = Duration::from_hours(1);
    let setup = Setup {
        config,
        sinks: vec![Arc::new(sink.clone())],
        intercept: Some(Arc::new(crash.clone())),
        ..Setup::default()
    };
    let fixture = Fixture::with(setup).await;
    crash.arm(point, when);
    let worker = fixture.work();
    tokio::select! {
        submitted = fixture.engine.submit(named()) => {
            submitted.unwrap();
            crash.reached().await;
        }
        () = crash.reached() => {}
    }
    let fixture = fixture.crash(worker).await;
    let worker = fixture.work();
    // A client without an answer submits again with the same client order id.
    let order = match fixture.engine.submit(named()).await.unwrap() {
        Submission::Created(order) | Submission::Existing(order) => order,
        Submission::Conflict(other) => panic!("{other:?}"),
    };
    let took_over = tokio::time::Instant::now();
    fixture.until_terminal(order.id).await;
    let lease = EngineConfig::default().lease_duration;
    assert!(took_over.elapsed() <= lease + Duration::from_secs(5), "{point:?} {when:?}");
    let path = [Status::Pending, Status::Routing, Status::Building, Status::Submitted, Status::Confirmed];
    let history = assert_path(&fixture.engine, order.id, &path).await;
    assert_eq!(fixture.venue.executions(order.id), 1, "{point:?} {when:?}");
    let sent = fixture.venue.sent(order.id);
    assert!(sent.iter().all(|bytes| *bytes == sent[0]), "{point:?} {when:?}: other bytes were sent");
    while sink.events_of(order.id).len() < history.len() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut told: Vec<_> = sink.events_of(order.id).iter().map(|event| event.as_ref().clone()).collect();
    told.dedup_by_key(|event| event.seq);
    told.sort_by_key(|event| event.seq);
    told.dedup_by_key(|event| event.seq);
    assert_eq!(told, history, "{point:?} {when:?}");
    assert_eq!(OrderState::replay(&told).unwrap().status(), Status::Confirmed);
    worker.stop().await;
}
