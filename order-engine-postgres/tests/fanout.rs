//! What one process commits, the others hear.

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
    EventRecord, Failure, FailureCode, Hint, Lane, OrderEvent, StatusSink, StatusSource,
};
use order_engine_postgres::testing::shared_url;
use order_engine_postgres::{OptionsError, PostgresFanout, PostgresOptions};

async fn connected(options: PostgresOptions) -> PostgresFanout {
    let fanout = PostgresFanout::new(options).unwrap();
    assert!(!fanout.is_connected());
    assert_eq!(fanout.next().await, Hint::Resync);
    assert!(fanout.is_connected());
    fanout
}

fn accepted(n: u64) -> Arc<EventRecord> {
    new_order(n).event
}

/// The acceptance of an order is also news for the workers.
async fn hears_of(fanout: &PostgresFanout, event: &Arc<EventRecord>) {
    assert_eq!(fanout.next().await, Hint::Due(Lane::Execute));
    assert_eq!(fanout.next().await, Hint::Event(Arc::clone(event)));
}

#[tokio::test]
async fn events_travel_to_the_others_and_not_back() {
    let database = Database::new();
    let (one, other) = (connected(database.options()).await, connected(database.options()).await);
    one.deliver(&[accepted(1)]).await.unwrap();
    hears_of(&other, &accepted(1)).await;
    other.deliver(&[accepted(2)]).await.unwrap();
    hears_of(&one, &accepted(2)).await;
}

#[tokio::test]
async fn engines_that_share_a_database_hear_only_their_own() {
    let (here, there) = (Database::new(), Database::new());
    let listening = connected(here.options()).await;
    connected(there.options()).await.deliver(&[accepted(1)]).await.unwrap();
    connected(here.options()).await.deliver(&[accepted(2)]).await.unwrap();
    hears_of(&listening, &accepted(2)).await;
}

#[tokio::test]
async fn what_is_too_large_for_a_message_leaves_its_place() {
    let database = Database::new();
    let (one, other) = (connected(database.options()).await, connected(database.options()).await);
    let failure = Failure::new(FailureCode::REJECTED, "x".repeat(10_000));
    let event = EventRecord { event: OrderEvent::Failed { failure }, ..EventRecord::clone(&accepted(1)) };
    one.deliver(&[Arc::new(event)]).await.unwrap();
    assert_eq!(other.next().await, Hint::Advanced { order_id: id(1), seq: 1 });
}

#[tokio::test]
async fn many_events_share_a_message() {
    let database = Database::new();
    let (one, other) = (connected(database.options()).await, connected(database.options()).await);
    let events: Vec<_> = (1..=500).map(accepted).collect();
    one.deliver(&events).await.unwrap();
    assert_eq!(other.next().await, Hint::Due(Lane::Execute));
    for event in &events {
        assert_eq!(other.next().await, Hint::Event(Arc::clone(event)));
    }
}

#[tokio::test]
async fn connections_pooled_by_transaction_cannot_listen() {
    let options = Database::new().options().with_transaction_pooling(true);
    assert!(matches!(PostgresFanout::new(options), Err(OptionsError::CannotListen)));
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_told() {
    let database = Database::new();
    let name = format!("{}_fanout", database.schema);
    let url = format!("{}?application_name={name}", shared_url());
    let options = PostgresOptions::new(&url).unwrap().with_schema(&*database.schema).unwrap();
    let (one, other) = (connected(database.options()).await, connected(options).await);
    let terminate =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'");
    database.execute(&terminate).await;
    assert_eq!(other.next().await, Hint::Resync);
    assert!(other.is_connected());
    one.deliver(&[accepted(1)]).await.unwrap();
    hears_of(&other, &accepted(1)).await;
    // The connection that says things was lost with it, and is made again as well.
    let mut said = other.deliver(&[accepted(2)]).await;
    if said.is_err() {
        said = other.deliver(&[accepted(2)]).await;
    }
    said.unwrap();
    hears_of(&one, &accepted(2)).await;
}

#[tokio::test]
async fn a_silent_connection_is_noticed() {
    let database = Database::new();
    let proxy = Proxy::start(Database::address()).await.unwrap();
    let options = database.options_through(&proxy);
    let fanout = Arc::new(connected(options).await);
    proxy.set(Link::Silent);
    let hearing = tokio::spawn({
        let fanout = Arc::clone(&fanout);
        async move { fanout.next().await }
    });
    while fanout.is_connected() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.set(Link::Cut);
    proxy.set(Link::Up);
    assert_eq!(hearing.await.unwrap(), Hint::Resync);
    assert!(fanout.is_connected());
}

/// One accepts orders and is watched, the other works; neither polls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_share_the_work_of_one_database() {
    let database = Database::new();
    let simulator = simulator().await;
    let fanout = || Arc::new(PostgresFanout::new(database.options()).unwrap());
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
