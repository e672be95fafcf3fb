//! One event to all subscribers of its order.

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

const SUBSCRIBERS: usize = 1_000;

/// Says what it is told to.
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
    let (say, mut event, mut subscriptions, engine) = runtime.block_on(subscribed());
    let mut group = c.benchmark_group("fanout");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    group.bench_function(format!("event_to_{SUBSCRIBERS}"), |b| {
        b.iter_custom(|iterations| {
            runtime.block_on(async {
                let mut taken = Duration::ZERO;
                for _ in 0..iterations {
                    event.seq += 1;
                    let hint = Hint::Event(Arc::new(event.clone()));
                    let begun = Instant::now();
                    say.send(hint).expect("the engine listens");
                    for subscription in &mut subscriptions {
                        let told =
                            subscription.next().await.expect("the order goes on").expect("nobody lags");
                        assert_eq!(told.seq, event.seq);
                    }
                    taken += begun.elapsed();
                }
                taken
            })
        });
    });
    group.finish();
    drop(engine);
}

/// An engine that hears of an order's events from elsewhere, and the subscribers that it tells.
async fn subscribed() -> (UnboundedSender<Hint>, EventRecord, Vec<Subscription>, Engine) {
    let life = Life::live().await;
    let (new, append) = life.again(1);
    let store = Arc::new(MemoryStore::new());
    let created = store.create_many(std::slice::from_ref(&new)).await.expect("the store answers");
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
    let mut subscriptions = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let subscription = engine.subscribe(new.order.id, 1).await.expect("the store answers");
        subscriptions.push(subscription.expect("it was created"));
    }
    // The event with the quotes is the largest of a life.
    let mut event = EventRecord::clone(&append.events[1]);
    event.seq = 1;
    (say, event, subscriptions, engine)
}
