//! A host's transaction that holds a lock delays only what needs the lock.

mod common;
#[path = "common/engine.rs"]
mod engine;

use std::sync::Arc;
use std::time::Duration;

use common::{Database, execute};
use engine::{builder, simulator, submit};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, FREELY, HOUR, Relay, SHORT, Worker, append, create, create_one, history, id, new_order,
    new_orders, register, routing_started,
};
use order_engine_core::store::{
    Append, AppendError, DeliveryAck, DeliveryOutcome, NonceReservation, Release, ReleaseReason,
};
use order_engine_core::{AccountNonce, Cancellation, OrderId, OrderStore, Status, StoreErrorKind};
use order_engine_postgres::testing::shared_url;
use order_engine_postgres::{PostgresOptions, PostgresStore};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

/// Ample for what does not wait, and less than a host's transaction may take.
const AMPLE: Duration = Duration::from_mins(1);

/// Returns the output of a call that must end while the host's transaction is open.
async fn meanwhile<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(AMPLE, call).await.expect("it does not wait for the host")
}

/// Begins a transaction of the host that holds an order.
async fn hold(database: &Database, id: OrderId) -> PgConnection {
    let mut host = database.connect().await;
    let lock = format!("BEGIN; SELECT FROM @orders WHERE order_id = '{id}' FOR UPDATE");
    execute(&mut host, &database.qualified(&lock)).await;
    host
}

/// Returns the query for the sessions of a store that is named after its schema.
fn sessions_of(database: &Database) -> String {
    let name = &database.schema;
    format!("SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE application_name = '{name}'")
}

#[tokio::test]
async fn an_order_that_a_host_holds_delays_no_others_events() {
    let database = Database::new();
    let store = database.open().await;
    let orders = new_orders(100);
    create(&store, &orders).await;
    let mut host = hold(&database, id(50)).await;
    let appends: Vec<_> =
        orders.iter().map(|new| append(&new.order, FREELY, AT_ONCE, &[routing_started(1)])).collect();
    let results = meanwhile(store.append(&appends)).await.unwrap();
    for (append, result) in appends.iter().zip(results) {
        let expected = if append.order.id == id(50) { Err(AppendError::Locked) } else { Ok(()) };
        assert_eq!(result, expected);
    }
    assert_eq!(store.last_seqs(&[id(49), id(50), id(51)]).await.unwrap(), [Some(2), Some(1), Some(2)]);
    execute(&mut host, "ROLLBACK").await;
    assert_eq!(store.append(&appends[49..50]).await.unwrap(), [Ok(())]);
    assert_eq!(history(&store, id(50)).await.len(), 2);
}

#[tokio::test]
async fn an_event_of_a_held_order_is_written_when_the_host_has_ended() {
    let database = Database::new();
    // A batch that waited for the host would wait longer than this test does.
    let options = database.options().with_operation_timeout(Duration::from_mins(5));
    let store = Arc::new(PostgresStore::open(options).await.unwrap());
    let engine = builder(store, &simulator().await).build().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(submit(&engine).await);
    }
    let held = ids.pop().unwrap();
    let mut host = hold(&database, held).await;
    let cancel = |id| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.cancel(id).await.unwrap() })
    };
    let waits = cancel(held);
    let others: Vec<_> = ids.into_iter().map(cancel).collect();
    for other in others {
        assert!(matches!(meanwhile(other).await.unwrap(), Some(Cancellation::Cancelled(_))));
    }
    assert!(!waits.is_finished());
    execute(&mut host, "COMMIT").await;
    assert!(matches!(waits.await.unwrap(), Some(Cancellation::Cancelled(_))));
    assert_eq!(engine.order(held).await.unwrap().unwrap().status(), Status::Failed);
}

/// Returns the append of an order's first event after its acceptance, with a nonce.
fn reserving(n: u64, account: &str, value: u64) -> Append {
    let nonce = AccountNonce::new(account, value);
    append(&new_order(n).order, FREELY, AT_ONCE, &[routing_started(1)])
        .with_reservation(Some(NonceReservation::new("main".into(), nonce, 0)))
}

#[tokio::test]
async fn the_nonce_of_an_order_that_a_host_holds_goes_to_another_one() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(4)).await;
    let mut host = hold(&database, id(2)).await;
    let appends = [reserving(1, "a", 0), reserving(2, "a", 1), reserving(3, "a", 1), reserving(4, "a", 2)];
    let results = meanwhile(store.append(&appends)).await.unwrap();
    // Whoever holds the order may be about to end it.
    assert_eq!(results, [Ok(()), Err(AppendError::Locked), Ok(()), Ok(())]);
    execute(&mut host, "ROLLBACK").await;
    let results = store.append(&appends[1..2]).await.unwrap();
    assert_eq!(results, [Err(AppendError::NonceTaken { free: 3 })]);
}

