//! What only the SQLite store has: a file that other programs may read, fill, lock and damage.

mod common;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use common::{Database, rows};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, FREELY, HOUR, Relay, Worker, append, assert_stored, attempt_failed, cancelled, create,
    create_one, history, id, ids_of, load, moment, new_order, new_order_for, new_orders, order_of, register,
    request_named, routing_started, seqs_of, to_confirmed, to_submitted, write, write_freely,
};
use order_engine_core::store::{
    AppendError, ClaimScope, Creation, FeedPage, FeedRequest, NonceReservation, PauseRequest, PurgeRequest,
    ReleaseReason, Then,
};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    AccountNonce, Activity, Failure, FailureCode, FeedCursor, FeedScope, Order, OrderEvent, OrderStore,
    PauseScope, StoreErrorKind,
};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use tokio::sync::Barrier;

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
    // Each file is new only once, and whether its openers meet is luck.
    for _ in 0..25 {
        let database = Arc::new(Database::new());
        let together = Arc::new(Barrier::new(4));
        let opening: Vec<_> = (1..=4)
            .map(|n| {
                let (database, together) = (Arc::clone(&database), Arc::clone(&together));
                tokio::spawn(async move {
                    together.wait().await;
                    create_one(&database.open().await, n).await.id
                })
            })
            .collect();
        let mut ids = Vec::new();
        for opened in opening {
            ids.push(opened.await.unwrap());
        }
        assert_eq!(database.open().await.last_seqs(&ids).await.unwrap(), [Some(1); 4]);
    }
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
    assert!(chain(&error).to_string().contains("newer version of this software"), "{error}");
    assert!(chain(&error).to_string().contains("orders.db"), "{error}");
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

/// Whether an error leads to one of SQLite or of the file system.
fn leads_to_the_system(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| cause.is::<sqlx::Error>() || cause.is::<std::io::Error>())
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
        assert!(chain(&error).to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(leads_to_the_system(&error), "{error:?}");
        assert!(!error.is_transient());
    }
}

/// A file of the first version of the schema and of the payloads, as that version wrote it.
#[tokio::test]
async fn older_payloads_are_read_and_written_anew() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(2)).await;
    let failure = Failure::new(FailureCode::QUARANTINED, "it panics");
    let quarantined =
        write_freely(&store, &new_order(1).order, AT_ONCE, &[OrderEvent::Quarantined { failure }]).await;
    drop(store);
    database
        .execute(
            r"UPDATE orders SET request_version = 1, state_version = 1, state = json_remove(
                json_set(state, '$.quarantine', json_extract(state, '$.attention.quarantined')), '$.attention')
            WHERE attention IS NOT NULL",
        )
        .await;
    database.execute("UPDATE order_writes SET payload_version = 1").await;

    let store = database.open().await;
    assert_stored(&store, &quarantined).await;
    register(&store, "ledger").await;
    write_freely(&store, &quarantined, AT_ONCE, &[OrderEvent::QuarantineLifted]).await;
    assert_eq!(seqs_of(&Relay::new(&store, "ledger", 1).claim_one().await), [3]);
    // The request keeps its version; the state is written anew in the present one.
    let versions = "SELECT request_version || ' ' || state_version FROM orders WHERE seq = 3";
    let present = order_engine_core::codec::PAYLOAD_VERSION;
    assert_eq!(database.text(versions).await, format!("1 {present}"));
    assert_eq!(store.load(quarantined.id).await.unwrap().unwrap().seq, 3);
}

