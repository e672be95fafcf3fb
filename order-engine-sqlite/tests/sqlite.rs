//! What only the SQLite store has: a file that others may read, fill, lock and damage.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Database, rows};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, FREELY, HOUR, Relay, Worker, append, assert_stored, attempt_failed, cancelled, create,
    create_one, history, id, ids_of, load, new_order, new_order_for, new_orders, order_of, register, request,
    request_named, routing_started, seqs_of, to_confirmed, to_submitted, write, write_freely,
};
use order_engine_core::{
    Amount, AppendError, ClaimScope, Creation, Deadline, DeliveryOutcome, Failure, FailureCode, Fill,
    NewOrder, Order, OrderEvent, OrderQuery, OrderRequest, OrderStore, ReleaseReason, StoreErrorKind, Then,
};
use order_engine_sqlite::{SqliteOptions, SqliteStore};

#[tokio::test]
async fn a_reopened_file_has_everything() {
    let database = Database::new();
    let (order, lease) = {
        let store = database.open().await;
        create(&store, &new_orders(2)).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim(1).await.remove(0);
        (worker.write(&claim, Then::Keep, &to_submitted()).await, claim.lease)
    };
    let store = database.open().await;
    assert_stored(&store, &order).await;
    assert_eq!(ids_of(&Worker::new(&store, 2).claim(2).await), [id(2)]);
    assert!(Worker::new(&store, 1).renews(lease).await);
}

