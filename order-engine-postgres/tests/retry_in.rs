//! Retries within the host's transactions, in which the host debits its users.

mod common;
#[path = "common/engine.rs"]
mod engine;

use std::sync::Arc;

use common::{Database, execute, text};
use engine::{builder, request, simulator, submit, watch, work};
use order_engine_core::conformance::fixtures::{AT_ONCE, FREELY, append};
use order_engine_core::testing::RecordingSink;
use order_engine_core::{
    Cancellation, Engine, Failure, FailureCode, OrderEvent, OrderId, OrderStore, Retry, RetryError, Status,
    SubmitError,
};
use order_engine_postgres::{PostgresStore, sqlstate};

/// A host with one account, and its engine.
struct Host {
    database: Database,
    store: PostgresStore,
    engine: Engine,
}

impl Host {
    async fn new() -> Self {
        let database = Database::new();
        let store = database.store().await;
        let engine = builder(Arc::new(store.clone()), &simulator().await).build().await.unwrap();
        database.execute("CREATE TABLE @accounts (balance bigint); INSERT INTO @accounts VALUES (7)").await;
        Self { database, store, engine }
    }

    async fn balance(&self) -> String {
        self.database.text("SELECT balance FROM @accounts").await
    }

    /// Retries an order and debits the account for it, in one transaction that ends so.
    async fn retry(&self, id: OrderId, end: &str) -> Retry {
        let mut host = self.database.connect().await;
        execute(&mut host, "BEGIN").await;
        let retried = self.store.retry_in(&self.engine, &mut host, id).await.unwrap().unwrap();
        if matches!(retried.outcome, Retry::Created(_)) {
            let debit = self.database.qualified("UPDATE @accounts SET balance = balance - 1");
            execute(&mut host, &debit).await;
        }
        execute(&mut host, end).await;
        if end == "COMMIT" { retried.announce() } else { retried.outcome }
    }

    /// Submits an order and ends it.
    async fn cancelled(&self) -> OrderId {
        let id = submit(&self.engine).await;
        assert!(matches!(self.engine.cancel(id).await.unwrap(), Some(Cancellation::Cancelled(_))));
        id
    }

    /// Submits an order and puts it into quarantine.
    async fn quarantined(&self) -> OrderId {
        let id = submit(&self.engine).await;
        let order = self.engine.order(id).await.unwrap().unwrap();
        let failure = Failure::new(FailureCode::WORKER_PANICKED, "It panicked");
        let quarantined = append(&order, FREELY, AT_ONCE, &[OrderEvent::Quarantined { failure }]);
        assert_eq!(self.store.append(&[quarantined]).await.unwrap(), [Ok(())]);
        id
    }

    async fn status(&self, id: OrderId) -> Status {
        self.engine.order(id).await.unwrap().unwrap().status()
    }
}

#[tokio::test]
async fn the_debit_and_the_retry_are_both_made_or_neither() {
    let host = Host::new().await;
    let id = host.cancelled().await;
    let Retry::Created(dropped) = host.retry(id, "ROLLBACK").await else { panic!("it is new") };
    assert_eq!((host.engine.order(dropped.id).await.unwrap(), &*host.balance().await), (None, "7"));
    let Retry::Created(new) = host.retry(id, "COMMIT").await else { panic!("it is new") };
    assert_eq!((new.origin, &*host.balance().await), (Some(id), "6"));
    assert_eq!(host.engine.order(new.id).await.unwrap().as_ref(), Some(&*new));
    // Again, by the host or by the engine, is the same order, and costs nothing.
    let Retry::Existing(again) = host.retry(id, "COMMIT").await else { panic!("it exists") };
    assert_eq!((again.id, &*host.balance().await), (new.id, "6"));
    let again = host.engine.retry(id).await.unwrap();
    assert!(matches!(again, Some(Retry::Existing(existing)) if existing.id == new.id));
    // A worker executes it.
    let worker = work(&host.engine);
    watch(&host.engine, new.id).await;
    worker.abort();
}

