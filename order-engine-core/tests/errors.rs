//! Every error leads to its cause, and no two errors of a chain say the same.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::telemetry::chain;
use order_engine_core::testing::{Call, Intercept, request};
use order_engine_core::{
    BuildError, ChangeError, ExecuteError, Failure, FailureCode, OrderTask, RetryError, SinkError, StepError,
    StoreError, StoreErrorKind, SubmitError, SubscribeError, VenueError,
};
use tracing::field::{Field, Visit};
use tracing::span;

/// An interceptor under which the store refuses all calls, once it is told to, because the disk is full.
#[derive(Debug, Default)]
struct FullDisk {
    is_full: Mutex<bool>,
}

fn disk_full() -> StoreError {
    let cause = io::Error::other("the disk is full");
    StoreError::new(StoreErrorKind::Misconfigured, "the file cannot be written").with_source(cause)
}

#[async_trait]
impl Intercept for FullDisk {
    async fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        let is_full = *self.is_full.lock().unwrap_or_else(PoisonError::into_inner);
        if is_full { Err(disk_full()) } else { Ok(()) }
    }
}

/// Checks that an error leads to the full disk, and returns what its chain says.
fn leads_to_the_disk(error: &(dyn Error + 'static)) -> Vec<String> {
    let all: Vec<_> = std::iter::successors(Some(error), |error| (**error).source()).collect();
    let cause = all.last().and_then(|last| last.downcast_ref::<io::Error>());
    assert!(cause.is_some(), "{all:?}");
    let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
    for pair in texts.windows(2) {
        assert!(!pair[0].contains(&pair[1]), "{texts:?}");
    }
    assert_eq!(chain(error).to_string(), texts.join(": "));
    texts
}

fn error<T: Debug, E>(result: Result<T, E>) -> E {
    result.expect_err("the store refuses everything")
}

#[tokio::test(start_paused = true)]
async fn the_errors_of_the_engine_lead_to_what_the_store_met() {
    let disk = Arc::<FullDisk>::default();
    let fixture = Fixture::with(Setup { intercept: Some(disk.clone()), ..Setup::default() }).await;
    let engine = &fixture.engine;
    let id = fixture.submit(request()).await.id;
    *disk.is_full.lock().unwrap() = true;
    let from_the_store = ["the file cannot be written", "the disk is full"];
    let from_the_engine = ["the store failed", "the file cannot be written", "the disk is full"];

    let submit: SubmitError = error(engine.submit(request()).await);
    assert_eq!(leads_to_the_disk(&submit), from_the_engine);
    let change: ChangeError = error(engine.cancel(id).await);
    assert_eq!(leads_to_the_disk(&change), from_the_engine);
    let retry: RetryError = error(engine.retry(id).await);
    assert_eq!(leads_to_the_disk(&retry), from_the_engine);
    let execute: ExecuteError = error(engine.execute(OrderTask::new(id)).await);
    assert_eq!(leads_to_the_disk(&execute), from_the_engine);
    let read: StoreError = error(engine.order(id).await);
    assert_eq!(leads_to_the_disk(&read), from_the_store);
    let subscribe: StoreError = error(engine.subscribe(id, 0).await);
    assert_eq!(leads_to_the_disk(&subscribe), from_the_store);
    assert_eq!(leads_to_the_disk(&SubscribeError::from(disk_full())), from_the_store);
    assert_eq!(leads_to_the_disk(&BuildError::from(disk_full())), from_the_store);

    let stored = std::iter::successors(Some(&submit as &(dyn Error + 'static)), |error| (**error).source())
        .find_map(|error| error.downcast_ref::<StoreError>());
    assert_eq!(stored.map(StoreError::kind), Some(StoreErrorKind::Misconfigured));
}

/// An error of a backend's own.
#[derive(Debug, thiserror::Error)]
#[error("the database failed")]
struct DatabaseFailed(#[source] io::Error);

#[test]
fn an_error_of_a_backend_is_named_once() {
    let cause = DatabaseFailed(io::Error::other("the disk is full"));
    let error = StoreError::of(StoreErrorKind::Internal, cause);
    assert_eq!(leads_to_the_disk(&error.clone()), ["the database failed", "the disk is full"]);
    assert_eq!(leads_to_the_disk(&error), ["the database failed", "the disk is full"]);
}

#[test]
fn the_errors_of_ports_carry_their_causes() {
    let cause = || io::Error::other("the disk is full");
    let sink = SinkError::new("no room").with_source(cause());
    assert_eq!(leads_to_the_disk(&sink), ["the sink refused: no room", "the disk is full"]);
    let venue = VenueError::new("no room").with_source(cause());
    assert_eq!(leads_to_the_disk(&venue), ["the venue did not answer: no room", "the disk is full"]);
    let failure = Failure::new(FailureCode::VENUE_UNAVAILABLE, "No room");
    let step = StepError::unavailable(failure).with_source(cause());
    assert_eq!(leads_to_the_disk(&step), ["venue-unavailable: No room", "the disk is full"]);
    assert!(SinkError::new("no room").source().is_none());
}

/// Keeps the errors that are logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "error" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_failed_step_is_logged_once() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let fixture = Fixture::new().await;
    let failure = Failure::new(FailureCode::QUOTE_UNAVAILABLE, "No quote");
    let cause = io::Error::other("the connection is refused");
    fixture.router.fail_next(StepError::unavailable(failure).with_source(cause));
    let order = fixture.submit(request()).await;
    let running = tokio::spawn(fixture.engine.run(1));
    fixture.events_to_the_end(order.id).await;
    let logged = log.0.lock().unwrap().clone();
    assert_eq!(logged, ["quote-unavailable: No quote: the connection is refused"]);
    fixture.engine.shutdown(Duration::from_secs(10)).await.unwrap();
    running.await.unwrap();
}
