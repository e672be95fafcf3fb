//! Orders wait until outages of the router and the venue end, if they are not signed yet.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{ScriptedVenue, Sending, request};
use order_engine_core::{
    Cancellation, ChainView, Deadline, Failure, FailureCode, Observation, Order, OrderEvent, OrderRequest,
    PrepareRequest, Resolution, Resolved, SignedTx, Status, StepError, SubmitReport, TxRef, UnknownReason,
    Venue, VenueCapabilities, VenueError,
};
use tokio::time::Instant;

/// A venue that answers 503 to every preparation until a time.
#[derive(Debug)]
struct Overloaded {
    inner: ScriptedVenue,
    until: Instant,
}

impl Overloaded {
    fn for_the_next(duration: Duration) -> Arc<Self> {
        Arc::new(Self { inner: ScriptedVenue::new(), until: Instant::now() + duration })
    }
}

#[async_trait]
impl Venue for Overloaded {
    fn capabilities(&self) -> VenueCapabilities {
        self.inner.capabilities()
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        if Instant::now() < self.until {
            let failure = Failure::new(FailureCode::VENUE_UNAVAILABLE, "503 Service Unavailable");
            return Err(StepError::unavailable(failure));
        }
        self.inner.prepare(request).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.inner.submit(tx).await
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.inner.view().await
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        self.inner.observe(txs).await
    }
}

/// Submits orders during an outage, and returns them after they have ended.
async fn through_an_outage(outage: Duration, orders: usize, request: OrderRequest) -> Vec<Order> {
    let venue = Overloaded::for_the_next(outage);
    let setup = Setup { venue: Some(venue), ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    let mut ids = Vec::new();
    for _ in 0..orders {
        ids.push(fixture.submit(request.clone()).await.id);
    }
    let worker = fixture.work();
    let mut ended = Vec::new();
    for id in ids {
        let ends = fixture.until_terminal(id);
        ended.push(tokio::time::timeout(Duration::from_hours(1), ends).await.expect("it ends"));
    }
    worker.stop().await;
    ended
}

#[tokio::test(start_paused = true)]
async fn a_venue_that_is_overloaded_for_five_seconds_fails_no_order() {
    for order in through_an_outage(Duration::from_secs(5), 200, request()).await {
        assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_through_an_outage_of_minutes_in_the_same_attempt() {
    for order in through_an_outage(Duration::from_mins(5), 50, request()).await {
        assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_no_longer_than_its_deadline() {
    let request = request().with_deadline(Deadline::After(Duration::from_mins(1)));
    let began = Instant::now();
    for order in through_an_outage(Duration::from_hours(1), 20, request).await {
        assert_eq!(order.state.failure().unwrap().code, FailureCode::EXPIRED);
    }
    assert!(began.elapsed() <= Duration::from_secs(62), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_an_order_waits_for_a_limited_time() {
    for order in through_an_outage(Duration::from_hours(1), 20, request()).await {
        assert_eq!(order.state.failure().unwrap().code, FailureCode::VENUE_UNAVAILABLE);
        let waited = order.updated_at - order.created_at;
        assert!((10..=12).contains(&waited.num_minutes()), "{waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn quotes_that_time_out_use_no_attempt() {
    let fixture = Fixture::new().await;
    for _ in 0..4 {
        fixture.router.hang_next();
    }
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    let records = fixture.events_to_the_end(order.id).await;
    let last = records.last().unwrap();
    assert_eq!((last.status, last.attempt), (Status::Confirmed, 1));
    let waits = records.iter().filter(|record| matches!(record.event, OrderEvent::Deferred { .. })).count();
    assert_eq!(waits, 4);
    let progress: Vec<u8> = records.iter().map(|record| record.progress).collect();
    assert!(progress.is_sorted(), "it grows within an attempt: {progress:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_end_by_itself_gets_attention() {
    let fixture = Fixture::new().await;
    // The chain stands still, so the dropped transaction never expires.
    fixture.venue.next_sendings([Sending::Dropped]);
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    assert!(matches!(fixture.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Pending(_))));
    let absent = OrderEvent::OutcomeUnknown { reason: UnknownReason::Absent };
    fixture.reaches(order.id, |record| record.event == absent).await;
    let resolved =
        fixture.engine.resolve(order.id, &Resolution::NotExecuted, "it was dropped").await.unwrap();
    let Some(Resolved::Done(order)) = resolved else { panic!("{resolved:?}") };
    assert_eq!(order.state.failure().unwrap().code, FailureCode::CANCELLED);
    worker.stop().await;
}
