//! A server that dies, is restarted, stops writing, or is cut off: the same process goes on by itself,
//! nothing is lost and nothing is done twice.

mod common;
#[path = "common/engine.rs"]
mod engine;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Database, execute};
use engine::{builder, request, simulator, submit, watch, work};
use order_engine_core::conformance::fixtures::{create_one, id, new_order};
use order_engine_core::testing::{Link, Proxy};
use order_engine_core::{Engine, EngineConfig, OrderId, OrderStore, StoreErrorKind, Submission, SubmitError};
use order_engine_postgres::testing::PostgresServer;
use order_engine_postgres::{PostgresFanout, PostgresOptions, PostgresStore};
use order_engine_sim::Simulator;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

/// How often a server is restarted under load; the long form sets a hundred.
const RESTARTS: &str = "POSTGRES_RESTARTS";
/// Longer than anything takes that works.
const LONG: Duration = Duration::from_mins(1);

fn quick(options: PostgresOptions) -> PostgresOptions {
    options.with_operation_timeout(Duration::from_millis(500))
}

#[tokio::test]
async fn a_call_over_a_broken_connection_fails_and_the_next_one_works() {
    let database = Database::new();
    let proxy = Proxy::start(Database::address()).await.unwrap();
    let store = PostgresStore::open(quick(database.options_through(&proxy))).await.unwrap();
    let store: Arc<dyn OrderStore> = Arc::new(store);
    create_one(&store, 1).await;
    for link in [Link::Cut, Link::Silent, Link::RepliesLost] {
        proxy.set(link);
        let error = store.last_seqs(&[id(1)]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{link:?}: {error}");
        assert!(store.check().await.is_err(), "{link:?}");
        proxy.set(Link::Up);
        assert_eq!(store.last_seqs(&[id(1)]).await.unwrap(), [Some(1)], "{link:?}");
    }
}

/// The reply to a commit is lost: the store reads what was written, and the caller gets the right result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_commit_was_not_answered_is_accepted() {
    let database = Database::new();
    let proxy = Proxy::start(Database::address()).await.unwrap();
    let store = PostgresStore::open(quick(database.options_through(&proxy))).await.unwrap();
    let engine = builder(Arc::new(store), &simulator().await).build().await.unwrap();
    // So that the connection that writes exists.
    submit(&engine).await;
    proxy.set(Link::RepliesLost);
    let submitting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(request()).await }
    });
    // The order is there before its caller knows.
    while database.text("SELECT count(*) FROM @orders").await != "2" {
        tokio::task::yield_now().await;
    }
    proxy.set(Link::Up);
    let submission = submitting.await.unwrap().unwrap();
    let Submission::Created(order) = submission else { panic!("{submission:?}") };
    assert_eq!(engine.events(order.id, 0, 9).await.unwrap().len(), 1);
    assert_eq!(database.text("SELECT count(*) FROM @orders").await, "2");
}

#[tokio::test]
async fn a_server_that_only_reads_takes_nothing_until_it_writes_again() {
    let server = PostgresServer::start();
    let store = PostgresStore::open(PostgresOptions::new(&server.url()).unwrap()).await.unwrap();
    let engine = builder(Arc::new(store), &simulator().await).build().await.unwrap();
    let worker = work(&engine);
    let first = submit(&engine).await;
    watch(&engine, first).await;

    let mut operator = PgConnection::connect(&server.url()).await.unwrap();
    let read_only = |is: bool| {
        let word = if is { "on" } else { "off" };
        format!("ALTER SYSTEM SET default_transaction_read_only = {word}")
    };
    execute(&mut operator, &read_only(true)).await;
    execute(&mut operator, "SELECT pg_reload_conf()").await;
    // The server takes the setting up in its own time.
    let refused = loop {
        match engine.submit(request()).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(SubmitError::Store(error)) => break error,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(refused.is_transient(), "{refused}");
    assert!(engine.health().await.store.is_err());
    // What is there can still be read.
    assert!(engine.order(first).await.unwrap().is_some());

    execute(&mut operator, "SET default_transaction_read_only = off").await;
    execute(&mut operator, &read_only(false)).await;
    execute(&mut operator, "SELECT pg_reload_conf()").await;
    let order = tokio::time::timeout(LONG, async {
        loop {
            match engine.submit(request()).await {
                Ok(Submission::Created(order)) => break order.id,
                _ => tokio::task::yield_now().await,
            }
        }
    });
    watch(&engine, order.await.unwrap()).await;
    assert!(engine.health().await.store.is_ok());
    worker.abort();
}

/// Clients that submit orders one after the other and watch each to its end, through all outages.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<OrderId>>>,
}

impl Load {
    fn start(engine: &Engine, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|client| tokio::spawn(run_client(engine.clone(), client, Arc::clone(&stop))))
            .collect();
        Self { stop, clients }
    }

    /// The orders that were accepted; every one of them has ended well.
    async fn finish(self) -> BTreeSet<OrderId> {
        self.stop.store(true, Ordering::Relaxed);
        let mut accepted = BTreeSet::new();
        for client in self.clients {
            accepted
                .extend(tokio::time::timeout(LONG, client).await.expect("orders come to an end").unwrap());
        }
        accepted
    }
}

