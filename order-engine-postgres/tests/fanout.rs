//! Hints between processes.

mod common;
#[path = "common/engine.rs"]
mod engine;

use std::sync::Arc;
use std::time::Duration;

use common::Database;
use engine::{listening, simulator, submit, watch, work};
use order_engine_core::conformance::fixtures::{id, new_order};
use order_engine_core::testing::{Link, Proxy};
use order_engine_core::{
    EventRecord, Failure, FailureCode, Hint, Lane, OrderEvent, OrderUpdate, StatusSink, StatusSource,
    StoreErrorKind,
};
use order_engine_postgres::testing::shared_url;
use order_engine_postgres::{OptionsError, PostgresFanout, PostgresOptions};

/// Both ends of a fan-out.
struct Ends {
    sink: Arc<dyn StatusSink>,
    source: Arc<dyn StatusSource>,
}

async fn connected(options: PostgresOptions) -> Ends {
    let fanout = PostgresFanout::new(options).unwrap();
    let (sink, source) = (fanout.sink(), fanout.source());
    assert!(!source.is_connected());
    assert_eq!(source.next().await, Hint::Resync);
    assert!(source.is_connected());
    Ends { sink, source }
}

fn accepted(n: u64) -> OrderUpdate {
    let new = new_order(n);
    OrderUpdate::new(new.order.head(), new.event)
}

/// Checks that the acceptance of an order arrives, first as work for the other process's workers.
async fn hears_of(ends: &Ends, update: &OrderUpdate) {
    assert_eq!(ends.source.next().await, Hint::Due(Lane::Execute));
    assert_eq!(ends.source.next().await, Hint::Event(Arc::clone(&update.event)));
}

#[tokio::test]
async fn events_travel_to_the_others_and_not_back() {
    let database = Database::new();
    let (one, other) = (connected(database.options()).await, connected(database.options()).await);
    one.sink.deliver(&[accepted(1)]).await.unwrap();
    hears_of(&other, &accepted(1)).await;
    other.sink.deliver(&[accepted(2)]).await.unwrap();
    hears_of(&one, &accepted(2)).await;
}

#[tokio::test]
async fn engines_that_share_a_database_hear_only_their_own() {
    let (here, there) = (Database::new(), Database::new());
    let listening = connected(here.options()).await;
    connected(there.options()).await.sink.deliver(&[accepted(1)]).await.unwrap();
    connected(here.options()).await.sink.deliver(&[accepted(2)]).await.unwrap();
    hears_of(&listening, &accepted(2)).await;
}

#[tokio::test]
async fn an_event_that_is_too_large_for_a_message_is_replaced_by_its_number() {
    let database = Database::new();
    let (one, other) = (connected(database.options()).await, connected(database.options()).await);
    let failure = Failure::new(FailureCode::REJECTED, "x".repeat(10_000));
    let OrderUpdate { order, event, .. } = accepted(1);
    let mut large = EventRecord::clone(&event);
    large.event = OrderEvent::Failed { failure };
    one.sink.deliver(&[OrderUpdate::new(order, Arc::new(large))]).await.unwrap();
    assert_eq!(other.source.next().await, Hint::Advanced { order_id: id(1), seq: 1 });
}

#[tokio::test]
async fn many_events_share_a_message() {
    let database = Database::new();
    let (one, other) = (connected(database.options()).await, connected(database.options()).await);
    let updates: Vec<_> = (1..=500).map(accepted).collect();
    one.sink.deliver(&updates).await.unwrap();
    assert_eq!(other.source.next().await, Hint::Due(Lane::Execute));
    for update in &updates {
        assert_eq!(other.source.next().await, Hint::Event(Arc::clone(&update.event)));
    }
}

#[tokio::test]
async fn connections_pooled_by_transaction_cannot_listen() {
    let options = Database::new().options().with_transaction_pooling(true);
    assert!(matches!(PostgresFanout::new(options), Err(OptionsError::CannotListen)));
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_gives_a_resync() {
    let database = Database::new();
    let name = format!("{}_fanout", database.schema);
    let url = format!("{}?application_name={name}", shared_url());
    let options = PostgresOptions::new(&url).unwrap().with_schema(&*database.schema).unwrap();
    let (one, other) = (connected(database.options()).await, connected(options).await);
    let terminate =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'");
    database.execute(&terminate).await;
    assert_eq!(other.source.next().await, Hint::Resync);
    assert!(other.source.is_connected());
    one.sink.deliver(&[accepted(1)]).await.unwrap();
    hears_of(&other, &accepted(1)).await;
    // Its connection that publishes was lost too, and is replaced as well.
    let mut delivered = other.sink.deliver(&[accepted(2)]).await;
    if delivered.is_err() {
        delivered = other.sink.deliver(&[accepted(2)]).await;
    }
    delivered.unwrap();
    hears_of(&one, &accepted(2)).await;
}

#[tokio::test]
async fn a_silent_connection_is_noticed() {
    let database = Database::new();
    let proxy = Proxy::start(Database::address()).await.unwrap();
    let options = database.options_through(&proxy);
    let source = connected(options).await.source;
    proxy.set(Link::Silent);
    let hearing = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.next().await }
    });
    while source.is_connected() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.set(Link::Cut);
    proxy.set(Link::Up);
    assert_eq!(hearing.await.unwrap(), Hint::Resync);
    assert!(source.is_connected());
}

/// One engine accepts orders and is watched, the other one executes them. Neither polls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_share_the_work_of_one_database() {
    let database = Database::new();
    let simulator = simulator().await;
    let fanout = || PostgresFanout::new(database.options()).unwrap();
    let accepting = listening(database.open().await, &simulator, fanout()).await;
    let working = listening(database.open().await, &simulator, fanout()).await;
    let worker = work(&working);
    let mut watching = Vec::new();
    for _ in 0..50 {
        let (engine, order) = (accepting.clone(), submit(&accepting).await);
        watching.push(tokio::spawn(async move { watch(&engine, order).await }));
    }
    for watched in watching {
        watched.await.unwrap();
    }
    assert_eq!(simulator.executions(None).len(), 50);
    for engine in [accepting, working] {
        engine.shutdown(Duration::from_secs(10)).await.unwrap();
    }
    worker.abort();
}

#[tokio::test]
async fn a_message_of_another_kind_gives_a_resync() {
    let database = Database::new();
    let source = connected(database.options()).await.source;
    database.execute(&format!("SELECT pg_notify('{}.events', 'from the future')", database.schema)).await;
    let hint = tokio::time::timeout(Duration::from_secs(5), source.next()).await;
    assert_eq!(hint.expect("the message is not dropped"), Hint::Resync);
}

#[tokio::test]
async fn an_opened_fanout_is_connected() {
    let database = Database::new();
    let source = PostgresFanout::open(database.options()).await.unwrap().source();
    assert!(source.is_connected());
    connected(database.options()).await.sink.deliver(&[accepted(1)]).await.unwrap();
    assert_eq!(source.next().await, Hint::Due(Lane::Execute));
    let pooled = database.options().with_transaction_pooling(true);
    assert_eq!(PostgresFanout::open(pooled).await.unwrap_err().kind(), StoreErrorKind::Misconfigured);
}
