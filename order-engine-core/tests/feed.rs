//! Following the events of many orders, waiting for one, and submitting many.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use futures_util::StreamExt;
use order_engine_core::testing::{ScriptedRouter, request};
use order_engine_core::{
    Candidate, DexRouter, EngineConfig, Feed, FeedCursor, FeedError, FeedEvent, FeedScope, Metadata, OrderId,
    OrderQuery, QuoteRequest, Status, StepError, Submission, SubmitError,
};

use tokio::time::Instant;

/// Returns the next event of a feed, which comes within an hour of paused time.
async fn next(feed: &mut Feed) -> FeedEvent {
    let next = tokio::time::timeout(Duration::from_hours(1), feed.next()).await.expect("an event comes");
    next.expect("the feed is open").expect("the event can be read")
}

/// Reads a feed until this many orders have ended. Checks that each order's events come in order.
async fn until_ended(feed: &mut Feed, orders: usize) -> BTreeMap<OrderId, u64> {
    let (mut seqs, mut ended) = (BTreeMap::new(), 0);
    while ended < orders {
        let FeedEvent { order, event, cursor, .. } = next(feed).await;
        assert_eq!(feed.cursor(), cursor);
        let last: &mut u64 = seqs.entry(order.id).or_default();
        assert_eq!(event.seq, *last + 1, "order {}", order.id);
        *last = event.seq;
        ended += usize::from(event.status.is_terminal());
    }
    seqs
}