async fn run_client(engine: Engine, client: usize, stop: Arc<AtomicBool>) -> Vec<OrderId> {
    let mut accepted = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("{client}-{}", accepted.len());
        let order = submit_stubbornly(&engine, &key).await;
        watch_stubbornly(&engine, order).await;
        accepted.push(order);
    }
    accepted
}

/// As a careful caller does: again, under the same name, until there is an answer.
async fn submit_stubbornly(engine: &Engine, key: &str) -> OrderId {
    let request = request().with_client_order_id(key);
    loop {
        match engine.submit(request.clone()).await {
            Ok(Submission::Created(order) | Submission::Existing(order)) => return order.id,
            Err(SubmitError::Store(error)) if error.is_transient() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Every event, in order, once, across all interruptions.
async fn watch_stubbornly(engine: &Engine, order: OrderId) {
    let mut last = 0;
    loop {
        if let Ok(Some(mut events)) = engine.subscribe(order, last).await {
            while let Some(event) = events.next().await {
                let Ok(event) = event else { break };
                assert_eq!(event.seq, last + 1, "an event is missing or doubled");
                last = event.seq;
                if event.status.is_terminal() {
                    return;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_each_executed_once(simulator: &Simulator, accepted: &BTreeSet<OrderId>) {
    let executed: Vec<OrderId> =
        simulator.executions(None).iter().map(|execution| execution.order_id).collect();
    assert_eq!(executed.iter().copied().collect::<BTreeSet<_>>(), *accepted, "orders that executed");
    assert_eq!(executed.len(), accepted.len(), "executions");
}

async fn engine_on(options: PostgresOptions, simulator: &Simulator) -> Engine {
    let fanout = PostgresFanout::new(options.clone()).unwrap();
    let store = PostgresStore::open(options).await.unwrap();
    let mut config = EngineConfig::default();
    config.lease_duration = Duration::from_secs(2);
    config.poll_interval = Duration::from_millis(200);
    let engine =
        builder(Arc::new(store), simulator).sink(fanout.sink()).source(fanout.source()).config(config);
    engine.build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_restarted_under_load_costs_no_order() {
    let restarts: u32 = std::env::var(RESTARTS).map_or(3, |text| text.parse().unwrap());
    let server = PostgresServer::start();
    let simulator = simulator().await;
    let engine = engine_on(PostgresOptions::new(&server.url()).unwrap(), &simulator).await;
    let worker = work(&engine);
    let load = Load::start(&engine, 8);
    let mut longest = Duration::ZERO;
    for restart in 0..restarts {
        // The load runs: some orders begin and end first.
        for n in 0..5 {
            watch_stubbornly(&engine, submit_stubbornly(&engine, &format!("before-{restart}-{n}")).await)
                .await;
        }
        if restart % 2 == 0 {
            server.kill();
        } else {
            server.stop();
        }
        server.restart();
        let back = Instant::now();
        let order = submit_stubbornly(&engine, &format!("after-{restart}")).await;
        tokio::time::timeout(LONG, watch_stubbornly(&engine, order)).await.expect("the engine goes on");
        longest = longest.max(back.elapsed());
    }
    let mut accepted = load.finish().await;
    for restart in 0..restarts {
        for n in 0..5 {
            accepted.insert(submit_stubbornly(&engine, &format!("before-{restart}-{n}")).await);
        }
        accepted.insert(submit_stubbornly(&engine, &format!("after-{restart}")).await);
    }
    println!(
        "{restarts} restarts, {} orders; at most {longest:?} from the server's return to a confirmed order",
        accepted.len()
    );
    assert_each_executed_once(&simulator, &accepted);
    worker.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_fails_in_every_way_costs_no_order() {
    let database = Database::new();
    drop(database.open().await);
    let proxy = Proxy::start(Database::address()).await.unwrap();
    let simulator = simulator().await;
    let engine = engine_on(quick(database.options_through(&proxy)), &simulator).await;
    let worker = work(&engine);
    let load = Load::start(&engine, 8);
    for link in [Link::Cut, Link::RepliesLost, Link::Silent, Link::RepliesLost] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.set(link);
        tokio::time::sleep(Duration::from_millis(700)).await;
        proxy.set(Link::Up);
    }
    let accepted = load.finish().await;
    assert_each_executed_once(&simulator, &accepted);
    worker.abort();
}

#[tokio::test]
async fn dropped_calls_leave_no_connection_in_the_middle_of_something() {
    let database = Database::new();
    let store = PostgresStore::open(database.options().with_connections(1)).await.unwrap();
    let store: Arc<dyn OrderStore> = Arc::new(store);
    create_one(&store, 1).await;
    for polls in 0..40 {
        let new = [new_order(100 + polls)];
        let mut writing = store.create(&new);
        for _ in 0..polls {
            let step = std::future::poll_fn(|context| std::task::Poll::Ready(writing.as_mut().poll(context)));
            if step.await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(writing);
        assert_eq!(store.last_seqs(&[id(1)]).await.unwrap(), [Some(1)]);
    }
}
