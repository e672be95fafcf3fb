//! Orders that a host writes in a transaction of its own, announced after the commit or found by polling.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Fixture;
use order_engine_core::store::Creation;
use order_engine_core::testing::{RecordingSink, request};
use order_engine_core::{
    Attention, EngineConfig, FailureCode, NewOrder, OrderEvent, OrderId, OrderStore, Retry, RetryDraft,
    Status, Uncommitted,
};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_hours(1);

/// An engine that polls so seldom that only an announcement can wake its worker in time.
async fn seldom_polling(sinks: impl IntoIterator<Item = RecordingSink>) -> Fixture {
    let mut config = EngineConfig::default();
    config.poll_interval = HOUR;
    let sinks = sinks.into_iter().map(|sink| Arc::new(sink) as _).collect();
    Fixture::with(common::Setup { config, sinks, ..common::Setup::default() }).await
}

/// Writes a new order as a store does for a host, whose commit this is.
async fn commit(fixture: &Fixture, new: &NewOrder) {
    let written = fixture.store.create(std::slice::from_ref(new)).await.unwrap();
    assert_eq!(written, [Ok(Creation::Created)]);
}

/// Waits until the worker has nothing to do but to wait for its next poll.
async fn until_idle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_announcement_wakes_the_worker_and_tells_subscribers_and_sinks() {
    let sink = RecordingSink::best_effort("fanout");
    let fixture = seldom_polling([sink.clone()]).await;
    let worker = fixture.work();
    until_idle().await;
    let new = fixture.engine.draft(request()).unwrap();
    let uncommitted = Uncommitted::new(&fixture.engine, new.order.id).with_created(&new);
    assert_eq!(fixture.engine.order(uncommitted.outcome).await.unwrap(), None);
    commit(&fixture, &new).await;
    let began = Instant::now();
    let id = uncommitted.announce();
    let events = fixture.events_to_the_end(id).await;
    assert!(began.elapsed() < HOUR / 60, "{:?}", began.elapsed());
    assert_eq!(events.last().unwrap().status, Status::Confirmed);
    let heard = sink.events_of(id);
    assert_eq!(heard.first().map(|event| event.seq), Some(1));
    assert_eq!(heard.iter().filter(|event| event.seq == 1).count(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_nobody_announced_is_found_by_the_poll() {
    let fixture = seldom_polling([]).await;
    let worker = fixture.work();
    until_idle().await;
    let new = fixture.engine.draft(request()).unwrap();
    drop(Uncommitted::new(&fixture.engine, ()).with_created(&new));
    commit(&fixture, &new).await;
    until_idle().await;
    assert_eq!(fixture.store.last_seqs(&[new.order.id]).await.unwrap(), [Some(1)]);
    tokio::time::sleep(HOUR).await;
    assert_eq!(fixture.until_terminal(new.order.id).await.status(), Status::Confirmed);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_failed_order_is_one_new_order() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    let draft = |order| fixture.engine.draft_retry(order).unwrap();
    let RetryDraft::NotFailed(same) = draft(Arc::clone(&order)) else { panic!("it has not failed") };
    assert_eq!(same, order);
    fixture.engine.cancel(order.id).await.unwrap();
    let failed = Arc::new(fixture.engine.order(order.id).await.unwrap().unwrap());
    let RetryDraft::Ready { ending: None, new } = draft(Arc::clone(&failed)) else {
        panic!("it has ended and failed")
    };
    assert_eq!((new.order.origin, new.order.request.amount), (Some(order.id), order.request.amount));
    let name = new.order.request.client_order_id.as_ref().map(|name| name.as_str().to_owned());
    assert_eq!(name, Some(format!("retry:{}", order.id)));
    commit(&fixture, &new).await;
    // The host's retry and the engine's own are the same one.
    let again = fixture.engine.retry(order.id).await.unwrap();
    assert!(matches!(again, Some(Retry::Existing(existing)) if existing.id == new.order.id));
    let other = Creation::Existing(Box::new((*order).clone()));
    assert!(matches!(Retry::new(&new, other), Retry::NameTaken(taken) if taken.id == order.id));
}

#[tokio::test(start_paused = true)]
async fn the_draft_of_a_retry_ends_an_order_in_quarantine() {
    let fixture = Fixture::new().await;
    fixture.router.panic_for(3);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::Quarantined { .. })).await;
    let held = Arc::new(fixture.engine.order(order.id).await.unwrap().unwrap());
    assert!(matches!(held.state.attention(), Some(Attention::Quarantined { .. })));
    let Ok(RetryDraft::Ready { ending: Some(ending), new }) = fixture.engine.draft_retry(held) else {
        panic!("it must be ended")
    };
    assert_eq!(new.order.origin, Some(order.id));
    let uncommitted = Uncommitted::new(&fixture.engine, ()).with_appended(&ending).with_created(&new);
    assert_eq!(fixture.store.append(&[*ending]).await.unwrap(), [Ok(())]);
    commit(&fixture, &new).await;
    uncommitted.announce();
    let ended = fixture.events_to_the_end(order.id).await;
    assert_eq!(ended.last().unwrap().event.failure().unwrap().code, FailureCode::SUPERSEDED);
    assert_eq!(fixture.events_to_the_end(new.order.id).await.last().unwrap().status, Status::Confirmed);
    assert_eq!(fixture.engine.retry(OrderId::from_bytes([7; 16])).await.unwrap(), None);
    worker.stop().await;
}
