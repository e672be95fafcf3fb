//! The delivery of one event to all subscribers of its order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::{Criterion, Throughput};
use order_engine_core::{
    Engine, EventRecord, Hint, MemoryStore, OrderStore as _, Runtime, StatusSource, Subscription,
};
use order_engine_sim::{SimConfig, Simulator};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::life::Life;

const SUBSCRIBERS: [usize; 4] = [1, 100, 1_000, 10_000];

/// A source of the hints that the benchmark sends.
#[derive(Debug)]
struct Told(Mutex<UnboundedReceiver<Hint>>);

#[async_trait]
impl StatusSource for Told {
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

pub(crate) fn fanout(c: &mut Criterion) {
    let runtime = crate::runtime();
    let mut group = c.benchmark_group("fanout");
    for subscribers in SUBSCRIBERS {
        let mut audience = runtime.block_on(Audience::new(subscribers));
        group.throughput(Throughput::Elements(subscribers as u64));
        group.bench_function(format!("event_to_{subscribers}"), |b| {
            b.iter_custom(|iterations| {
                runtime.block_on(async {
                    let mut taken = Duration::ZERO;
                    for _ in 0..iterations {
                        taken += audience.deliver().await;
                    }
                    taken
                })
            });
        });
    }
    group.finish();
}

/// An engine that gets the events of an order from another process, and its subscribers.
struct Audience {
    say: UnboundedSender<Hint>,
    event: EventRecord,
    subscriptions: Vec<Subscription>,
    _engine: Engine,
}

impl Audience {
    async fn new(subscribers: usize) -> Self {
        let life = Life::live().await;
        let (new, append) = life.again(1);
        let store = Arc::new(MemoryStore::new());
        let created = store.create(std::slice::from_ref(&new)).await.expect("the store answers");
        assert!(created.iter().all(Result::is_ok));
        let simulator = Simulator::open(SimConfig::default(), Runtime::tokio()).await.expect("a simulator");
        let (say, heard) = unbounded_channel();
        let engine = Engine::builder()
            .store(store)
            .router(simulator.router())
            .venue(simulator.venue())
            .source(Arc::new(Told(Mutex::new(heard))))
            .build()
            .await
            .expect("an engine");
        let mut subscriptions = Vec::with_capacity(subscribers);
        for _ in 0..subscribers {
            let subscription = engine.subscribe(new.order.id, 1).await.expect("the store answers");
            subscriptions.push(subscription.expect("it was created"));
        }
        // The event with the quotes is the largest one of an order.
        let mut event = EventRecord::clone(&append.events[1]);
        event.seq = 1;
        Self { say, event, subscriptions, _engine: engine }
    }

    /// Sends the next event. Returns the time until every subscriber has it.
    async fn deliver(&mut self) -> Duration {
        self.event.seq += 1;
        let hint = Hint::Event(Arc::new(self.event.clone()));
        let begun = Instant::now();
        self.say.send(hint).expect("the engine listens");
        for subscription in &mut self.subscriptions {
            let delivered =
                subscription.next().await.expect("the order goes on").expect("no subscriber lags");
            assert_eq!(delivered.seq, self.event.seq);
        }
        begun.elapsed()
    }
}
