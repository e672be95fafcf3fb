//! Hints between processes.

mod common;

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use common::service::{Chain, Service, request};
use common::{PATIENCE, run};
use order_engine_core::conformance::fixtures::{FREELY, append, new_order, routing_started, to_confirmed};
use order_engine_core::store::Then;
use order_engine_core::testing::{Link, Proxy};
use order_engine_core::{
    EngineConfig, EventRecord, Hint, Lane, MemoryStore, OrderEvent, OrderUpdate, SinkGuarantee, StatusSource,
    Submission,
};
use order_engine_redis::testing::RedisServer;
use order_engine_redis::{RedisFanout, RedisOptions};

async fn next(source: &Arc<dyn StatusSource>) -> Hint {
    tokio::time::timeout(PATIENCE, source.next()).await.expect("a hint comes")
}

/// Waits for a resync.
async fn resync(source: &Arc<dyn StatusSource>) {
    while next(source).await != Hint::Resync {}
}

async fn until(is_done: impl Fn() -> bool + Send + Sync) {
    let waiting = async {
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it happens");
}

/// Returns the creation of an order, and these events after it.
fn history(n: u64, events: &[OrderEvent]) -> Vec<OrderUpdate> {
    let new = new_order(n);
    let append = append(&new.order, FREELY, Then::Keep, events);
    let update = |event| OrderUpdate::new(new.order.head(), event);
    iter::once(Arc::clone(&new.event)).chain(append.events).map(update).collect()
}

/// Returns the first events of an order.
fn updates(n: u64) -> Vec<OrderUpdate> {
    history(n, &[routing_started(1)])
}

#[tokio::test]
async fn an_event_crosses_from_one_process_to_the_others() {
    let server = RedisServer::start(&[]);
    let here = RedisFanout::open(server.options()).await.unwrap();
    let there = [
        RedisFanout::open(server.options()).await.unwrap().source(),
        RedisFanout::open(server.options()).await.unwrap().source(),
    ];
    let stranger = RedisFanout::open(server.options().with_prefix("other").unwrap()).await.unwrap();
    assert_eq!(here.sink().guarantee(), SinkGuarantee::BestEffort);
    here.sink().deliver(&updates(1)).await.unwrap();
    for source in &there {
        assert!(source.is_connected());
        // The other process can claim the order.
        assert_eq!(next(source).await, Hint::Due(Lane::Execute));
        for update in updates(1) {
            assert_eq!(next(source).await, Hint::Event(update.event));
        }
    }
    // The publisher did not hear its own events, nor those under another prefix: this is its first hint.
    let third = RedisFanout::open(server.options()).await.unwrap();
    third.sink().deliver(&updates(2)[1..]).await.unwrap();
    stranger.sink().deliver(&updates(3)[1..]).await.unwrap();
    assert_eq!(next(&here.source()).await, Hint::Event(Arc::clone(&updates(2)[1].event)));
}

#[tokio::test]
async fn a_cut_connection_is_replaced_and_gives_a_resync() {
    let server = RedisServer::start(&[]);
    let here = RedisFanout::open(server.options()).await.unwrap();
    let there = RedisFanout::open(server.options()).await.unwrap().source();
    let () = run(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    resync(&there).await;
    assert!(there.is_connected());
    here.sink().deliver(&updates(1)[1..]).await.unwrap();
    assert_eq!(next(&there).await, Hint::Event(Arc::clone(&updates(1)[1].event)));
}

/// Only the publisher loses its connection, so the resync that the other process hears is the publisher's.
#[tokio::test]
async fn a_failed_publication_is_followed_by_a_resync_of_the_others() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).await.unwrap();
    let cut_off = RedisOptions::new(&format!("redis://{}", proxy.address())).unwrap();
    let here = RedisFanout::open(cut_off).await.unwrap();
    let there = RedisFanout::open(server.options()).await.unwrap().source();
    proxy.set(Link::Cut);
    assert!(here.sink().deliver(&updates(1)).await.is_err());
    assert!(there.is_connected());
    proxy.set(Link::Up);
    let publishing = async {
        while here.sink().deliver(&updates(2)[1..]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, publishing).await.expect("it publishes again");
    assert_eq!(next(&there).await, Hint::Resync);
    assert_eq!(next(&there).await, Hint::Event(Arc::clone(&updates(2)[1].event)));
}

#[tokio::test]
async fn a_silent_server_is_noticed() {
    let server = RedisServer::start(&[]);
    let short = Duration::from_secs(1);
    let options = server.options().with_operation_timeout(short).with_connect_timeout(short);
    let source = RedisFanout::open(options).await.unwrap().source();
    assert!(source.is_connected());
    server.pause();
    until(|| !source.is_connected()).await;
    server.unpause();
    resync(&source).await;
    assert!(source.is_connected());
}

/// After a fail-over the old server is a replica, on which no process publishes and which cuts no connection.
#[tokio::test]
async fn a_read_only_replica_is_noticed_and_left() {
    let server = RedisServer::start(&[]);
    let fanout = RedisFanout::open(server.options()).await.unwrap();
    let source = fanout.source();
    let gone = RedisServer::start(&[]);
    let port = gone.port().to_string();
    gone.kill();
    let () = run(&server, &["REPLICAOF", "127.0.0.1", &port]).await;
    until(|| !source.is_connected()).await;
    assert!(fanout.sink().deliver(&updates(1)).await.is_err());
    assert!(RedisFanout::open(server.options()).await.is_err());
    let () = run(&server, &["REPLICAOF", "NO", "ONE"]).await;
    resync(&source).await;
    assert!(source.is_connected());
}

#[tokio::test]
async fn a_flood_gives_a_resync_and_does_not_block_publishers() {
    let server = RedisServer::start(&[]);
    let here = RedisFanout::open(server.options()).await.unwrap();
    let there = RedisFanout::open(server.options()).await.unwrap();
    let source = there.source();
    let many = history(1, &to_confirmed());
    // These are more hints than the queue holds, and the source takes none.
    for _ in 0..2_000 {
        here.sink().deliver(&many[1..]).await.unwrap();
    }
    resync(&source).await;
}

#[tokio::test]
async fn a_dropped_fanout_leaves_no_connection() {
    let server = RedisServer::start(&[]);
    let fanout = RedisFanout::open(server.options()).await.unwrap();
    let (sink, source) = (fanout.sink(), fanout.source());
    drop(fanout);
    assert!(source.is_connected());
    drop((sink, source));
    let clients = async || run::<String>(&server, &["CLIENT", "LIST"]).await.lines().count();
    let waiting = async {
        // The one that asks is left.
        while clients().await > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the connections end");
}

/// The engines do not poll here, so each learns of the other's events by hints only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_over_another_store_hear_all_of_each_others_events() {
    let server = RedisServer::start(&[]);
    let (store, chain) = (Arc::new(MemoryStore::new()), Chain::new().await);
    let mut config = EngineConfig::default();
    config.poll_interval = Duration::from_hours(1);
    let service = async || {
        let fanout = RedisFanout::open(server.options()).await.unwrap();
        Service::start(store.clone(), Some(&fanout), &chain, config.clone()).await
    };
    let (api, _worker) = (service().await, service().await.with_worker());
    for n in 0..5 {
        let Submission::Created(order) = api.engine.submit(request(n.to_string())).await.unwrap() else {
            panic!("it is new");
        };
        let mut subscription = api.engine.subscribe(order.id, 0).await.unwrap().unwrap();
        let mut seen = Vec::new();
        while seen.last().is_none_or(|event: &Arc<EventRecord>| !event.status.is_terminal()) {
            let next = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an event comes");
            seen.push(next.unwrap().unwrap());
        }
        assert!(seen.iter().map(|event| event.seq).eq(1..=seen.len() as u64));
    }
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).await.unwrap();
    let short = Duration::from_secs(1);
    let options = RedisOptions::new(&format!("redis://{}", proxy.address())).unwrap();
    let there = RedisFanout::open(options.with_operation_timeout(short).with_connect_timeout(short))
        .await
        .unwrap()
        .source();
    let here = RedisFanout::open(server.options()).await.unwrap();
    proxy.set(Link::Silent);
    until(|| !there.is_connected()).await;
    here.sink().deliver(&updates(1)).await.unwrap();
    proxy.set(Link::Up);
    resync(&there).await;
    here.sink().deliver(&updates(2)[1..]).await.unwrap();
    while next(&there).await != Hint::Event(Arc::clone(&updates(2)[1].event)) {}
}

#[tokio::test]
async fn a_message_of_another_kind_gives_a_resync() {
    let server = RedisServer::start(&[]);
    let source = RedisFanout::open(server.options()).await.unwrap().source();
    let heard: u32 = run(&server, &["PUBLISH", "{order-engine}:hints", "from the future"]).await;
    assert_eq!(heard, 1);
    assert_eq!(next(&source).await, Hint::Resync);
}

#[tokio::test]
async fn a_fanout_may_be_made_before_its_server_is_up() {
    let server = RedisServer::start(&[]);
    server.kill();
    let source = RedisFanout::new(server.options()).source();
    assert!(!source.is_connected());
    let hearing = tokio::spawn({
        let source = Arc::clone(&source);
        async move { next(&source).await }
    });
    tokio::task::yield_now().await;
    server.restart();
    assert_eq!(hearing.await.unwrap(), Hint::Resync);
    assert!(source.is_connected());
}