#[tokio::test]
async fn a_missing_file_is_created_with_its_folders() {
    let database = Database::new();
    let path = database.folder.path().join("some").join("where").join("orders.db");
    let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
    assert!(store.check().await.is_ok());
    assert!(path.is_file());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_new_file_at_once() {
    let database = Arc::new(Database::new());
    let opening: Vec<_> = (1..=8)
        .map(|n| {
            let database = Arc::clone(&database);
            tokio::spawn(async move { create_one(&database.open().await, n).await.id })
        })
        .collect();
    let mut ids = Vec::new();
    for opened in opening {
        ids.push(opened.await.unwrap());
    }
    assert_eq!(database.open().await.last_seqs(&ids).await.unwrap(), [Some(1); 8]);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = Database::new();
    drop(database.open().await);
    database
        .execute(
            "INSERT INTO order_engine_migrations (version, description, success, checksum, execution_time)
            VALUES (99, 'from the future', TRUE, x'00', 0)",
        )
        .await;
    let error = database.fails_to_open().await;
    assert_eq!(error.kind(), StoreErrorKind::Incompatible);
    assert!(error.to_string().contains("newer version of this software"), "{error}");
    assert!(error.to_string().contains("orders.db"), "{error}");
}

#[tokio::test]
async fn another_schema_is_refused() {
    let database = Database::new();
    drop(database.open().await);
    database.execute("UPDATE order_engine_migrations SET checksum = x'00'").await;
    assert_eq!(database.fails_to_open().await.kind(), StoreErrorKind::Incompatible);
}

#[tokio::test]
async fn a_host_may_keep_tables_and_migrations_of_its_own() {
    let database = Database::new();
    database.execute("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY)").await;
    database.execute("INSERT INTO _sqlx_migrations VALUES (4711)").await;
    let store = database.open().await;
    create_one(&store, 1).await;
    assert_eq!(database.text("SELECT version FROM _sqlx_migrations").await, "4711");
}

#[tokio::test]
async fn a_path_that_cannot_be_used_gives_one_clear_error() {
    let database = Database::new();
    let folder = database.folder.path();
    std::fs::write(
        folder.join("file"),
        "This is no database, and far longer than its header would be. ".repeat(9),
    )
    .unwrap();
    for (path, kind) in [
        (folder.to_owned(), StoreErrorKind::Misconfigured),
        (folder.join("file").join("orders.db"), StoreErrorKind::Misconfigured),
        (folder.join("file"), StoreErrorKind::Incompatible),
    ] {
        let error = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn an_order_that_cannot_be_read_harms_no_other() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(5)).await;
    for (column, value, n) in
        [("state", "'{}'", 1), ("payload_version", "99", 2), ("created_at", "'soon'", 3)]
    {
        database.execute(&format!("UPDATE orders SET {column} = {value} WHERE order_id = '{}'", id(n))).await;
    }
    let worker = Worker::new(&store, 1);
    let claims = worker.claim(10).await;
    assert_eq!(claims.len(), 5);
    for claim in &claims {
        let is_spoiled = claim.lease.order_id < id(4);
        assert_eq!(claim.order.is_err(), is_spoiled, "{claim:?}");
        if !is_spoiled {
            worker.write(claim, AT_ONCE, &[routing_started(1)]).await;
        }
    }
    let newer = claims.iter().find(|claim| claim.lease.order_id == id(2)).unwrap();
    let message = newer.order.as_ref().unwrap_err().to_string();
    assert!(message.contains("version 99 is newer"), "{message}");
    // It is leased as any other, so it is not in everybody's way, and its claims are counted.
    worker.release(newer.lease, Duration::ZERO, ReleaseReason::Undecodable).await;
    let again = worker.claim_order(id(2)).await.remove(0);
    assert_eq!((again.lease.fence.epoch, again.claims_without_progress), (2, 2));
    assert_eq!(store.load(id(2)).await.unwrap_err().kind(), StoreErrorKind::Internal);
    assert_eq!(store.load(id(4)).await.unwrap().unwrap().seq, 2);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_shown_to_an_operator_until_it_can() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(2)).await;
    let version =
        |version: u32| format!("UPDATE orders SET payload_version = {version} WHERE order_id = '{}'", id(1));
    database.execute(&version(99)).await;
    let worker = Worker::new(&store, 1);
    let claim = worker.claim_order(id(1)).await.remove(0);
    worker.release(claim.lease, HOUR, ReleaseReason::Undecodable).await;
    let attention = OrderQuery { attention: true, limit: 9, ..OrderQuery::default() };
    let listed = store.list(&attention).await.unwrap();
    assert_eq!(listed.len(), 1);
    let unreadable = listed[0].as_ref().unwrap_err();
    assert_eq!(unreadable.order_id, id(1));
    assert!(unreadable.error.message.contains("version 99 is newer"), "{unreadable}");
    let everything = store.list(&OrderQuery { limit: 9, ..OrderQuery::default() }).await.unwrap();
    assert_eq!(everything.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    assert_eq!(store.backlog().await.unwrap().attention, 1);

    database.execute(&version(order_engine_core::codec::PAYLOAD_VERSION)).await;
    store.make_due(id(1)).await.unwrap();
    let claim = worker.claim_order(id(1)).await.remove(0);
    worker.write(&claim, AT_ONCE, &[routing_started(1)]).await;
    assert!(store.list(&attention).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_owed_after_those_that_can() {
    let database = Database::new();
    let store = database.open().await;
    register(&store, "ledger").await;
    create(&store, &new_orders(2)).await;
    write_freely(&store, &new_order(1).order, AT_ONCE, &to_submitted()).await;
    database
        .execute(&format!(
            "UPDATE order_events SET payload_version = 99 WHERE order_id = '{}' AND seq = 3",
            id(1)
        ))
        .await;
    let relay = Relay::new(&store, "ledger", 1);
    let deliveries = relay.claim(9).await;
    let first = deliveries.iter().find(|delivery| delivery.lease.order_id == id(1)).unwrap();
    assert_eq!(seqs_of(first), [1, 2]);
    assert!(relay.ack(first).await);
    let second = relay.claim_one().await;
    assert!(second.events.as_ref().unwrap_err().message.contains("version 99"), "{second:?}");
    assert!(relay.record(&second, DeliveryOutcome::Nack { retry_in: HOUR }).await);
    let other = deliveries.iter().find(|delivery| delivery.lease.order_id == id(2)).unwrap();
    assert!(relay.ack(other).await);
}

/// A file of the first version of the schema and of the payloads, as that version wrote it.
#[tokio::test]
async fn an_older_file_is_brought_up_to_date() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(2)).await;
    let failure = Failure::new(FailureCode::QUARANTINED, "it panics");
    let quarantined =
        write_freely(&store, &new_order(1).order, AT_ONCE, &[OrderEvent::Quarantined { failure }]).await;
    drop(store);
    database
        .execute(
            r"UPDATE orders SET payload_version = 1, state = json_remove(
                json_set(state, '$.quarantine', json_extract(state, '$.attention.quarantined')), '$.attention')
            WHERE attention IS NOT NULL",
        )
        .await;
    database.execute("UPDATE order_events SET payload_version = 1").await;
    database.execute("DROP INDEX orders_failed").await;
    database.execute("DROP TABLE sinks").await;
    database.execute("DROP TABLE outbox_entries").await;
    database.execute("ALTER TABLE orders DROP COLUMN state_version").await;
    database.execute("DELETE FROM order_engine_migrations WHERE version > 1").await;

    let store = database.open().await;
    assert_stored(&store, &quarantined).await;
    register(&store, "ledger").await;
    write_freely(&store, &quarantined, AT_ONCE, &[OrderEvent::QuarantineLifted]).await;
    assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [3]);
    // The request stays as that version wrote it; the state is written anew, and says so.
    let versions = "SELECT payload_version || ' ' || state_version FROM orders WHERE seq = 3";
    let present = order_engine_core::codec::PAYLOAD_VERSION;
    assert_eq!(database.text(versions).await, format!("1 {present}"));
    assert_eq!(store.load(quarantined.id).await.unwrap().unwrap().seq, 3);
}