#[tokio::test]
async fn what_cannot_be_retried_changes_nothing() {
    let host = Host::new().await;
    let open = submit(&host.engine).await;
    assert!(matches!(host.retry(open, "COMMIT").await, Retry::NotFailed(order) if order.id == open));
    let id = host.cancelled().await;
    let own = request().with_client_order_id(format!("retry:{id}"));
    host.engine.submit(own).await.unwrap();
    assert!(matches!(host.retry(id, "COMMIT").await, Retry::NameTaken(order) if order.origin.is_none()));
    let held = host.quarantined().await;
    let own = request().with_client_order_id(format!("retry:{held}"));
    host.engine.submit(own).await.unwrap();
    assert!(matches!(host.retry(held, "COMMIT").await, Retry::NameTaken(_)));
    assert_eq!(host.status(held).await, Status::Pending, "it is not ended without a retry");
    assert_eq!(host.balance().await, "7");
    let mut connection = host.database.connect().await;
    execute(&mut connection, "BEGIN").await;
    let unknown = OrderId::from_bytes([7; 16]);
    let retried = host.store.retry_in(&host.engine, &mut connection, unknown).await.unwrap();
    assert!(retried.is_none());
}

#[tokio::test]
async fn an_order_in_quarantine_is_ended_by_the_transaction_that_retries_it() {
    let host = Host::new().await;
    let sink = RecordingSink::best_effort("hears");
    let id = host.quarantined().await;
    let Retry::Created(_) = host.retry(id, "ROLLBACK").await else { panic!("it is new") };
    assert_eq!((host.status(id).await, &*host.balance().await), (Status::Pending, "7"));
    let hearing = builder(Arc::new(host.store.clone()), &simulator().await).sink(Arc::new(sink.clone()));
    let host = Host { engine: hearing.build().await.unwrap(), ..host };
    let Retry::Created(new) = host.retry(id, "COMMIT").await else { panic!("it is new") };
    let ended = host.engine.order(id).await.unwrap().unwrap();
    assert_eq!(ended.state.failure().unwrap().code, FailureCode::SUPERSEDED);
    assert_eq!((host.status(new.id).await, &*host.balance().await), (Status::Pending, "6"));
    // Both are announced.
    sink.has_taken(2).await;
    assert_eq!(sink.events_of(id).last().unwrap().status, Status::Failed);
    assert_eq!(sink.events_of(new.id).len(), 1);
}

#[tokio::test]
async fn an_order_in_quarantine_is_retried_only_in_a_transaction() {
    let host = Host::new().await;
    let id = host.quarantined().await;
    let mut connection = host.database.connect().await;
    let Err(RetryError::Submit(SubmitError::Store(error))) =
        host.store.retry_in(&host.engine, &mut connection, id).await
    else {
        panic!("the two writes would not be one")
    };
    assert_eq!(sqlstate(&error).as_deref(), Some("25P01"), "{error}");
    assert_eq!(host.status(id).await, Status::Pending);
    assert_eq!(text(&mut connection, &host.database.qualified("SELECT count(*) FROM @orders")).await, "1");
}

#[tokio::test]
async fn an_order_that_leaves_its_quarantine_meanwhile_is_not_retried() {
    let host = Host::new().await;
    let id = host.quarantined().await;
    // The host's snapshot is older than the change.
    let mut connection = host.database.connect().await;
    execute(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    let count = host.database.qualified("SELECT count(*) FROM @orders");
    assert_eq!(text(&mut connection, &count).await, "1");
    host.engine.lift_quarantine(id).await.unwrap();
    let Err(RetryError::Submit(SubmitError::Store(error))) =
        host.store.retry_in(&host.engine, &mut connection, id).await
    else {
        panic!("the order has changed")
    };
    assert_eq!(sqlstate(&error).as_deref(), Some("40001"), "{error}");
    execute(&mut connection, "ROLLBACK").await;
    assert!(matches!(host.retry(id, "COMMIT").await, Retry::NotFailed(_)));
    assert_eq!(host.balance().await, "7");
}