#[tokio::test]
async fn an_account_that_another_process_holds_delays_only_its_own_nonces() {
    let database = Database::new();
    let patient = PostgresStore::open(database.options().with_lock_timeout(AMPLE)).await.unwrap();
    let store = database.open().await;
    create(&store, &new_orders(4)).await;
    let mut host = hold(&database, id(1)).await;
    // It holds the account while it waits for the order.
    let waits = tokio::spawn(async move { patient.append(&[reserving(1, "a", 0)]).await });
    let waiting = format!(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT pg_locks.granted AND query LIKE '%\"{}\".order_states%'",
        database.schema
    );
    while database.text(&waiting).await == "0" {
        tokio::task::yield_now().await;
    }
    let plain = append(&new_order(2).order, FREELY, AT_ONCE, &[routing_started(1)]);
    let appends = [plain, reserving(3, "a", 0), reserving(4, "b", 0)];
    let results = meanwhile(store.append(&appends)).await.unwrap();
    assert_eq!(results, [Ok(()), Err(AppendError::Locked), Ok(())]);
    execute(&mut host, "ROLLBACK").await;
    assert_eq!(waits.await.unwrap().unwrap(), [Ok(())]);
    let results = store.append(&appends[1..2]).await.unwrap();
    assert_eq!(results, [Err(AppendError::NonceTaken { free: 1 })]);
}

#[tokio::test]
async fn a_nonce_that_is_taken_costs_no_connection() {
    let database = Database::new();
    let connect: PgConnectOptions = shared_url().parse().unwrap();
    let options = PostgresOptions::from(connect.application_name(&database.schema))
        .with_schema(&*database.schema)
        .unwrap();
    let store: Arc<dyn OrderStore> = Arc::new(PostgresStore::open(options).await.unwrap());
    create(&store, &new_orders(2)).await;
    let sessions = sessions_of(&database);
    let before = database.text(&sessions).await;
    let appends = [reserving(1, "a", 1), reserving(2, "a", 1)];
    let refused = Err(AppendError::NonceTaken { free: 0 });
    assert_eq!(store.append(&appends).await.unwrap(), [refused.clone(), refused]);
    assert_eq!(store.last_seqs(&[id(1), id(2)]).await.unwrap(), [Some(1), Some(1)]);
    assert_eq!(database.text(&sessions).await, before);
}

#[tokio::test]
async fn an_order_that_a_host_holds_delays_no_others_lease() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(9)).await;
    let worker = Worker::new(&store, 1).with_lease(SHORT);
    let leases: Vec<_> = worker.claim(9).await.iter().map(|claim| claim.lease).collect();
    let mut host = hold(&database, leases[4].order_id).await;
    // The held order cannot have been claimed meanwhile, so its lease is still current.
    let renewed = meanwhile(store.renew(&leases, HOUR)).await.unwrap();
    assert_eq!(renewed, [true; 9]);
    let mut stale = leases[4];
    stale.fence.epoch += 1;
    assert_eq!(meanwhile(store.renew(&[stale], HOUR)).await.unwrap(), [false]);
    let still_due = "SELECT count(*) FROM @orders WHERE due_at < now() + interval '1 minute'";
    assert_eq!(database.text(still_due).await, "1");

    let release = |lease| Release::new(lease, Duration::ZERO, ReleaseReason::Yielded);
    let releases: Vec<_> = leases.iter().copied().map(release).collect();
    let error = meanwhile(store.release(&releases)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert_eq!(database.text("SELECT count(*) FROM @orders WHERE lease_owner IS NULL").await, "8");
    execute(&mut host, "ROLLBACK").await;
    store.release(&releases[4..5]).await.unwrap();
    assert_eq!(Worker::new(&store, 2).claim(9).await.len(), 9);
}

#[tokio::test]
async fn an_order_that_a_host_holds_delays_no_others_deliveries() {
    let database = Database::new();
    let store = database.open().await;
    register(&store, "ledger").await;
    create(&store, &new_orders(9)).await;
    let relay = Relay::new(&store, "ledger", 1);
    let acks: Vec<_> = relay
        .claim(9)
        .await
        .iter()
        .map(|delivery| DeliveryAck::new("ledger".into(), delivery.lease, DeliveryOutcome::Ack { seq: 1 }))
        .collect();
    let mut host = hold(&database, acks[4].lease.order_id).await;
    let recorded = meanwhile(store.ack_deliveries(&acks)).await.unwrap();
    let expected: Vec<bool> = (0..9).map(|n| n != 4).collect();
    assert_eq!(recorded, expected);
    execute(&mut host, "ROLLBACK").await;
    // Its entry stays, and its events are delivered twice.
    assert_eq!(database.text("SELECT count(*) FROM @outbox_entries").await, "1");
    assert_eq!(store.ack_deliveries(&acks[4..5]).await.unwrap(), [true]);
}

#[tokio::test]
async fn a_call_that_gave_up_waiting_costs_no_connection() {
    for is_pooled in [false, true] {
        let database = Database::new();
        let connect: PgConnectOptions = shared_url().parse().unwrap();
        let options = PostgresOptions::from(connect.application_name(&database.schema))
            .with_schema(&*database.schema)
            .unwrap()
            .with_transaction_pooling(is_pooled);
        let store: Arc<dyn OrderStore> = Arc::new(PostgresStore::open(options).await.unwrap());
        let order = create_one(&store, 1).await;
        let _host = hold(&database, order.id).await;
        let sessions = sessions_of(&database);
        let before = database.text(&sessions).await;
        let held = append(&order, FREELY, AT_ONCE, &[routing_started(1)]);
        assert_eq!(store.append(&[held]).await.unwrap(), [Err(AppendError::Locked)]);
        assert_eq!(store.last_seqs(&[order.id]).await.unwrap(), [Some(1)]);
        assert_eq!(database.text(&sessions).await, before);
    }
}