#[tokio::test]
async fn an_order_whose_id_cannot_be_read_is_in_nobodys_way() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(3)).await;
    database.execute(&format!("UPDATE orders SET order_id = 'garbage' WHERE order_id = '{}'", id(1))).await;
    let worker = Worker::new(&store, 1);
    assert_eq!(ids_of(&worker.claim(1).await), []);
    assert_eq!(ids_of(&worker.claim(10).await), [id(2), id(3)]);
}

#[tokio::test]
async fn an_item_that_the_database_refuses_harms_no_other_in_its_batch() {
    let database = Database::new();
    let store = database.open().await;
    database
        .execute(
            "CREATE TRIGGER poison BEFORE INSERT ON order_events WHEN new.payload LIKE '%poison%'
            BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
        )
        .await;
    create(&store, &new_orders(3)).await;
    let poison = OrderEvent::Failed { failure: Failure::new(FailureCode::REJECTED, "poison") };
    let batch: Vec<_> = [cancelled(), poison, cancelled()]
        .into_iter()
        .zip(1..)
        .map(|(event, n)| append(&new_order(n).order, FREELY, AT_ONCE, &[event]))
        .collect();
    let results = store.append(&batch).await.unwrap();
    assert_eq!((&results[0], &results[2]), (&Ok(()), &Ok(())));
    assert!(
        matches!(&results[1], Err(AppendError::Rejected(refused)) if refused.message.contains("poisoned"))
    );
    assert_eq!(store.last_seqs(&[id(1), id(2), id(3)]).await.unwrap(), [Some(2), Some(1), Some(2)]);
    assert_stored(&store, &new_order(2).order).await;
    assert_stored(&store, &batch[2].order).await;
}

#[tokio::test]
async fn a_creation_that_the_database_refuses_harms_no_other_in_its_batch() {
    let database = Database::new();
    let store = database.open().await;
    database
        .execute(
            "CREATE TRIGGER poison BEFORE INSERT ON orders WHEN new.user_id = 'mallory'
            BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
        )
        .await;
    let batch = [
        new_order_for(1, request_named("alice", "key")),
        new_order_for(2, request_named("mallory", "key")),
        new_order_for(3, request_named("alice", "key")),
        new_order_for(4, request_named("bob", "key")),
    ];
    let results = store.create(&batch).await.unwrap();
    assert_eq!(results[0], Ok(Creation::Created));
    assert!(results[1].is_err());
    assert_eq!(results[2], Ok(Creation::Existing(Box::new(Order::clone(&batch[0].order)))));
    assert_eq!(results[3], Ok(Creation::Created));
    assert_eq!(store.last_seqs(&[id(1), id(2), id(3), id(4)]).await.unwrap(), [Some(1), None, None, Some(1)]);
    assert_eq!(history(&store, id(2)).await, []);
}

