//! Fan-outs over a broker in memory, on steered time.
#![allow(clippy::disallowed_methods)] // The clock of the tests is tokio's.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::DateTime;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::*;
use crate::delivery::hints;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::state::step::Lane;
use crate::ports::order_store::error::StoreErrorKind;

/// A broker in memory. Its clones are one broker.
#[derive(Clone, Debug)]
struct MemoryBroker {
    channel: broadcast::Sender<Option<String>>,
    is_up: Arc<AtomicBool>,
    /// When processes tried to subscribe.
    tries: Arc<std::sync::Mutex<Vec<Instant>>>,
}

struct MemoryStream(broadcast::Receiver<Option<String>>);

fn down() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the broker is down")
}

impl MemoryBroker {
    fn new() -> Self {
        let is_up = Arc::new(AtomicBool::new(true));
        Self { channel: broadcast::channel(2 * QUEUE).0, is_up, tries: Arc::default() }
    }

    fn handle(&self) -> Arc<dyn Broker> {
        Arc::new(self.clone())
    }

    /// Goes down and cuts all connections, or comes back.
    fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Release);
        if !is_up {
            let _ = self.channel.send(None);
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_up.load(Ordering::Acquire) { Ok(()) } else { Err(down()) }
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn max_message_bytes(&self) -> usize {
        8_000
    }

    async fn publish(&self, messages: Vec<String>) -> Result<(), StoreError> {
        self.check()?;
        for message in messages {
            let _ = self.channel.send(Some(message));
        }
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn MessageStream>, StoreError> {
        self.tries.lock().unwrap().push(Instant::now());
        self.check()?;
        Ok(Box::new(MemoryStream(self.channel.subscribe())))
    }
}

#[async_trait]
impl MessageStream for MemoryStream {
    async fn next(&mut self) -> Result<String, StoreError> {
        self.0.recv().await.ok().flatten().ok_or_else(down)
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn accepted(n: u128) -> OrderUpdate {
    let now = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
    let (order, event) = Order::accept(OrderId::new(now, n), crate::testing::request(), 3, now);
    OrderUpdate::new(order.head(), Arc::new(event))
}

async fn has_event(source: &Arc<dyn StatusSource>, n: u128) {
    assert_eq!(source.next().await, Hint::Due(Lane::Execute));
    assert_eq!(source.next().await, Hint::Event(accepted(n).event));
}

#[tokio::test(start_paused = true)]
async fn events_reach_the_others_and_not_their_sender() {
    let broker = MemoryBroker::new();
    let one = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    let other = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    one.sink().deliver(&[accepted(1)]).await.unwrap();
    other.sink().deliver(&[accepted(2)]).await.unwrap();
    has_event(&other.source(), 1).await;
    has_event(&one.source(), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_fanout_that_connects_when_it_is_used_begins_with_a_resync() {
    let broker = MemoryBroker::new();
    let source = BrokerFanout::new(broker.handle(), Runtime::tokio()).source();
    assert!(!source.is_connected());
    assert_eq!(source.next().await, Hint::Resync);
    assert!(source.is_connected());
}

#[tokio::test(start_paused = true)]
async fn an_open_fails_if_the_broker_cannot_be_reached() {
    let broker = MemoryBroker::new();
    broker.set_up(false);
    let error = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_decoded_gives_a_resync() {
    let broker = MemoryBroker::new();
    let source = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap().source();
    broker.publish(vec!["from the future".to_owned()]).await.unwrap();
    assert_eq!(source.next().await, Hint::Resync);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_replaced_and_gives_a_resync() {
    let broker = MemoryBroker::new();
    let fanout = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    let source = fanout.source();
    let lost = Instant::now();
    broker.set_up(false);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(!source.is_connected());
    broker.set_up(true);
    assert_eq!(source.next().await, Hint::Resync);
    assert!(source.is_connected());
    let tries = broker.tries.lock().unwrap().clone();
    let waited: Vec<_> = tries[1..].iter().map(|moment| (*moment - lost).as_millis()).collect();
    assert_eq!(waited, [0, 50, 150, 350, 750, 1_550, 2_550, 3_550]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_publication_is_followed_by_a_resync_of_the_others() {
    let broker = MemoryBroker::new();
    let sink = BrokerFanout::new(broker.handle(), Runtime::tokio()).sink();
    broker.set_up(false);
    assert!(sink.deliver(&[accepted(1)]).await.is_err());
    broker.set_up(true);
    let source = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap().source();
    sink.deliver(&[accepted(2)]).await.unwrap();
    assert_eq!(source.next().await, Hint::Resync);
    has_event(&source, 2).await;
    sink.deliver(&[accepted(3)]).await.unwrap();
    has_event(&source, 3).await;
}

#[tokio::test(start_paused = true)]
async fn hints_that_do_not_fit_into_the_queue_give_a_resync() {
    let broker = MemoryBroker::new();
    let source = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap().source();
    let sink = BrokerFanout::new(broker.handle(), Runtime::tokio()).sink();
    for _ in 0..QUEUE {
        sink.deliver(&[accepted(1)]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(source.next().await, Hint::Resync);
    has_event(&source, 1).await;
}

/// Lets a process be alone for long enough to know it.
async fn alone() {
    tokio::time::sleep(presence::ALONE_AFTER).await;
}

/// Returns how many of the messages that wait have more than the presence of their sender.
fn messages_with_hints(channel: &mut broadcast::Receiver<Option<String>>) -> usize {
    let waiting = std::iter::from_fn(|| channel.try_recv().ok().flatten());
    waiting.filter(|message| hints::unpack(message, 0).unwrap() != Some(Vec::new())).count()
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_alone_publishes_nothing() {
    let broker = MemoryBroker::new();
    let fanout = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    let mut channel = broker.channel.subscribe();
    fanout.sink().deliver(&[accepted(1)]).await.unwrap();
    assert_eq!(messages_with_hints(&mut channel), 1, "it does not know yet that it is alone");
    alone().await;
    fanout.sink().deliver(&[accepted(2)]).await.unwrap();
    alone().await;
    assert_eq!(messages_with_hints(&mut channel), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_told_at_once_that_it_missed_something() {
    let broker = MemoryBroker::new();
    let first = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    alone().await;
    first.sink().deliver(&[accepted(1)]).await.unwrap();
    let came_at = Instant::now();
    let source = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap().source();
    assert_eq!(source.next().await, Hint::Resync);
    assert_eq!(came_at.elapsed(), Duration::ZERO);
    first.sink().deliver(&[accepted(2)]).await.unwrap();
    has_event(&source, 2).await;
}

#[tokio::test(start_paused = true)]
async fn processes_that_commit_nothing_are_heard_as_long_as_they_are_there() {
    let broker = MemoryBroker::new();
    let one = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    let other = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    for n in 1..5 {
        alone().await;
        one.sink().deliver(&[accepted(n)]).await.unwrap();
        has_event(&other.source(), n).await;
    }
    let mut channel = broker.channel.subscribe();
    drop(other);
    alone().await;
    one.sink().deliver(&[accepted(5)]).await.unwrap();
    assert_eq!(messages_with_hints(&mut channel), 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_hears_nothing_does_not_take_itself_as_alone() {
    let broker = MemoryBroker::new();
    let fanout = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    broker.set_up(false);
    alone().await;
    assert!(fanout.sink().deliver(&[accepted(1)]).await.is_err(), "it tried");
    let never_listened = BrokerFanout::new(broker.handle(), Runtime::tokio());
    broker.set_up(true);
    alone().await;
    let mut channel = broker.channel.subscribe();
    never_listened.sink().deliver(&[accepted(2)]).await.unwrap();
    assert_eq!(messages_with_hints(&mut channel), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_the_clones_ends_the_connection() {
    let broker = MemoryBroker::new();
    let fanout = BrokerFanout::open(broker.handle(), Runtime::tokio()).await.unwrap();
    let (sink, source) = (fanout.sink(), fanout.source());
    drop(fanout);
    tokio::task::yield_now().await;
    assert_eq!(broker.channel.receiver_count(), 1);
    drop((sink, source));
    tokio::task::yield_now().await;
    assert_eq!(broker.channel.receiver_count(), 0);
}