#[tokio::test]
async fn an_order_whose_id_cannot_be_decoded_blocks_no_claim() {
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
            "CREATE TRIGGER poison BEFORE INSERT ON order_writes WHEN new.payload LIKE '%poison%'
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
async fn the_nonce_of_an_item_that_the_database_refuses_goes_to_the_next_one() {
    let database = Database::new();
    let store = database.open().await;
    database
        .execute(
            "CREATE TRIGGER poison BEFORE INSERT ON order_writes WHEN new.payload LIKE '%poison%'
            BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
        )
        .await;
    create(&store, &new_orders(3)).await;
    let poison = OrderEvent::Failed { failure: Failure::new(FailureCode::REJECTED, "poison") };
    let reserving =
        |n, event, value| {
            let nonce = AccountNonce::new("a", value);
            append(&new_order(n).order, FREELY, AT_ONCE, &[event])
                .with_reservation(Some(NonceReservation::new("main".into(), nonce, 0)))
        };
    let batch = [reserving(1, cancelled(), 0), reserving(2, poison, 1), reserving(3, cancelled(), 1)];
    let results = store.append(&batch).await.unwrap();
    assert_eq!((&results[0], &results[2]), (&Ok(()), &Ok(())));
    assert!(matches!(results[1], Err(AppendError::Rejected(_))), "{results:?}");
    let reserved = database.rows("SELECT value, order_id FROM account_nonces ORDER BY value").await;
    assert_eq!(reserved, rows(&[&["0", &id(1).to_string()], &["1", &id(3).to_string()]]));
}

/// The whole batch is tried first, and then its items one by one.
#[tokio::test]
async fn a_batch_that_is_tried_again_writes_each_item_once() {
    let database = Database::new();
    let store = database.open().await;
    // The last item's failure is written after the other rows of the batch.
    database
        .execute(
            "CREATE TRIGGER poison BEFORE INSERT ON order_failures WHEN new.message = 'poison'
            BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
        )
        .await;
    create(&store, &new_orders(4)).await;
    register(&store, "ledger").await;
    let failing = |n, message| {
        let failure = Failure::new(FailureCode::REJECTED, message);
        append(&new_order(n).order, FREELY, AT_ONCE, &[OrderEvent::Failed { failure }])
    };
    let mut unencodable = failing(2, "it has no event");
    unencodable.events.clear();
    let batch = [failing(1, "first"), unencodable, failing(3, "third"), failing(4, "poison")];
    let results = store.append(&batch).await.unwrap();
    assert_eq!((&results[0], &results[2]), (&Ok(()), &Ok(())));
    let why = |result: &Result<(), AppendError>| result.as_ref().unwrap_err().to_string();
    assert!(why(&results[1]).contains("there is no event"), "{results:?}");
    assert!(why(&results[3]).contains("poisoned"), "{results:?}");

    let written = [id(1).to_string(), id(3).to_string()];
    let expected = rows(&[&[&written[0], "1"], &[&written[1], "1"]]);
    for table in ["order_writes WHERE first_seq > 1", "order_failures", "outbox_entries"] {
        let counted = format!("SELECT order_id, count(*) FROM {table} GROUP BY order_id ORDER BY order_id");
        assert_eq!(database.rows(&counted).await, expected, "{table}");
    }
    assert_eq!(store.last_seqs(&[1, 2, 3, 4].map(id)).await.unwrap(), [2, 1, 2, 1].map(Some));
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
    // Other texts may contain a NUL.
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
    // Other operations in the same transaction, and later ones, are written.
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
    let options = database.options().with_max_pages(pages + 64);
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
    // The refused order is not stored, and the accepted ones are.
    let refused = 1 + accepted.len() as u64;
    assert_eq!(store.last_seqs(&[id(refused)]).await.unwrap(), [None]);
    for new in &accepted {
        assert_stored(&store, &new.order).await;
    }

    database.execute("DROP TABLE filler").await;
    create_one(&store, refused).await;
    assert!(store.check().await.is_ok());
}

/// Moves the files of a database, and returns where they are now.
fn move_away(database: &Database, names: &[&str]) -> Vec<[std::path::PathBuf; 2]> {
    let moved = names.iter().map(|name| {
        let folder = database.folder.path();
        [folder.join(format!("{name}.away")), folder.join(name)]
    });
    moved.inspect(|[to, from]| std::fs::rename(from, to).unwrap()).collect()
}

#[tokio::test]
async fn what_is_written_to_a_removed_file_is_no_success() {
    for names in [&["orders.db", "orders.db-wal", "orders.db-shm"][..], &["orders.db"], &["orders.db-wal"]] {
        let database = Database::new();
        let store = database.open().await;
        create_one(&store, 1).await;
        let moved = move_away(&database, names);
        let error = store.create(&[new_order(2)]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{names:?}: {error}");
        assert!(chain(&error).to_string().contains("not the file any more"), "{}", chain(&error));
        assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(!database.path().exists() || names == ["orders.db-wal"], "no other file takes its place");
        for [to, from] in moved {
            std::fs::rename(to, from).unwrap();
        }
        create_one(&store, 3).await;
        drop(store);
        assert_eq!(database.open().await.last_seqs(&[id(1), id(3)]).await.unwrap(), [Some(1), Some(1)]);
    }
}

#[tokio::test]
async fn what_is_written_to_a_replaced_file_is_no_success() {
    let (database, other) = (Database::new(), Database::new());
    let store = database.open().await;
    create_one(&store, 1).await;
    drop(other.open().await);
    std::fs::rename(other.path(), database.path()).unwrap();
    for n in [2, 3] {
        let error = store.create(&[new_order(n)]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
    assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn a_locked_file_is_unavailable_and_readable() {
    let database = Database::new();
    let options = database.options().with_busy_timeout(Duration::from_millis(20));
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
    let options = database
        .options()
        .with_busy_timeout(Duration::from_secs(5))
        .with_operation_timeout(Duration::from_millis(50));
    let store = SqliteStore::open(options).await.unwrap();
    let mut other = database.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.create(&[new_order(1)]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(chain(&error).to_string().contains("in time"), "{error}");
    // The outcome is unknown to the caller: the order is written whole, or not at all. A later write comes
    // after it, so what it left is final then.
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    while store.create(&[new_order(2)]).await.is_err() {}
    let written = store.last_seqs(&[id(1)]).await.unwrap();
    let events = store.events(id(1), 0, 10).await.unwrap();
    assert_eq!(events.len() as u64, written[0].unwrap_or(0));
}

// On one thread, so that the order of events is known.
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
    // Each task is polled once and has queued its write by then. The writes gather while another process
    // holds the lock.
    tokio::task::yield_now().await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    for write in writes {
        write.await.unwrap();
    }
    let commits = database.commits() - before;
    // The first transaction begins with the first write, and the second takes all the others.
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
    let stale = append(
        order_of(&claim),
        order_engine_core::store::Guard::Fence(beyond.fence),
        AT_ONCE,
        &[cancelled()],
    );
    assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence));
    assert_eq!(store.renew(&[beyond, claim.lease], HOUR).await.unwrap(), [false, true]);
    worker.release(beyond, Duration::ZERO, ReleaseReason::Yielded).await;
    assert_eq!(load(&store, id(1)).await.seq, 1);
    worker.finds_nothing().await;
}

async fn feed(store: &Arc<dyn OrderStore>, scope: FeedScope, after: FeedCursor) -> FeedPage {
    store.read_feed(&FeedRequest::new(scope, after, 10)).await.unwrap()
}

#[tokio::test]
async fn no_position_of_the_feed_is_given_twice() {
    let database = Database::new();
    let store = database.open().await;
    let order = create_one(&store, 1).await;
    write_freely(&store, &order, Then::Keep, &to_confirmed()).await;
    let read = feed(&store, FeedScope::All, FeedCursor::START).await;
    let far = moment(0) + TimeDelta::days(1);
    let purge = PurgeRequest::new(far, 10);
    assert_eq!(store.purge(&purge).await.unwrap().orders, 1);
    assert_eq!(database.text("SELECT count(*) FROM order_writes").await, "0");
    drop(store);
    let store = database.open().await;
    create_one(&store, 2).await;
    let after = feed(&store, FeedScope::All, read.next).await;
    assert_eq!(after.items.len(), 1);
    assert_eq!(after.items[0].update.as_ref().unwrap().order.id, id(2));
}

#[tokio::test]
async fn a_users_feed_goes_through_a_bounded_part_at_a_time() {
    let database = Database::new();
    let store = database.open().await;
    let of = |n, user: &str| new_order_for(n, request_named(user, &format!("key {n}")));
    create(&store, &(1..=5_000).map(|n| of(n, "bob")).collect::<Vec<_>>()).await;
    create(&store, &[of(5_001, "alice")]).await;
    let alice = FeedScope::User("alice".into());
    let first = feed(&store, alice.clone(), FeedCursor::START).await;
    assert!(first.items.is_empty() && !first.is_last);
    let second = feed(&store, alice, first.next).await;
    assert_eq!(second.items.len(), 1);
    assert!(second.is_last);
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_has_its_place_in_the_feed() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(3)).await;
    let set =
        |table: &str, change: &str, n| format!("UPDATE {table} SET {change} WHERE order_id = '{}'", id(n));
    database.execute(&set("order_writes", "payload_version = 99", 1)).await;
    database.execute(&set("orders", "request_version = 99", 2)).await;
    let page = feed(&store, FeedScope::All, FeedCursor::START).await;
    let undecodable: Vec<_> = page.items.iter().map(|item| item.update.as_ref().err()).collect();
    assert_eq!(
        undecodable.iter().map(|error| error.map(|error| error.order_id)).collect::<Vec<_>>(),
        [Some(id(1)), Some(id(2)), None]
    );
}

#[tokio::test]
async fn each_event_of_a_write_that_cannot_be_decoded_has_its_place_in_the_feed() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(2)).await;
    write_freely(&store, &new_order(1).order, AT_ONCE, &to_submitted()).await;
    write_freely(&store, &new_order(2).order, AT_ONCE, &[cancelled()]).await;
    let damage =
        format!("UPDATE order_writes SET payload = '[]' WHERE order_id = '{}' AND first_seq = 2", id(1));
    database.execute(&damage).await;
    let (mut after, mut read) = (FeedCursor::START, Vec::new());
    loop {
        let page = store.read_feed(&FeedRequest::new(FeedScope::All, after, 2)).await.unwrap();
        after = page.next;
        read.extend(
            page.items.into_iter().map(|item| (item.cursor.order_id, item.cursor.seq, item.update.is_ok())),
        );
        if page.is_last {
            break;
        }
    }
    let damaged = (2..=6).map(|seq| (id(1), seq, false));
    let sound = [(id(1), 1, true), (id(2), 1, true)].into_iter();
    let expected: Vec<_> = sound.chain(damaged).chain([(id(2), 2, true)]).collect();
    assert_eq!(read, expected);
    assert_eq!(store.events(id(1), 0, 1).await.unwrap().len(), 1);
    assert_eq!(store.events(id(1), 0, 2).await.unwrap_err().kind(), StoreErrorKind::Internal);
}

#[tokio::test]
async fn a_pause_that_only_a_newer_program_knows_is_passed_by() {
    let database = Database::new();
    let store = database.open().await;
    let pause = PauseRequest::new(Activity::Routing, PauseScope::All, "maintenance");
    store.pause(&pause).await.unwrap();
    database
        .execute(
            r#"INSERT INTO pauses SELECT 'dreaming', scope, reason, since FROM pauses;
            INSERT INTO pauses SELECT activity, '{"kind":"galaxy"}', reason, since FROM pauses"#,
        )
        .await;
    let pauses = store.pauses().await.unwrap();
    assert_eq!(pauses.iter().map(|pause| pause.activity).collect::<Vec<_>>(), [Activity::Routing]);
    let readable =
        "SELECT activity, scope, reason, since FROM pauses WHERE activity = 'routing' ORDER BY scope";
    let since = "2026-01-01T00:00:00.000Z";
    assert_eq!(database.rows(readable).await[0], ["routing", r#"{"kind":"all"}"#, "maintenance", since]);
}
