//! Orders and retries within the transactions of a host that has its tables in the same file.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Database, text};
use order_engine_core::conformance::fixtures::{AT_ONCE, FREELY, append, register};
use order_engine_core::testing::{RecordingSink, ScriptedRouter, ScriptedVenue, request};
use order_engine_core::{
    ClientOrderId, Engine, EngineConfig, Failure, FailureCode, ItemRejected, Order, OrderEvent, OrderId,
    OrderRequest, OrderStore, Retry, Status, StatusSink, StoreErrorKind, Submission, SubmitError,
};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use sqlx::{AssertSqlSafe, SqliteConnection};

/// A host with one account in the store's file, and its engine.
struct Host {
    database: Database,
    store: SqliteStore,
    engine: Engine,
}

impl Host {
    async fn new() -> Self {
        Self::with_sinks([]).await
    }

    async fn with_sinks(sinks: impl IntoIterator<Item = RecordingSink>) -> Self {
        let database = Database::new();
        let store = SqliteStore::open(SqliteOptions::new(database.path())).await.unwrap();
        let mut config = EngineConfig::default();
        // Only an announcement wakes a worker in time.
        config.poll_interval = Duration::from_hours(1);
        let mut engine = Engine::builder()
            .store(Arc::new(store.clone()))
            .router(Arc::new(ScriptedRouter::default()))
            .venue(Arc::new(ScriptedVenue::default()))
            .config(config);
        for sink in sinks {
            engine = engine.sink(Arc::new(sink) as Arc<dyn StatusSink>);
        }
        let engine = engine.build().await.unwrap();
        database.execute("CREATE TABLE accounts (balance INTEGER); INSERT INTO accounts VALUES (7)").await;
        Self { database, store, engine }
    }

    /// Begins a transaction of the host.
    async fn begin(&self) -> SqliteConnection {
        let mut connection = self.database.connect().await;
        execute(&mut connection, "BEGIN IMMEDIATE").await;
        connection
    }

    async fn balance(&self) -> String {
        self.database.text("SELECT balance FROM accounts").await
    }

    async fn order(&self, id: OrderId) -> Option<Order> {
        self.engine.order(id).await.unwrap()
    }

    async fn created(&self, request: OrderRequest) -> Arc<Order> {
        match self.engine.submit(request).await.unwrap() {
            Submission::Created(order) => order,
            other => panic!("{other:?}"),
        }
    }

    /// Retries an order and debits the account for it, in one transaction that ends so.
    async fn retry(&self, id: OrderId, end: &str) -> Retry {
        let mut connection = self.begin().await;
        let retried = self.store.retry_in(&self.engine, &mut connection, id).await.unwrap().unwrap();
        if matches!(retried.outcome, Retry::Created(_)) {
            execute(&mut connection, "UPDATE accounts SET balance = balance - 1").await;
        }
        execute(&mut connection, end).await;
        if end == "COMMIT" { retried.announce() } else { retried.outcome }
    }

    /// Submits an order and puts it into quarantine.
    async fn quarantined(&self) -> OrderId {
        let order = self.created(request()).await;
        let failure = Failure::new(FailureCode::WORKER_PANICKED, "It panicked");
        let quarantined = append(&order, FREELY, AT_ONCE, &[OrderEvent::Quarantined { failure }]);
        assert_eq!(self.store.append(&[quarantined]).await.unwrap(), [Ok(())]);
        order.id
    }
}

fn named(key: &str) -> OrderRequest {
    request().with_client_order_id(key)
}

