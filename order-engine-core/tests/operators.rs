//! The operations for operators: resolve, retry, make due, purge, and health.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup, Worker};
use order_engine_core::testing::{
    Call, Intercept, InterceptedVenue, NonceVenue, Sending, assert_path, path, request,
};
use order_engine_core::{
    Amount, Attention, Cancellation, Certainty, Deadline, EventRecord, Failure, FailureCode, Fill, FindError,
    NAME_RETENTION, Observation, OrderEvent, OrderId, OrderQuery, Purpose, Resolution, Resolved, Retry,
    Status, StepError, StoreError, StoreErrorKind, Submission, UnknownReason,
};

const DAY: Duration = Duration::from_hours(24);

/// Submits an order whose transaction expires on a venue with a gap in its history, and waits until its
/// outcome is unknown.
async fn until_unknown(fixture: &Fixture) -> (OrderId, Worker) {
    fixture.venue.next_sendings([Sending::Dropped]);
    fixture.venue.set_forgetful(true);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    fixture.venue.grow(1_000);
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::OutcomeUnknown { .. })).await;
    (order.id, worker)
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_stays_submitted_and_is_found() {
    let fixture = Fixture::new().await;
    let (id, worker) = until_unknown(&fixture).await;
    let order = fixture.engine.order(id).await.unwrap().unwrap();
    assert_eq!(
        (order.status(), order.state.attention()),
        (Status::Submitted, Some(&Attention::OutcomeUnknown(UnknownReason::Unproven)))
    );
    let query = OrderQuery::new(9).with_attention();
    assert_eq!(fixture.engine.orders(&query).await.unwrap(), [Ok(order)]);
    assert_eq!(fixture.engine.health().await.store.unwrap().attention, 1);
    tokio::time::sleep(DAY).await;
    let history = fixture.engine.events(id, 0, u32::MAX).await.unwrap();
    let reports =
        history.iter().filter(|record| matches!(record.event, OrderEvent::OutcomeUnknown { .. })).count();
    assert_eq!(reports, 1, "it is recorded once, however long it lasts");
    assert_eq!(fixture.venue.signed(), 1, "nothing is rebuilt without proof");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_venue_whose_history_is_complete_again_resolves_the_outcome() {
    let fixture = Fixture::new().await;
    let (id, worker) = until_unknown(&fixture).await;
    fixture.venue.set_forgetful(false);
    let records = fixture.events_to_the_end(id).await;
    assert!(records.iter().any(|record| matches!(record.event, OrderEvent::TransactionDied { .. })));
    let order = fixture.engine.order(id).await.unwrap().unwrap();
    assert_eq!((order.status(), order.state.attention()), (Status::Confirmed, None));
    assert_eq!(fixture.venue.executions(id), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_history_that_lags_for_a_moment_needs_no_attention() {
    let fixture = Fixture::new().await;
    fixture.venue.next_sendings([Sending::Dropped]);
    fixture.venue.set_forgetful(true);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    fixture.venue.grow(1_000);
    tokio::time::sleep(Duration::from_secs(20)).await;
    fixture.venue.set_forgetful(false);
    let records = fixture.events_to_the_end(order.id).await;
    assert!(!records.iter().any(|record| matches!(record.event, OrderEvent::OutcomeUnknown { .. })));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_honest_node_that_lags_does_not_make_an_order_execute_twice() {
    let fixture = Fixture::new().await;
    fixture.venue.grow(100);
    // The node that answers `view` is at 251, past the validity, and the node that answers `observe` is at
    // 91.
    fixture.venue.set_search_lag(160);
    fixture.venue.next_sendings([Sending::LandsUnheard]);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionStarted)).await;
    while fixture.venue.executions(order.id) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.venue.grow(151);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fixture.venue.executions(order.id), 1, "nothing is built again");
    assert_eq!(fixture.engine.order(order.id).await.unwrap().unwrap().status(), Status::Submitted);
    fixture.venue.set_search_lag(0);
    let records = fixture.events_to_the_end(order.id).await;
    assert!(matches!(records.last().unwrap().event, OrderEvent::Confirmed { .. }));
    assert_eq!((fixture.venue.signed(), fixture.venue.executions(order.id)), (1, 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_resolves_an_outcome_as_executed() {
    let fixture = Fixture::new().await;
    let (id, worker) = until_unknown(&fixture).await;
    let fill = Fill::new(Amount::new(1_000_000_000), Amount::new(150_000_000), 7);
    let resolution = Resolution::Executed(fill.clone());
    let Some(Resolved::Done(order)) = fixture.engine.resolve(id, &resolution, "explorer").await.unwrap()
    else {
        panic!()
    };
    assert_eq!(order.state.fill(), Some(&fill));
    let records = fixture.events_to_the_end(id).await;
    let [said, end] = &records[records.len() - 2..] else { panic!() };
    assert_eq!(said.event, OrderEvent::OutcomeResolved { executed: true, note: "explorer".into() });
    assert_eq!(end.status, Status::Confirmed);
    let again = fixture.engine.resolve(id, &Resolution::NotExecuted, "no").await.unwrap();
    assert!(matches!(again, Some(Resolved::NotUnknown(order)) if order.status() == Status::Confirmed));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_resolves_an_outcome_as_not_executed_and_retries() {
    let fixture = Fixture::new().await;
    let (id, worker) = until_unknown(&fixture).await;
    let resolved = fixture.engine.resolve(id, &Resolution::NotExecuted, "custodian").await.unwrap();
    let Some(Resolved::Done(order)) = resolved else { panic!() };
    assert_eq!(order.state.failure().unwrap().code, FailureCode::RESOLVED);
    assert_eq!(order.status(), Status::Failed);
    fixture.venue.set_forgetful(false);
    let Some(Retry::Created(retry)) = fixture.engine.retry(id).await.unwrap() else { panic!() };
    assert_eq!(retry.origin, Some(id));
    fixture.events_to_the_end(retry.id).await;
    assert_eq!((fixture.venue.executions(id), fixture.venue.executions(retry.id)), (0, 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_the_engine_still_decides_cannot_be_resolved() {
    let fixture = Fixture::new().await;
    fixture.venue.set_down(true);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    let resolved = fixture.engine.resolve(order.id, &Resolution::NotExecuted, "a guess").await.unwrap();
    assert!(matches!(resolved, Some(Resolved::NotUnknown(_))));
    fixture.venue.set_down(false);
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    let unknown = OrderId::from_bytes([7; 16]);
    assert_eq!(fixture.engine.resolve(unknown, &Resolution::NotExecuted, "").await.unwrap(), None);
    worker.stop().await;
}

/// Makes every observation fail, and every search if that is set.
#[derive(Debug, Default)]
struct Blind {
    finds_nothing: AtomicBool,
    is_over: AtomicBool,
}

#[async_trait]
impl Intercept for Blind {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        let fails = match call {
            Call::Observe(_) => !self.is_over.load(Ordering::SeqCst),
            Call::Find(_) => self.finds_nothing.load(Ordering::SeqCst),
            _ => false,
        };
        let error = || StoreError::new(StoreErrorKind::Unavailable, "the index is broken");
        if fails { Err(error()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_asks_the_chain_about_an_order_of_unknown_outcome() {
    let (chain, blind) = (Arc::new(NonceVenue::new(["wallet"])), Arc::new(Blind::default()));
    let venue = Arc::new(InterceptedVenue::new(chain.clone(), blind.clone()));
    let fixture = Fixture::with(Setup { venue: Some(venue), ..Setup::default() }).await;
    let engine = &fixture.engine;
    assert_eq!(engine.find_on_chain(OrderId::from_bytes([7; 16])).await.unwrap(), None);
    let order = fixture.submit(request()).await;
    assert_eq!(engine.find_on_chain(order.id).await.unwrap(), Some(vec![]), "it was routed nowhere");
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    assert_eq!(engine.find_on_chain(order.id).await.unwrap(), Some(vec![]), "no block has it");
    chain.mine(1);
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::OutcomeUnknown { .. })).await;

    let [found] = &engine.find_on_chain(order.id).await.unwrap().unwrap()[..] else { panic!() };
    assert_eq!(
        (found.venue.as_str(), found.purpose, &found.observation),
        ("main", Some(Purpose::Original), &None)
    );
    blind.finds_nothing.store(true, Ordering::SeqCst);
    let error = engine.find_on_chain(order.id).await.unwrap_err();
    assert!(matches!(&error, FindError::Venue { venue, .. } if venue.as_str() == "main"), "{error}");
    assert_eq!(engine.order(order.id).await.unwrap().unwrap().status(), Status::Submitted, "nothing changed");

    blind.finds_nothing.store(false, Ordering::SeqCst);
    blind.is_over.store(true, Ordering::SeqCst);
    let [found] = &engine.find_on_chain(order.id).await.unwrap().unwrap()[..] else { panic!() };
    let Some(Observation::Landed { certainty: Certainty::Finalized, fill }) = found.observation.clone()
    else {
        panic!("{found:?}")
    };
    let resolved = engine.resolve(order.id, &Resolution::Executed(fill), "the chain").await.unwrap();
    assert!(matches!(resolved, Some(Resolved::Done(order)) if order.status() == Status::Confirmed));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_only_cancelled_is_told_apart() {
    let chain = Arc::new(NonceVenue::new(["wallet"]));
    let fixture = Fixture::with(Setup { venue: Some(chain.clone()), ..Setup::default() }).await;
    chain.set_least_fee(120);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    fixture.engine.cancel(order.id).await.unwrap();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SiblingSigned { .. })).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    chain.mine(1);
    fixture.events_to_the_end(order.id).await;
    let found = fixture.engine.find_on_chain(order.id).await.unwrap().unwrap();
    let purposes: Vec<_> = found.iter().map(|found| found.purpose).collect();
    assert_eq!(purposes, [Some(Purpose::Cancel)]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_venue_without_tags_cannot_be_asked() {
    let fixture = Fixture::new().await;
    let (id, worker) = until_unknown(&fixture).await;
    let error = fixture.engine.find_on_chain(id).await.unwrap_err();
    assert!(matches!(&error, FindError::Unsupported(venue) if venue.as_str() == "main"), "{error}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_order_is_retried_once() {
    let fixture = Fixture::new().await;
    let broke = Failure::new(FailureCode::INSUFFICIENT_FUNDS, "The account is empty");
    fixture.venue.fail_next_prepare(StepError::permanent(broke));
    let request = request().with_deadline(Deadline::After(Duration::from_mins(1)));
    let order = fixture.submit(request).await;
    assert!(matches!(fixture.engine.retry(order.id).await.unwrap(), Some(Retry::NotFailed(_))));
    let worker = fixture.work();
    fixture.events_to_the_end(order.id).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    let Some(Retry::Created(retry)) = fixture.engine.retry(order.id).await.unwrap() else { panic!() };
    assert_eq!(retry.request.amount, order.request.amount);
    assert!(retry.expires_at() > order.expires_at(), "the time to live begins anew");
    let Some(Retry::Existing(again)) = fixture.engine.retry(order.id).await.unwrap() else { panic!() };
    assert_eq!(again.id, retry.id);
    let records = fixture.events_to_the_end(retry.id).await;
    assert_eq!(path(&records).last(), Some(&Status::Confirmed));
    assert!(matches!(fixture.engine.retry(retry.id).await.unwrap(), Some(Retry::NotFailed(_))));
    assert_eq!(fixture.engine.retry(OrderId::from_bytes([7; 16])).await.unwrap(), None);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_does_not_take_a_client_order_id_from_a_newer_order() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    fixture.engine.cancel(order.id).await.unwrap();
    let name = format!("retry:{}", order.id);
    let own = request().with_client_order_id(name.as_str());
    let own = fixture.submit(own).await;
    let retry = fixture.engine.retry(order.id).await.unwrap();
    assert!(matches!(retry, Some(Retry::NameTaken(other)) if other.id == own.id));
}

#[tokio::test(start_paused = true)]
async fn an_order_in_quarantine_is_ended_and_retried() {
    let fixture = Fixture::new().await;
    fixture.router.panic_for(3);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::Quarantined { .. })).await;
    let Some(Retry::Created(retry)) = fixture.engine.retry(order.id).await.unwrap() else { panic!() };
    let ended = fixture.engine.order(order.id).await.unwrap().unwrap();
    assert_eq!(ended.state.failure().unwrap().code, FailureCode::SUPERSEDED);
    assert!(ended.state.attention().is_none());
    fixture.events_to_the_end(retry.id).await;
    assert_eq!((fixture.venue.executions(order.id), fixture.venue.executions(retry.id)), (0, 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backoff_is_cut_short() {
    let fixture = Fixture::new().await;
    let busy = || StepError::transient(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "busy"));
    fixture.router.fail_next(busy());
    fixture.router.fail_next(busy());
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let is_second_wait = |record: &EventRecord| {
        record.attempt == 2 && matches!(record.event, OrderEvent::RetryScheduled { .. })
    };
    fixture.reaches(order.id, is_second_wait).await;
    let began = tokio::time::Instant::now();
    fixture.engine.make_due(order.id).await.unwrap();
    fixture.events_to_the_end(order.id).await;
    assert!(began.elapsed() < Duration::from_secs(1), "it did not wait for two seconds");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_deletes_old_orders_but_keeps_client_order_ids_for_longer() {
    let fixture = Fixture::new().await;
    let named = request().with_client_order_id("mine");
    let mut ids = vec![fixture.submit(named.clone()).await.id];
    for _ in 0..1_200 {
        ids.push(fixture.submit(request()).await.id);
    }
    let open = ids.pop().unwrap();
    for id in &ids {
        assert!(matches!(fixture.engine.cancel(*id).await.unwrap(), Some(Cancellation::Cancelled(_))));
    }
    assert_eq!(fixture.engine.purge(Duration::from_hours(1)).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(fixture.engine.purge(Duration::from_hours(1)).await.unwrap(), 1_199);
    assert!(
        matches!(fixture.engine.submit(named.clone()).await.unwrap(), Submission::Existing(order) if order.id == ids[0])
    );
    tokio::time::sleep(NAME_RETENTION).await;
    assert_eq!(fixture.engine.purge(Duration::from_hours(1)).await.unwrap(), 1);
    assert!(matches!(fixture.engine.submit(named).await.unwrap(), Submission::Created(_)));
    assert!(fixture.engine.order(open).await.unwrap().is_some(), "an order that did not end stays");
}

#[tokio::test(start_paused = true)]
async fn health_reports_the_backlog() {
    let fixture = Fixture::new().await;
    fixture.submit(request()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let health = fixture.engine.health().await;
    let backlog = health.store.unwrap();
    assert_eq!((backlog.execute.orders, backlog.execute.due), (1, 1));
    assert!(backlog.execute.due_for.unwrap() >= Duration::from_secs(3));
    assert!(health.sources_connected && !health.is_stopping);
    let due = fixture.engine.due_orders(9).await.unwrap();
    let worker = fixture.work();
    fixture.events_to_the_end(due[0]).await;
    assert_path(
        &fixture.engine,
        due[0],
        &[Status::Pending, Status::Routing, Status::Building, Status::Submitted, Status::Confirmed],
    )
    .await;
    assert!(fixture.engine.due_orders(9).await.unwrap().is_empty());
    worker.stop().await;
}
