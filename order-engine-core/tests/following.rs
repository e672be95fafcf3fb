//! Subscriptions: the reads that they cost, and that they deliver the store's history.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{Call, Intercept, request};
use order_engine_core::{Engine, EventRecord, Hint, OrderId, StatusSource, StoreError, Subscription};
use tokio::sync::{Notify, mpsc};

/// An interceptor that counts the reads of orders, and can hold up a read of last numbers.
#[derive(Debug, Default)]
struct Reads {
    pages: AtomicUsize,
    /// The number of orders of each read of last numbers.
    last_seqs: Mutex<Vec<usize>>,
    orders: AtomicUsize,
    is_held: Mutex<bool>,
    released: Notify,
}

#[async_trait]
impl Intercept for Reads {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        match call {
            Call::Events(_) => _ = self.pages.fetch_add(1, Ordering::SeqCst),
            Call::Load(_) => _ = self.orders.fetch_add(1, Ordering::SeqCst),
            Call::LastSeqs(ids) => {
                self.last_seqs.lock().unwrap().push(ids.len());
                let is_held = std::mem::take(&mut *self.is_held.lock().unwrap());
                if is_held {
                    self.released.notified().await;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

async fn counted() -> (Fixture, Arc<Reads>) {
    let reads = Arc::new(Reads::default());
    let intercept = Some(Arc::clone(&reads) as Arc<dyn Intercept>);
    (Fixture::with(Setup { intercept, ..Setup::default() }).await, reads)
}

/// An event that one subscriber has read from the store is still delivered to another one.
#[tokio::test(start_paused = true)]
async fn two_subscribers_in_a_process_that_writes_nothing_both_get_the_end() {
    let writes = Fixture::new().await;
    let listens = writes.restart().await;
    for _ in 0..300 {
        let order = writes.submit(request()).await;
        let early = follow(&listens, order.id, 0).await;
        let worker = writes.work();
        writes.until_terminal(order.id).await;
        worker.stop().await;
        // This subscriber reads the whole history, which is complete.
        let late = to_the_end(follow(&listens, order.id, 0).await).await;
        let received = tokio::time::timeout(Duration::from_mins(1), to_the_end(early)).await;
        assert_eq!(received.expect("the first subscriber gets the end, too"), late);
    }
}

async fn follow(fixture: &Fixture, id: OrderId, after: u64) -> Subscription {
    fixture.engine.subscribe(id, after).await.unwrap().expect("the order exists")
}

async fn to_the_end(mut subscription: Subscription) -> Vec<EventRecord> {
    let mut events = Vec::new();
    while let Some(event) = subscription.next().await {
        events.push(EventRecord::clone(&event.unwrap()));
    }
    events
}

#[tokio::test(start_paused = true)]
async fn a_recent_order_is_followed_without_reading_its_history() {
    let (fixture, reads) = counted().await;
    let id = fixture.submit(request()).await.id;
    let early = follow(&fixture, id, 0).await;
    assert_eq!(early.last_seq(), 1);
    let worker = fixture.work();
    let live = to_the_end(early).await;
    let late = follow(&fixture, id, 0).await;
    assert_eq!(late.last_seq(), 8);
    assert_eq!(to_the_end(late).await, live);
    assert_eq!(to_the_end(follow(&fixture, id, 5).await).await, live[5..]);
    assert!(to_the_end(follow(&fixture, id, 8).await).await.is_empty());
    let counted = (reads.pages.load(Ordering::SeqCst), reads.orders.load(Ordering::SeqCst));
    assert_eq!((counted, &**reads.last_seqs.lock().unwrap()), ((0, 0), &[1; 4][..]));
    assert_eq!(live, fixture.engine.events(id, 0, 100).await.unwrap());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn subscribers_that_begin_at_the_same_time_share_a_read() {
    let (fixture, reads) = counted().await;
    let (first, second) = (fixture.submit(request()).await.id, fixture.submit(request()).await.id);
    *reads.is_held.lock().unwrap() = true;
    let begin = |id| {
        let engine = fixture.engine.clone();
        tokio::spawn(async move { engine.subscribe(id, 0).await.unwrap().map(|begun| begun.last_seq()) })
    };
    let held = begin(first);
    // Paused time advances only after every task waits.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let others: Vec<_> = [first, second, first, second].into_iter().map(begin).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    reads.released.notify_one();
    assert_eq!(held.await.unwrap(), Some(1));
    for other in others {
        assert_eq!(other.await.unwrap(), Some(1));
    }
    assert_eq!(*reads.last_seqs.lock().unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_begins_with_the_events_of_another_process() {
    let here = Fixture::new().await;
    let elsewhere = here.restart().await;
    let id = here.submit(request()).await.id;
    let worker = elsewhere.work();
    elsewhere.until_terminal(id).await;
    let late = follow(&here, id, 0).await;
    assert_eq!(late.last_seq(), 8);
    assert_eq!(to_the_end(late).await, here.engine.events(id, 0, 100).await.unwrap());
    worker.stop().await;
}

/// A source of the hints that a test gives.
#[derive(Debug)]
struct Given(tokio::sync::Mutex<mpsc::UnboundedReceiver<Hint>>);

#[async_trait]
impl StatusSource for Given {
    async fn next(&self) -> Hint {
        match self.0.lock().await.recv().await {
            Some(hint) => hint,
            None => std::future::pending().await,
        }
    }

    fn is_connected(&self) -> bool {
        true
    }
}

/// Builds a second engine over the store of another one, and returns what gives it its hints.
async fn told(here: &Fixture) -> (Engine, mpsc::UnboundedSender<Hint>) {
    let (give, given) = mpsc::unbounded_channel();
    let elsewhere = Engine::builder()
        .store(here.store.clone())
        .router(here.router.clone())
        .venue(here.venue.clone())
        .source(Arc::new(Given(tokio::sync::Mutex::new(given))));
    (elsewhere.build().await.unwrap(), give)
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_told_of_all_follows_recent_orders_without_the_store() {
    let (here, reads) = counted().await;
    let (elsewhere, give) = told(&here).await;
    let id = here.submit(request()).await.id;
    let accepted = here.engine.events(id, 0, 1).await.unwrap().remove(0);
    give.send(Hint::Event(Arc::new(accepted))).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    reads.last_seqs.lock().unwrap().clear();
    let mut subscription = elsewhere.subscribe(id, 0).await.unwrap().expect("it is remembered");
    assert_eq!(subscription.next().await.unwrap().unwrap().seq, 1);
    assert!(reads.last_seqs.lock().unwrap().is_empty());
    let worker = here.work();
    let events = here.reaches(id, |record| record.status.is_terminal()).await;
    for event in &events {
        give.send(Hint::Event(Arc::new(event.clone()))).unwrap();
    }
    assert_eq!(to_the_end(subscription).await, events[1..]);
    worker.stop().await;
}

/// What was remembered before hints were lost is compared with the store again.
#[tokio::test(start_paused = true)]
async fn a_process_that_was_not_told_reads_the_store() {
    let here = Fixture::new().await;
    let (elsewhere, give) = told(&here).await;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let id = here.submit(request()).await.id;
        let accepted = here.engine.events(id, 0, 1).await.unwrap().remove(0);
        give.send(Hint::Event(Arc::new(accepted))).unwrap();
        orders.push(id);
    }
    let worker = here.work();
    for id in &orders {
        here.until_terminal(*id).await;
    }
    worker.stop().await;
    let ended = here.engine.events(orders[0], 0, 100).await.unwrap();
    let hints = [Hint::Advanced { order_id: orders[0], seq: ended.last().unwrap().seq }, Hint::Resync];
    for (id, hint) in orders.into_iter().zip(hints) {
        give.send(hint).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let subscription = elsewhere.subscribe(id, 0).await.unwrap().expect("it is there");
        assert_eq!(subscription.last_seq(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn events_whose_hints_are_lost_come_before_the_next_one() {
    let here = Fixture::new().await;
    let (elsewhere, give) = told(&here).await;
    let id = here.submit(request()).await.id;
    let mut subscription = elsewhere.subscribe(id, 0).await.unwrap().expect("the order exists");
    assert_eq!(subscription.next().await.unwrap().unwrap().seq, 1);
    let worker = here.work();
    let events = here.reaches(id, |record| record.seq == 4).await;
    give.send(Hint::Event(Arc::new(events[3].clone()))).unwrap();
    let received = tokio::time::timeout(Duration::from_mins(1), to_the_end(subscription)).await;
    assert_eq!(received.expect("it ends"), here.engine.events(id, 1, 100).await.unwrap());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_order_is_unknown_however_recent() {
    let fixture = Fixture::new().await;
    let id = fixture.submit(request()).await.id;
    let worker = fixture.work();
    fixture.until_terminal(id).await;
    assert!(fixture.engine.subscribe(id, 0).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fixture.engine.purge(Duration::from_secs(1)).await.unwrap(), 1);
    assert!(fixture.engine.subscribe(id, 0).await.unwrap().is_none());
    worker.stop().await;
}

/// Such a number comes from a store that has lost its last writes, or from a client that guesses.
#[tokio::test(start_paused = true)]
async fn a_subscriber_that_is_ahead_of_its_order_ends_with_it() {
    let fixture = Fixture::new().await;
    let elsewhere = fixture.restart().await;
    let id = fixture.submit(request()).await.id;
    let mut subscriptions = Vec::new();
    for after in [2, 1_000] {
        subscriptions.push((after, follow(&fixture, id, after).await));
        subscriptions.push((after, follow(&elsewhere, id, after).await));
    }
    let worker = fixture.work();
    let end = fixture.until_terminal(id).await.seq;
    for (after, subscription) in subscriptions {
        let received = tokio::time::timeout(Duration::from_mins(1), to_the_end(subscription)).await;
        let received = received.unwrap_or_else(|_| panic!("the subscription after {after} never ends"));
        assert!(received.iter().map(|record| record.seq).eq(after + 1..=end), "{after}: {received:?}");
    }
    worker.stop().await;
}