async fn execute(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

#[tokio::test]
async fn the_order_and_the_hosts_row_are_both_written_or_neither() {
    let host = Host::new().await;
    for (end, balance) in [("ROLLBACK", "7"), ("COMMIT", "6")] {
        let mut connection = host.begin().await;
        let submitted = host.store.submit_in(&host.engine, &mut connection, named("key")).await.unwrap();
        let Submission::Created(order) = submitted.outcome.clone() else { panic!("{submitted:?}") };
        execute(&mut connection, "UPDATE accounts SET balance = balance - 1").await;
        assert_eq!(host.order(order.id).await, None, "it is invisible before the commit");
        execute(&mut connection, end).await;
        let expected = (end == "COMMIT").then(|| Order::clone(&order));
        assert_eq!((host.order(order.id).await, &*host.balance().await), (expected, balance));
        drop(submitted);
    }
    assert_eq!(host.database.text("SELECT count(*) FROM order_events").await, "1");
    // The same request again is the same order, and another one under its name is a conflict.
    let mut connection = host.begin().await;
    let again = host.store.submit_in(&host.engine, &mut connection, named("key")).await.unwrap();
    assert!(matches!(again.outcome, Submission::Existing(_)));
    let other = named("key").with_slippage_bps(7);
    let other = host.store.submit_in(&host.engine, &mut connection, other).await.unwrap();
    assert!(matches!(other.outcome, Submission::Conflict(_)));
}

#[tokio::test]
async fn an_announcement_wakes_the_worker() {
    let host = Host::new().await;
    let worker = tokio::spawn(host.engine.run(10));
    // The worker has executed an order, and waits for the next.
    let first = host.created(request()).await;
    let mut events = host.engine.subscribe(first.id, 0).await.unwrap().unwrap();
    while events.next().await.is_some() {}
    let mut connection = host.begin().await;
    let submitted = host.store.submit_in(&host.engine, &mut connection, request()).await.unwrap();
    execute(&mut connection, "COMMIT").await;
    let Submission::Created(order) = submitted.announce() else { panic!("it is new") };
    let mut events = host.engine.subscribe(order.id, 0).await.unwrap().unwrap();
    let mut last = Status::Pending;
    while let Some(event) = events.next().await {
        last = event.unwrap().status;
    }
    assert_eq!(last, Status::Confirmed);
    worker.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engines_writes_wait_for_the_host() {
    let host = Host::new().await;
    let mut connection = host.begin().await;
    let submitted = host.store.submit_in(&host.engine, &mut connection, named("key")).await.unwrap();
    let engine = host.engine.clone();
    let waiting = tokio::spawn(async move { engine.submit(named("key")).await.unwrap() });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "whether the name is used is not known yet");
    execute(&mut connection, "COMMIT").await;
    let Submission::Created(order) = submitted.announce() else { panic!("it is new") };
    assert!(matches!(waiting.await.unwrap(), Submission::Existing(existing) if existing.id == order.id));
}

#[tokio::test]
async fn what_cannot_be_an_order_leaves_the_transaction_as_it_was() {
    let host = Host::new().await;
    host.database
        .execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON order_writes
            BEGIN SELECT RAISE(ABORT, 'no events'); END",
        )
        .await;
    let mut connection = host.begin().await;
    execute(&mut connection, "UPDATE accounts SET balance = balance - 1").await;
    let invalid = request().with_slippage_bps(10_001);
    let invalid = host.store.submit_in(&host.engine, &mut connection, invalid).await;
    assert!(matches!(invalid, Err(SubmitError::Invalid(_))));
    let refused = request().with_user_id("al\0ice");
    let refused = host.store.submit_in(&host.engine, &mut connection, refused).await;
    assert!(matches!(refused, Err(SubmitError::Rejected(ItemRejected { .. }))));
    // The order is inserted, and its event is refused.
    let failed = host.store.submit_in(&host.engine, &mut connection, named("key")).await;
    assert!(matches!(failed, Err(SubmitError::Store(_))), "{failed:?}");
    assert_eq!(text(&mut connection, "SELECT count(*) FROM orders").await, "0");
    execute(&mut connection, "COMMIT").await;
    assert_eq!(host.balance().await, "6");
    host.database.execute("DROP TRIGGER refuses").await;
    assert!(matches!(host.engine.submit(named("key")).await.unwrap(), Submission::Created(_)));
}

#[tokio::test]
async fn a_host_whose_commits_do_not_wait_for_the_disk_is_refused() {
    let host = Host::new().await;
    let mut connection = host.database.connect().await;
    execute(&mut connection, "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE").await;
    let Err(SubmitError::Store(error)) = host.store.submit_in(&host.engine, &mut connection, request()).await
    else {
        panic!("the order would not be durable")
    };
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("synchronous = 1"), "{error}");
    execute(&mut connection, "ROLLBACK; PRAGMA synchronous = EXTRA; BEGIN IMMEDIATE").await;
    let submitted = host.store.submit_in(&host.engine, &mut connection, request()).await.unwrap();
    assert!(matches!(submitted.outcome, Submission::Created(_)));
}