#[tokio::test]
async fn an_id_with_a_nul_is_refused_and_harms_no_other() {
    let database = Database::new();
    let store = database.open().await;
    let batch = [
        new_order_for(1, request_named("al\0ice", "key")),
        new_order_for(2, request_named("alice", "k\0ey")),
        new_order_for(3, request_named("alice", "key")),
    ];
    let results = store.create(&batch).await.unwrap();
    assert!(results[0].is_err() && results[1].is_err());
    assert_eq!(results[2], Ok(Creation::Created));
    // Elsewhere a NUL is a character as any other.
    let failure = Failure::new(FailureCode::REJECTED, "before\0after");
    let order = write_freely(&store, &batch[2].order, AT_ONCE, &[OrderEvent::Failed { failure }]).await;
    assert_stored(&store, &order).await;
}

#[tokio::test]
async fn a_failed_commit_is_no_success() {
    let database = Database::new();
    let store = database.open().await;
    // A foreign key that is checked by the commit, and only there.
    database
        .execute(
            "CREATE TABLE audit (id INTEGER PRIMARY KEY);
            CREATE TABLE audited (audit_id INTEGER REFERENCES audit (id) DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER audits AFTER INSERT ON orders WHEN new.user_id = 'mallory'
            BEGIN INSERT INTO audited VALUES (1); END",
        )
        .await;
    let bad = new_order_for(1, request_named("mallory", "key"));
    assert!(store.create(&[bad]).await.is_err());
    assert_eq!(store.last_seqs(&[id(1)]).await.unwrap(), [None]);
    assert_eq!(history(&store, id(1)).await, []);
    // Those who shared the transaction, or come later, are written.
    let handles =
        [new_order(2), new_order_for(3, request_named("mallory", "key")), new_order(4)].map(|new| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.create(&[new]).await.is_ok() })
        });
    let mut written = Vec::new();
    for handle in handles {
        written.push(handle.await.unwrap());
    }
    assert_eq!(written, [true, false, true]);
    assert_eq!(store.last_seqs(&[id(2), id(3), id(4)]).await.unwrap(), [Some(1), None, Some(1)]);
}

#[tokio::test]
async fn a_full_disk_is_no_success_and_passes() {
    let database = Database::new();
    drop(database.open().await);
    database.execute("CREATE TABLE filler (bytes BLOB); INSERT INTO filler VALUES (zeroblob(4000000))").await;
    let pages: u32 = database.text("PRAGMA page_count").await.parse().unwrap();
    let options = database.options().max_pages(pages + 64);
    let store: Arc<dyn OrderStore> = Arc::new(SqliteStore::open(options).await.unwrap());

    let mut accepted = Vec::new();
    let error = loop {
        let new = new_order(1 + accepted.len() as u64);
        assert!(accepted.len() < 10_000, "the disk is never full");
        match store.create(std::slice::from_ref(&new)).await {
            Ok(results) => assert_eq!(results, [Ok(Creation::Created)]),
            Err(error) => break error,
        }
        accepted.push(new);
    };
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(!accepted.is_empty());
    // What was refused is not there, and what was accepted is.
    let refused = 1 + accepted.len() as u64;
    assert_eq!(store.last_seqs(&[id(refused)]).await.unwrap(), [None]);
    for new in &accepted {
        assert_stored(&store, &new.order).await;
    }

    database.execute("DROP TABLE filler").await;
    create_one(&store, refused).await;
    assert!(store.check().await.is_ok());
}

