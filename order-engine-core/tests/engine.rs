//! The engine over the memory store and a scripted venue, on paused time.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, Setup, statuses};
use order_engine_core::testing::{CrashPoint, CrashPoints, Sending, When, request};
use order_engine_core::{
    Deadline, EngineConfig, EventRecord, Failure, FailureCode, InvalidRequest, OrderEvent, OrderState,
    Status, StepError, Submission, SubmitError, SubscribeError,
};

#[tokio::test(start_paused = true)]
async fn an_order_runs_to_confirmed_and_its_subscriber_sees_every_event_once() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(
        records.iter().map(|record| record.event.kind()).collect::<Vec<_>>(),
        [
            "accepted",
            "routing_started",
            "route_chosen",
            "build_started",
            "transaction_signed",
            "submission_started",
            "submission_accepted",
            "confirmed",
        ]
    );
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(
        records.iter().map(|record| record.progress).collect::<Vec<_>>(),
        [0, 10, 30, 50, 70, 75, 80, 100]
    );
    let stored = fixture.engine.order(order.id).await.unwrap().unwrap();
    assert_eq!(stored.state, OrderState::replay(&records).unwrap());
    assert_eq!(stored.execution_price().as_deref(), Some("150"));
    assert_eq!(fixture.venue.executions(order.id), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_subscriber_gets_the_whole_history_and_the_end() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let live = fixture.events_to_the_end(order.id).await;
    assert_eq!(fixture.events_to_the_end(order.id).await, live);
    let mut past_the_end = fixture.engine.subscribe(order.id, 8).await.unwrap().unwrap();
    assert!(past_the_end.next().await.is_none());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_client_order_id_is_one_order() {
    let fixture = Fixture::new().await;
    let keyed = request().with_client_order_id("mine");
    let order = fixture.submit(keyed.clone()).await;
    let Submission::Existing(again) = fixture.engine.submit(keyed.clone()).await.unwrap() else {
        panic!("not existing")
    };
    assert_eq!(again.id, order.id);
    let other = keyed.with_slippage_bps(51);
    let Submission::Conflict(first) = fixture.engine.submit(other).await.unwrap() else {
        panic!("no conflict")
    };
    assert_eq!(first.id, order.id);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_compared_as_given() {
    let fixture = Fixture::new().await;
    let keyed = request().with_client_order_id("mine").with_deadline(Deadline::After(Duration::from_mins(1)));
    fixture.submit(keyed.clone()).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(matches!(fixture.engine.submit(keyed).await.unwrap(), Submission::Existing(_)));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_request_leaves_no_trace() {
    let fixture = Fixture::new().await;
    let invalid = request().with_slippage_bps(10_001).with_client_order_id("mine");
    assert!(matches!(fixture.engine.submit(invalid).await, Err(SubmitError::Invalid(_))));
    let invalid = request().with_max_price_impact_bps(10_001).with_client_order_id("mine");
    let refused = fixture.engine.submit(invalid).await;
    assert!(matches!(refused, Err(SubmitError::Invalid(InvalidRequest::PriceImpact))));
    let valid = request().with_client_order_id("mine").with_max_price_impact_bps(10_000);
    assert_eq!(valid.quote_request().max_price_impact_bps, Some(10_000));
    assert!(matches!(fixture.engine.submit(valid).await.unwrap(), Submission::Created(_)));
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_retried_after_one_second_and_two() {
    let fixture = Fixture::new().await;
    let outage = StepError::transient(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "an outage"));
    fixture.router.fail_next(outage.clone());
    fixture.router.fail_next(outage);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let waits: Vec<Duration> = records
        .iter()
        .filter_map(|record| match record.event {
            OrderEvent::RetryScheduled { retry_in, .. } => Some(retry_in),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [1, 2].map(Duration::from_secs));
    assert_eq!(records.last().unwrap().attempt, 3);
    assert_eq!(statuses(&records).last(), Some(&Status::Confirmed));
    for pair in records.windows(2) {
        if let OrderEvent::RetryScheduled { retry_at, .. } = pair[0].event {
            assert!(pair[1].at >= retry_at, "an attempt began before its time");
        }
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_end() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture
            .router
            .fail_next(StepError::transient(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "an outage")));
    }
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let last = records.last().unwrap();
    assert_eq!(last.event.failure().unwrap().code, FailureCode::RETRIES_EXHAUSTED);
    assert_eq!((last.attempt, last.progress), (3, 0));
    assert_eq!(fixture.venue.signed(), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_ends_the_order_at_once() {
    let fixture = Fixture::new().await;
    let refusal = StepError::permanent(Failure::new(FailureCode::INSUFFICIENT_FUNDS, "the account is empty"));
    fixture.venue.fail_next_prepare(refusal);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().event.failure().unwrap().code, FailureCode::INSUFFICIENT_FUNDS);
    assert_eq!(records.last().unwrap().attempt, 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_discovered_and_nothing_is_built_again() {
    let fixture = Fixture::new().await;
    fixture.venue.next_sendings([Sending::LandsUnheard]);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert_eq!(fixture.venue.signed(), 1);
    assert_eq!(fixture.venue.executions(order.id), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_transaction_is_resubmitted_with_identical_bytes() {
    let fixture = Fixture::new().await;
    fixture.venue.next_sendings([Sending::Dropped, Sending::Hangs, Sending::Refused]);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert_eq!(records.last().unwrap().attempt, 1, "sending the same bytes again is no new attempt");
    let sent = fixture.venue.sent(order.id);
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|sending| *sending == sent[0]));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_transaction_is_replaced_only_after_proof() {
    let fixture = Fixture::new().await;
    fixture.venue.next_sendings([Sending::Dropped, Sending::Dropped]);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    // At the last valid height the transaction may still land, so none is built.
    fixture.venue.grow(150);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.venue.signed(), 1);
    fixture.venue.grow(1);
    let records = fixture.events_to_the_end(order.id).await;
    assert!(records.iter().any(|record| matches!(record.event, OrderEvent::TransactionDied { .. })));
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert_eq!(records.last().unwrap().attempt, 2);
    assert_eq!(fixture.venue.signed(), 2);
    assert_eq!(fixture.venue.executions(order.id), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn slippage_on_the_chain_is_quoted_again() {
    let fixture = Fixture::new().await;
    fixture.venue.next_sendings([Sending::Reverts]);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let died =
        records.iter().find(|record| matches!(record.event, OrderEvent::TransactionDied { .. })).unwrap();
    assert_eq!(died.event.failure().unwrap().code, FailureCode::SLIPPAGE);
    assert_eq!((died.status, died.progress), (Status::Submitted, 80));
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert_eq!(records.last().unwrap().attempt, 2);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_past_its_deadline_fails_as_expired_and_signs_nothing() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request().with_deadline(Deadline::After(Duration::from_secs(1)))).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().event.failure().unwrap().code, FailureCode::EXPIRED);
    assert_eq!(fixture.venue.signed(), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quote_that_never_comes_is_an_outage_and_costs_no_attempt() {
    let fixture = Fixture::new().await;
    fixture.router.hang_next();
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let deferred = records.iter().find(|record| matches!(record.event, OrderEvent::Deferred { .. })).unwrap();
    assert_eq!(deferred.event.failure().unwrap().code, FailureCode::QUOTE_UNAVAILABLE);
    assert_eq!(records.last().unwrap().attempt, 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_venue_that_does_not_answer_decides_nothing() {
    let fixture = Fixture::new().await;
    fixture.venue.set_down(true);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(fixture.engine.order(order.id).await.unwrap().unwrap().status(), Status::Submitted);
    fixture.venue.set_down(false);
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    assert_eq!(fixture.venue.executions(order.id), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_engine_takes_over_after_the_lease_and_submits_the_committed_bytes() {
    let first = Fixture::new().await;
    // The first process submits a transaction that is lost, and is killed.
    first.venue.next_sendings([Sending::Dropped]);
    let order = first.submit(request()).await;
    let worker = first.work();
    first.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    let second = first.crash(worker).await;
    let worker = second.work();
    let records = second.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert_eq!(second.venue.signed(), 1, "the second process must not sign again");
    let sent = second.venue.sent(order.id);
    assert!(sent.len() >= 2 && sent.iter().all(|sending| *sending == sent[0]), "{sent:?}");
    assert_eq!(second.venue.executions(order.id), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_releases_waiting_orders_and_another_engine_goes_on_at_once() {
    let first = Fixture::new().await;
    first.venue.next_sendings([Sending::Dropped]);
    let order = first.submit(request()).await;
    let mut subscription = first.engine.subscribe(order.id, 0).await.unwrap().unwrap();
    let worker = first.work();
    first.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    let before = tokio::time::Instant::now();
    worker.stop().await;
    first.engine.shutdown(Duration::from_secs(5)).await.unwrap();
    let end = loop {
        match subscription.next().await {
            Some(Ok(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(end, Some(Err(SubscribeError::Closed { resume_after: 7 }))), "{end:?}");
    assert!(matches!(first.engine.submit(request()).await, Err(SubmitError::ShuttingDown)));
    let second = first.restart().await;
    let worker = second.work();
    assert_eq!(second.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    assert!(before.elapsed() < EngineConfig::default().lease_duration, "no lease had to expire");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_falls_behind_learns_where_to_resume() {
    let mut config = EngineConfig::default();
    config.subscription_capacity = 2;
    let fixture = Fixture::with_config(config).await;
    let order = fixture.submit(request()).await;
    let mut slow = fixture.engine.subscribe(order.id, 0).await.unwrap().unwrap();
    assert_eq!(slow.next().await.unwrap().unwrap().seq, 1);
    let worker = fixture.work();
    assert_eq!(fixture.until_terminal(order.id).await.seq, 8);
    let end = loop {
        match slow.next().await {
            Some(Err(error)) => break error,
            Some(Ok(_)) => {}
            None => panic!("a lagging subscriber must learn that it lags"),
        }
    };
    let SubscribeError::Lagged { resume_after } = end else { panic!("{end}") };
    let mut resumed = fixture.engine.subscribe(order.id, resume_after).await.unwrap().unwrap();
    let mut seqs = Vec::new();
    while let Some(event) = resumed.next().await {
        seqs.push(event.unwrap().seq);
    }
    assert_eq!(seqs, (resume_after + 1..=8).collect::<Vec<_>>());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_order_cannot_be_subscribed_to() {
    let fixture = Fixture::new().await;
    let unknown = order_engine_core::OrderId::from(uuid::Uuid::nil());
    assert!(fixture.engine.subscribe(unknown, 0).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_in_another_process_gets_events_by_the_poll() {
    let writer = Fixture::new().await;
    let reader = writer.restart().await;
    let order = writer.submit(request()).await;
    let mut subscription = reader.engine.subscribe(order.id, 0).await.unwrap().unwrap();
    assert_eq!(subscription.next().await.unwrap().unwrap().seq, 1);
    let worker = writer.work();
    writer.events_to_the_end(order.id).await;
    let mut seqs = Vec::new();
    while let Some(event) = subscription.next().await {
        seqs.push(event.unwrap().seq);
    }
    assert_eq!(seqs, (2..=8).collect::<Vec<_>>());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_orders_take_no_worker_slot() {
    let fixture = Fixture::new().await;
    let waiting = 2_000;
    fixture.venue.next_sendings(std::iter::repeat_n(Sending::Dropped, waiting));
    let worker = fixture.work();
    let mut orders = Vec::new();
    for _ in 0..waiting {
        orders.push(fixture.submit(request()).await.id);
    }
    for id in &orders {
        fixture.reaches(*id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    }
    let fresh = fixture.submit(request()).await;
    let before = tokio::time::Instant::now();
    fixture.reaches(fresh.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    assert!(
        before.elapsed() < Duration::from_millis(100),
        "a new order had to wait for {:?}",
        before.elapsed()
    );
    worker.stop().await;
}

fn venue_is_busy() -> StepError {
    StepError::transient(Failure::new(FailureCode::VENUE_UNAVAILABLE, "The venue is busy"))
}

fn kinds(records: &[EventRecord]) -> Vec<&'static str> {
    records.iter().map(|record| record.event.kind()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_busy_venue_is_called_again_with_the_route_while_the_quote_is_valid() {
    let fixture = Fixture::new().await;
    fixture.venue.fail_next_prepare(venue_is_busy());
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let expected = [
        "accepted",
        "routing_started",
        "route_chosen",
        "build_started",
        "attempt_failed",
        "retry_scheduled",
        "build_restarted",
        "transaction_signed",
        "submission_started",
        "submission_accepted",
        "confirmed",
    ];
    assert_eq!(kinds(&records), expected);
    assert_eq!(records.last().unwrap().attempt, 2, "it is an attempt all the same");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quote_that_expires_during_a_wait_is_quoted_again() {
    let mut config = EngineConfig::default();
    config.quote_ttl = Duration::from_millis(500);
    let fixture = Fixture::with_config(config).await;
    fixture.venue.fail_next_prepare(venue_is_busy());
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(kinds(&records).iter().filter(|kind| **kind == "routing_started").count(), 2);
    assert!(!kinds(&records).contains(&"build_restarted"));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn slippage_is_quoted_again_however_fresh_the_quote_is() {
    let fixture = Fixture::new().await;
    let moved = Failure::new(FailureCode::SLIPPAGE, "The output fell below the minimum");
    fixture.venue.fail_next_prepare(StepError::requote(moved));
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(kinds(&records).iter().filter(|kind| **kind == "routing_started").count(), 2);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_routed_before_a_crash_is_quoted_again_after_it() {
    let crash = CrashPoints::new();
    let setup = Setup { intercept: Some(Arc::new(crash.clone())), ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    crash.arm(CrashPoint::Prepare, When::Before);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    crash.reached().await;
    // The events before that are written while the venue prepares.
    fixture.reaches(order.id, |record| record.event == OrderEvent::BuildStarted).await;
    let fixture = fixture.crash(worker).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(
        records.iter().find_map(|record| record.event.failure()),
        None,
        "nothing was tried that failed"
    );
    assert_eq!(kinds(&records).iter().filter(|kind| **kind == "routing_started").count(), 2);
    assert_eq!(records.last().unwrap().attempt, 1);
    assert_eq!(fixture.venue.executions(order.id), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_quoted_again_builds_on_the_route_that_it_has() {
    let crash = CrashPoints::new();
    let setup = Setup { intercept: Some(Arc::new(crash.clone())), ..Setup::default() };
    let mut fixture = Fixture::with(setup).await;
    let order = fixture.submit(request()).await;
    let mut seen = 0;
    for _ in 0..2 {
        crash.arm(CrashPoint::Prepare, When::Before);
        let worker = fixture.work();
        crash.reached().await;
        let started = |record: &EventRecord| record.event == OrderEvent::BuildStarted && record.seq > seen;
        seen = fixture.reaches(order.id, started).await.last().unwrap().seq;
        fixture = fixture.crash(worker).await;
    }
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(kinds(&records).iter().filter(|kind| **kind == "routing_started").count(), 2);
    let last = records.last().unwrap();
    assert_eq!((last.status, last.attempt), (Status::Confirmed, 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_class_of_failures_has_its_budget() {
    let mut config = EngineConfig::default();
    config.retry.max_attempts = 10;
    config.retry.requote.max_failures = 1;
    let fixture = Fixture::with_config(config).await;
    let moved = || StepError::requote(Failure::new(FailureCode::SLIPPAGE, "it moved"));
    for failure in [venue_is_busy(), moved(), venue_is_busy(), venue_is_busy(), moved()] {
        fixture.venue.fail_next_prepare(failure);
    }
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let end = records.last().unwrap();
    assert_eq!(end.event.failure().unwrap().code, FailureCode::RETRIES_EXHAUSTED);
    assert_eq!(end.attempt, 5, "three busy ones, and the second one that moved");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn five_thousand_orders_that_wait_for_the_chain_slow_no_new_one() {
    const WAITING: usize = 5_000;
    let fixture = Fixture::new().await;
    // The venue accepts every transaction and loses it, so every order waits for its confirmation.
    fixture.venue.set_down(true);
    let worker = fixture.work();
    let is_sent = |record: &EventRecord| record.event == OrderEvent::SubmissionAccepted;
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(fixture.submit(request()).await.id);
    }
    for id in &waiting {
        fixture.reaches(*id, is_sent).await;
    }
    let began = tokio::time::Instant::now();
    let new = fixture.submit(request()).await;
    fixture.reaches(new.id, is_sent).await;
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "it waited for a worker slot: {:?}",
        began.elapsed()
    );
    fixture.venue.set_down(false);
    for id in &waiting {
        let records = fixture.events_to_the_end(*id).await;
        assert_eq!(records.last().unwrap().status, Status::Confirmed);
    }
    assert_eq!(fixture.venue.signed(), WAITING as u64 + 1, "each was built once");
    worker.stop().await;
}