#[tokio::test]
async fn without_a_transaction_an_order_is_written_whole_too() {
    let host = Host::new().await;
    let mut connection = host.database.connect().await;
    let submitted = host.store.submit_in(&host.engine, &mut connection, request()).await.unwrap();
    let Submission::Created(order) = submitted.announce() else { panic!("it is new") };
    assert_eq!(host.order(order.id).await.as_ref(), Some(&*order));
    assert_eq!(host.engine.events(order.id, 0, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn durable_sinks_hear_of_it() {
    let ledger = RecordingSink::durable("ledger");
    let host = Host::with_sinks([ledger.clone()]).await;
    register(&(Arc::new(host.store.clone()) as Arc<dyn OrderStore>), "other").await;
    let mut connection = host.begin().await;
    let submitted = host.store.submit_in(&host.engine, &mut connection, request()).await.unwrap();
    execute(&mut connection, "COMMIT").await;
    assert_eq!(host.database.text("SELECT count(*) FROM outbox_entries").await, "2");
    let Submission::Created(order) = submitted.announce() else { panic!("it is new") };
    ledger.has_taken(1).await;
    assert_eq!(ledger.events_of(order.id).len(), 1);
}

#[tokio::test]
async fn the_stores_clock_never_falls_behind_an_order_of_a_host() {
    let host = Host::new().await;
    host.database.execute("UPDATE clock SET reached_ms = 0").await;
    let mut connection = host.begin().await;
    let submitted = host.store.submit_in(&host.engine, &mut connection, request()).await.unwrap();
    execute(&mut connection, "COMMIT").await;
    submitted.announce();
    let is_noted = "SELECT reached_ms >= due_at FROM clock, orders";
    assert_eq!(host.database.text(is_noted).await, "1");
}

#[tokio::test]
async fn the_debit_and_the_retry_are_both_made_or_neither() {
    let host = Host::new().await;
    let open = host.created(request()).await.id;
    assert!(matches!(host.retry(open, "COMMIT").await, Retry::NotFailed(_)));
    host.engine.cancel(open).await.unwrap();
    let Retry::Created(dropped) = host.retry(open, "ROLLBACK").await else { panic!("it is new") };
    assert_eq!((host.order(dropped.id).await, &*host.balance().await), (None, "7"));
    let Retry::Created(new) = host.retry(open, "COMMIT").await else { panic!("it is new") };
    assert_eq!((new.origin, &*host.balance().await), (Some(open), "6"));
    let Retry::Existing(again) = host.retry(open, "COMMIT").await else { panic!("it exists") };
    assert_eq!((again.id, &*host.balance().await), (new.id, "6"));
    let mut connection = host.begin().await;
    let unknown = host.store.retry_in(&host.engine, &mut connection, OrderId::from_bytes([7; 16])).await;
    assert!(unknown.unwrap().is_none());
}

#[tokio::test]
async fn an_order_in_quarantine_is_ended_by_the_transaction_that_retries_it() {
    let host = Host::new().await;
    let id = host.quarantined().await;
    let Retry::Created(_) = host.retry(id, "ROLLBACK").await else { panic!("it is new") };
    assert_eq!(host.order(id).await.unwrap().status(), Status::Pending);
    let name = format!("retry:{id}");
    let Retry::Created(new) = host.retry(id, "COMMIT").await else { panic!("it is new") };
    let ended = host.order(id).await.unwrap();
    assert_eq!(ended.state.failure().unwrap().code, FailureCode::SUPERSEDED);
    assert_eq!(new.request.client_order_id.as_ref().map(ClientOrderId::as_str), Some(&*name));
    assert_eq!(host.balance().await, "6");
    // Without a retry it is not ended.
    let held = host.quarantined().await;
    host.created(named(&format!("retry:{held}"))).await;
    assert!(matches!(host.retry(held, "COMMIT").await, Retry::NameTaken(_)));
    assert_eq!(host.order(held).await.unwrap().status(), Status::Pending);
}