#[tokio::test]
async fn a_locked_file_is_unavailable_and_readable() {
    let database = Database::new();
    let options = database.options().busy_timeout(Duration::from_millis(20));
    let store: Arc<dyn OrderStore> = Arc::new(SqliteStore::open(options).await.unwrap());
    let order = create_one(&store, 1).await;
    let mut other = database.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let error = store.create(&[new_order(2)]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_stored(&store, &order).await;

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    create_one(&store, 2).await;
}

#[tokio::test]
async fn a_call_ends_in_time() {
    let database = Database::new();
    let options =
        database.options().busy_timeout(Duration::from_secs(5)).operation_timeout(Duration::from_millis(50));
    let store = SqliteStore::open(options).await.unwrap();
    let mut other = database.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.create(&[new_order(1)]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("in time"), "{error}");
    // Its caller was told nothing for sure: the order is written whole, or not at all. A later write
    // comes after it, so what it left is final then.
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    while store.create(&[new_order(2)]).await.is_err() {}
    let written = store.last_seqs(&[id(1)]).await.unwrap();
    let events = store.events(id(1), 0, 10).await.unwrap();
    assert_eq!(events.len() as u64, written[0].unwrap_or(0));
}

#[tokio::test]
async fn the_columns_say_what_the_order_is() {
    let database = Database::new();
    let store = database.open().await;
    let deadline = Some(Deadline::AfterMs(60_000));
    let request = OrderRequest { deadline, ..request_named("alice", "key") };
    let NewOrder { order, event } = new_order_for(1, request);
    let order = Arc::new(Order { origin: Some(id(9)), ..Order::clone(&order) });
    create(&store, &[NewOrder { order: Arc::clone(&order), event }]).await;
    let public = "user_id, client_order_id, origin, order_type, input_token, input_symbol, input_decimals,
        output_token, output_symbol, output_decimals, amount, slippage_bps, expires_at, status, attempt,
        max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code, error_message,
        created_at, updated_at, seq, lane, due_at IS NULL, lease_owner";
    let read = format!("SELECT {public} FROM orders WHERE order_id = '{}'", order.id);
    let origin = id(9).to_string();
    let asked = [
        "alice",
        "key",
        &origin,
        "market",
        "So11111111111111111111111111111111111111112",
        "SOL",
        "9",
        "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v",
        "USDC",
        "6",
        "1000000000",
        "50",
        "2026-01-01T00:01:00.001Z",
    ];
    let found = database.rows(&read).await.remove(0);
    assert_eq!(found[..13], asked);
    assert_eq!(
        found[13..],
        [
            "pending",
            "0",
            "3",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "2026-01-01T00:00:00.001Z",
            "2026-01-01T00:00:00.001Z",
            "1",
            "execute",
            "0",
            "-"
        ]
    );

    let claim = Worker::new(&store, 0xab).claim_one().await;
    let owner = format!(
        "SELECT lease_owner, lease_epoch, claims_without_progress FROM orders WHERE order_id = '{}'",
        id(1)
    );
    assert_eq!(database.rows(&owner).await, rows(&[&["000000000000000000000000000000ab", "1", "1"]]));

    write_freely(&store, order_of(&claim), Then::Keep, &to_confirmed()).await;
    let found = database.rows(&read).await.remove(0);
    assert_eq!(found[..13], asked);
    assert_eq!(
        found[13..],
        [
            "confirmed",
            "1",
            "3",
            "Meteora",
            "tx-1",
            "150.75",
            "150750000",
            "-",
            "-",
            "2026-01-01T00:00:00.001Z",
            "2026-01-01T00:00:00.043Z",
            "7",
            "-",
            "1",
            "-"
        ]
    );
}

#[tokio::test]
async fn failures_and_logs_are_readable() {
    let database = Database::new();
    let store = database.open().await;
    let order = create_one(&store, 1).await;
    let events = [routing_started(1), attempt_failed(), cancelled()];
    write_freely(&store, &order, AT_ONCE, &events).await;
    create_one(&store, 2).await;

    let failures = format!(
        "SELECT seq, attempt, code, message, at FROM order_failures WHERE order_id = '{}' ORDER BY seq",
        id(1)
    );
    assert_eq!(
        database.rows(&failures).await,
        rows(&[
            &["3", "1", "quote-unavailable", "No answer in time", "2026-01-01T00:00:00.015Z"],
            &["4", "1", "cancelled", "The order was cancelled", "2026-01-01T00:00:00.022Z"],
        ])
    );
    assert_eq!(database.text("SELECT count(*) FROM order_failures").await, "2");
    let logs = "SELECT status, error_code, error_message, amount, logs FROM order_logs ORDER BY order_id";
    assert_eq!(
        database.rows(logs).await,
        rows(&[
            &[
                "failed",
                "cancelled",
                "The order was cancelled",
                "1000000000",
                r#"["Order accepted","Fetching quotes from Raydium & Meteora…","Attempt 1/3 failed: No answer in time","Order failed: The order was cancelled"]"#
            ],
            &["pending", "-", "-", "1000000000", r#"["Order accepted"]"#],
        ])
    );
    let events = format!(
        "SELECT seq, kind, status, progress, attempt, max_attempts FROM order_events WHERE order_id = '{}' ORDER BY seq",
        id(1)
    );
    assert_eq!(
        database.rows(&events).await,
        rows(&[
            &["1", "accepted", "pending", "0", "0", "3"],
            &["2", "routing_started", "routing", "10", "1", "3"],
            &["3", "attempt_failed", "routing", "10", "1", "3"],
            &["4", "failed", "failed", "0", "1", "3"],
        ])
    );
}

#[tokio::test]
async fn no_amount_is_ever_a_float() {
    let database = Database::new();
    let store = database.open().await;
    let amount = Amount::MAX;
    let new = new_order_for(1, OrderRequest { amount, ..request() });
    create(&store, std::slice::from_ref(&new)).await;
    let mut events = to_submitted();
    events.push(OrderEvent::Confirmed {
        fill: Fill { amount_in: amount, amount_out: amount, height: u64::MAX },
    });
    write_freely(&store, &new.order, AT_ONCE, &events).await;
    let digits = "340282366920938463463374607431768211455";
    assert_eq!(
        database
            .rows(
                "SELECT amount, typeof(amount), amount_out, typeof(amount_out), execution_price FROM orders"
            )
            .await,
        rows(&[&[digits, "text", digits, "text", "1000"]])
    );
    let floats = "SELECT count(*) FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name LIKE 'order%' AND columns.type IN ('REAL', 'NUMERIC', 'ANY')";
    assert_eq!(database.text(floats).await, "0");
}

#[tokio::test]
async fn a_finished_order_is_in_no_index_that_a_claim_reads() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(20)).await;
    let worker = Worker::new(&store, 1);
    for claim in worker.claim(19).await {
        worker.write(&claim, AT_ONCE, &to_confirmed()).await;
    }
    assert_eq!(database.text("SELECT count(*) FROM orders WHERE due_at IS NOT NULL").await, "1");
    assert_eq!(worker.claim(10).await.len(), 1);
}