#[tokio::test(start_paused = true)]
async fn a_feed_has_the_past_and_then_the_present() {
    let fixture = Fixture::new().await;
    let worker = fixture.work();
    let past = fixture.submit(request()).await;
    fixture.events_to_the_end(past.id).await;
    let mut everything = fixture.engine.feed(FeedScope::All, Some(FeedCursor::START)).await.unwrap();
    let mut from_now = fixture.engine.feed(FeedScope::All, None).await.unwrap();
    assert_eq!(until_ended(&mut everything, 1).await.len(), 1);
    let present = fixture.submit(request().with_metadata(Metadata::default().with("n", 2))).await;
    assert_eq!(until_ended(&mut everything, 1).await.keys().collect::<Vec<_>>(), [&present.id]);
    let first = next(&mut from_now).await;
    assert_eq!(first.order, present.head());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_users_feed_spans_processes_and_leaves_out_the_others() {
    let writes = Fixture::new().await;
    let reads = writes.restart().await;
    let mut alices = reads.engine.feed(FeedScope::User("alice".into()), None).await.unwrap();
    let mut bobs = reads.engine.feed(FeedScope::User("bob".into()), None).await.unwrap();
    let worker = writes.work();
    for n in 0..20 {
        let user = if n % 2 == 0 { "alice" } else { "bob" };
        writes.submit(request().with_user_id(user)).await;
    }
    for feed in [&mut alices, &mut bobs] {
        assert_eq!(until_ended(feed, 10).await.len(), 10);
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_misses_nothing() {
    const ORDERS: usize = 3_000;
    let fixture = Fixture::new().await;
    let mut feed = fixture.engine.feed(FeedScope::All, None).await.unwrap();
    let first = fixture.submit(request()).await;
    assert_eq!(next(&mut feed).await.order.id, first.id);
    fixture.engine.cancel(first.id).await.unwrap();
    for submitted in fixture.engine.submit_many(vec![request(); ORDERS]).await {
        let Ok(Submission::Created(order)) = submitted else { panic!("{submitted:?}") };
        fixture.engine.cancel(order.id).await.unwrap();
    }
    assert_eq!(next(&mut feed).await.event.seq, 2, "the first order's end");
    assert_eq!(until_ended(&mut feed, ORDERS).await.len(), ORDERS);
}

#[tokio::test(start_paused = true)]
async fn a_feed_is_resumed_by_the_text_of_its_cursor() {
    let fixture = Fixture::new().await;
    let worker = fixture.work();
    let orders: Vec<_> = fixture.engine.submit_many(vec![request(); 5]).await;
    assert!(orders.iter().all(|order| matches!(order, Ok(Submission::Created(_)))));
    let (mut cursor, mut seqs) = (FeedCursor::START, BTreeMap::new());
    let mut ended = 0;
    while ended < 5 {
        // Each feed reads one event, and the next goes on by what a client has kept.
        let mut feed = fixture.engine.feed(FeedScope::All, Some(cursor)).await.unwrap();
        let FeedEvent { cursor: behind, order, event, .. } = next(&mut feed).await;
        cursor = behind.to_string().parse().unwrap();
        let last: u64 = seqs.insert(order.id, event.seq).unwrap_or(0);
        assert_eq!(event.seq, last + 1);
        ended += usize::from(event.status.is_terminal());
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_feed_ends_with_its_engine() {
    let fixture = Fixture::new().await;
    let feed = fixture.engine.feed(FeedScope::All, None).await.unwrap();
    let order = fixture.submit(request()).await;
    let mut feed = feed.into_stream();
    assert_eq!(feed.next().await.unwrap().unwrap().order.id, order.id);
    fixture.engine.shutdown(Duration::from_secs(1)).await.unwrap();
    assert!(matches!(feed.next().await, Some(Err(FeedError::Closed { .. }))));
    assert!(feed.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_order() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    let events = fixture.engine.subscribe(order.id, 0).await.unwrap().unwrap().into_stream();
    let worker = fixture.work();
    let ended = fixture.engine.wait(order.id).await.unwrap().unwrap();
    assert_eq!((ended.id, ended.status()), (order.id, Status::Confirmed));
    let streamed: Vec<_> = events.map(|event| event.unwrap().seq).collect().await;
    assert_eq!(streamed, (1..=ended.seq).collect::<Vec<_>>());
    assert_eq!(fixture.engine.wait(order.id).await.unwrap().unwrap(), ended);
    assert!(fixture.engine.wait(OrderId::from_bytes([9; 16])).await.unwrap().is_none());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_requests_succeed_and_fail_alone() {
    let fixture = Fixture::new().await;
    let named = request().with_client_order_id("one");
    let requests =
        [named.clone(), request().with_slippage_bps(10_001), named.clone(), named.with_slippage_bps(7)];
    let results = fixture.engine.submit_many(requests).await;
    assert!(matches!(results[0], Ok(Submission::Created(_))));
    assert!(matches!(results[1], Err(SubmitError::Invalid(_))));
    assert!(matches!(results[2], Ok(Submission::Existing(_))));
    assert!(matches!(results[3], Ok(Submission::Conflict(_))));
    assert_eq!(fixture.engine.orders(&OrderQuery::new(10)).await.unwrap().len(), 1);
}

/// A router that takes half a second to answer.
#[derive(Debug, Default)]
struct SlowRouter(ScriptedRouter);

#[async_trait]
impl DexRouter for SlowRouter {
    fn dexes(&self) -> Vec<String> {
        self.0.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.0.quote(request).await
    }
}

/// Returns how long the orders of ninety-nine users take at most, one after the other, while a hundredth user
/// has a backlog of ten thousand.
async fn longest_wait_beside_a_backlog(config: EngineConfig, users: u32) -> Duration {
    let router = Some(Arc::new(SlowRouter::default()) as Arc<dyn DexRouter>);
    let fixture = Fixture::with(Setup { config, router, ..Setup::default() }).await;
    let backlog = vec![request().with_user_id("heavy"); 10_000];
    assert!(fixture.engine.submit_many(backlog).await.iter().all(Result::is_ok));
    let worker = fixture.work();
    let mut longest = Duration::ZERO;
    for n in 0..users {
        let began = Instant::now();
        let order = fixture.submit(request().with_user_id(format!("user {n}"))).await;
        fixture.engine.wait(order.id).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    let left = fixture.engine.health().await.store.unwrap().execute.orders;
    assert!(left > 5_000, "{left} orders of the backlog are left");
    worker.stop().await;
    longest
}

/// An order takes three quarters of a second by itself. Beside the backlog it also waits for a free slot, and
/// for the orders of the backlog whose turn has come: one in each second.
#[tokio::test(start_paused = true)]
async fn a_users_backlog_delays_nobody_else() {
    let longest = longest_wait_beside_a_backlog(EngineConfig::default(), 99).await;
    assert!(longest <= Duration::from_secs(2), "{longest:?}");
}