// On one thread, so that the order of what happens is known.
#[tokio::test(flavor = "current_thread")]
async fn writes_that_gather_share_transactions() {
    let database = Database::new();
    let store = database.open().await;
    let mut other = database.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let before = database.commits();
    let writes: Vec<_> = (1..=60)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { create_one(&store, n).await })
        })
        .collect();
    // Each task is polled once and has queued its write then; while another process writes, the
    // writes gather.
    tokio::task::yield_now().await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    for write in writes {
        write.await.unwrap();
    }
    let commits = database.commits() - before;
    // The first transaction was begun with what was there, and the second takes all the rest.
    assert!(matches!(commits, 1 | 2), "{commits} commits for 60 writes");
    let ids: Vec<_> = (1..=60).map(id).collect();
    assert_eq!(store.last_seqs(&ids).await.unwrap(), vec![Some(1); 60]);
}

#[tokio::test]
async fn a_waiting_order_waits_in_the_file() {
    let database = Database::new();
    let store = database.open().await;
    create_one(&store, 1).await;
    let worker = Worker::new(&store, 1);
    let claim = worker.claim_one().await;
    worker.write(&claim, Then::Release { due_in: HOUR }, &[routing_started(1), attempt_failed()]).await;
    drop((store, worker));
    let reopened = Worker::new(&database.open().await, 2);
    let asked = reopened.ask(ClaimScope::Any, 1).await;
    assert!(asked.claims.is_empty());
    assert_eq!(asked.next_due_in, Some(HOUR));
    database.clock.advance(HOUR);
    reopened.claim_one().await;
}

#[tokio::test]
async fn a_fence_beyond_what_sqlite_can_hold_is_only_stale() {
    let database = Database::new();
    let store = database.open().await;
    create_one(&store, 1).await;
    let worker = Worker::new(&store, 1);
    let claim = worker.claim_one().await;
    let mut beyond = claim.lease;
    beyond.fence.epoch = u64::MAX;
    let stale =
        append(order_of(&claim), order_engine_core::Guard::Fence(beyond.fence), AT_ONCE, &[cancelled()]);
    assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence));
    assert_eq!(store.renew(&[beyond, claim.lease], HOUR).await.unwrap(), [false, true]);
    worker.release(beyond, Duration::ZERO, ReleaseReason::Yielded).await;
    assert_eq!(load(&store, id(1)).await.seq, 1);
    worker.finds_nothing().await;
}
