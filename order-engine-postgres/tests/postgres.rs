//! What only the PostgreSQL store has: tables that SQL users read, a schema among others, a role, a server
//! with settings of its own.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Database, execute, text};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, FREELY, Relay, Worker, append, assert_stored, attempt_failed, cancelled, create, create_one,
    history, id, ids_of, new_order, new_order_for, new_orders, register, request_named, routing_started,
    seqs_of, to_confirmed, to_submitted, write_freely,
};
use order_engine_core::store::{AppendError, Creation, FeedRequest, NonceReservation, ReleaseReason, Then};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    AccountNonce, Failure, FailureCode, FeedCursor, FeedScope, Order, OrderEvent, OrderStore, StoreErrorKind,
};
use order_engine_postgres::testing::shared_url;
use order_engine_postgres::{PostgresOptions, PostgresStore};

#[tokio::test]
async fn a_reopened_schema_has_everything() {
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
    assert_eq!(Worker::new(&store, 2).claim(2).await.len(), 1);
    assert!(Worker::new(&store, 1).renews(lease).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_new_schema_at_once() {
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

/// Returns options under which every transaction is serializable unless it sets another level.
fn serializable(database: &Database) -> PostgresOptions {
    let url = format!("{}?options=-cdefault_transaction_isolation%3Dserializable", shared_url());
    PostgresOptions::new(&url).unwrap().with_schema(&*database.schema).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_transaction_sees_does_not_depend_on_the_servers_default() {
    for is_pooled in [false, true] {
        let database = Database::new();
        let options = serializable(&database).with_transaction_pooling(is_pooled);
        let opening: Vec<_> = (0..8).map(|_| tokio::spawn(PostgresStore::open(options.clone()))).collect();
        for opened in opening {
            opened.await.unwrap().unwrap();
        }
        let store: Arc<dyn OrderStore> = Arc::new(PostgresStore::open(options).await.unwrap());
        create_one(&store, 1).await;
        // A write that begins while a sink is being registered waits, and then sees it.
        let mut registering = database.connect().await;
        let register =
            "BEGIN; LOCK TABLE @sinks IN ACCESS EXCLUSIVE MODE; INSERT INTO @sinks VALUES ('ledger')";
        execute(&mut registering, &database.qualified(register)).await;
        let writing = tokio::spawn({
            let store = Arc::clone(&store);
            async move { create_one(&store, 2).await }
        });
        let waits = format!(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{}.sinks'::regclass",
            database.schema
        );
        let mut watcher = database.connect().await;
        while text(&mut watcher, &waits).await == "0" {
            tokio::task::yield_now().await;
        }
        execute(&mut registering, "COMMIT").await;
        writing.await.unwrap();
        assert_eq!(ids_in_the_outbox(&database).await, format!("{}", id(2)));
    }
}

async fn ids_in_the_outbox(database: &Database) -> String {
    database.text("SELECT string_agg(order_id::text, ' ' ORDER BY order_id) FROM @outbox_entries").await
}

#[tokio::test]
async fn several_engines_share_a_database() {
    let (one, other) = (Database::new(), Database::new());
    let (store, others) = (one.open().await, other.open().await);
    create(&store, &[new_order_for(1, request_named("alice", "key"))]).await;
    create(&others, &[new_order_for(2, request_named("alice", "key"))]).await;
    assert_eq!(ids_of(&Worker::new(&store, 1).claim(9).await), [id(1)]);
    assert_eq!(ids_of(&Worker::new(&others, 1).claim(9).await), [id(2)]);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = Database::new();
    drop(database.open().await);
    database.execute("INSERT INTO @migrations (version) VALUES (99)").await;
    let error = database.fails_to_open().await;
    assert_eq!(error.kind(), StoreErrorKind::Incompatible);
    assert!(chain(&error).to_string().contains("newer version of this software"), "{error}");
    assert!(chain(&error).to_string().contains(&database.schema), "{error}");
}

/// Whether an error leads to one of the database's library.
fn leads_to_sqlx(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(<dyn std::error::Error>::is::<sqlx::Error>)
}

#[tokio::test]
async fn a_database_that_cannot_be_used_gives_one_clear_error() {
    let missing = format!("{}/missing", shared_url().trim_end_matches("/postgres"));
    let unknown_role = shared_url().replace("//postgres@", "//unknown@");
    let nowhere = "postgres://postgres@127.0.0.1:1/postgres".to_owned();
    for (url, kind) in [
        (missing, StoreErrorKind::Misconfigured),
        (unknown_role, StoreErrorKind::Misconfigured),
        (nowhere, StoreErrorKind::Unavailable),
    ] {
        let error = PostgresStore::open(PostgresOptions::new(&url).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        assert!(chain(&error).to_string().starts_with("the database cannot be opened"), "{error}");
        assert!(leads_to_sqlx(&error), "{error:?}");
    }
}

#[tokio::test]
async fn the_tables_can_be_read_by_people() {
    let database = Database::new();
    let store = database.open().await;
    let new = new_order_for(1, request_named("alice", "first"));
    create(&store, std::slice::from_ref(&new)).await;
    let order = write_freely(&store, &new.order, AT_ONCE, &to_confirmed()).await;
    create(&store, &[new_order(2)]).await;
    let failure = Failure::new(FailureCode::REJECTED, "before\0after");
    write_freely(
        &store,
        &new_order(2).order,
        AT_ONCE,
        &[routing_started(1), attempt_failed(), OrderEvent::Failed { failure }],
    )
    .await;
    let row = database
        .text(
            "SELECT concat_ws('|', user_id, client_order_id, order_type, input_symbol, amount, slippage_bps, status,
                attempt, chosen_dex, tx_hash, execution_price, amount_out, error_code, pg_typeof(amount))
            FROM @orders WHERE client_order_id = 'first'",
        )
        .await;
    let fill = order.state.fill().unwrap();
    let expected = format!(
        "alice|first|market|SOL|{}|50|confirmed|1|{}|{}|{}|{}|numeric",
        order.request.amount,
        order.state.chosen_dex().unwrap(),
        order.state.tx_id().unwrap(),
        order.execution_price().unwrap(),
        fill.amount_out
    );
    assert_eq!(row, expected);
    let logs =
        database.text("SELECT logs[1] || '|' || cardinality(logs) FROM @order_logs ORDER BY order_id").await;
    assert_eq!(logs, format!("Order accepted|{}", order.seq));
    let failures =
        "SELECT string_agg(concat_ws(' ', seq, attempt, code), ', ' ORDER BY seq) FROM @order_failures";
    assert_eq!(database.text(failures).await, "3 1 quote-unavailable, 4 1 rejected");
    // PostgreSQL's texts cannot hold a NUL; the payload can.
    let message = "SELECT error_message FROM @orders WHERE status = 'failed'";
    assert_eq!(database.text(message).await, "before\u{fffd}after");
    let stored = store.load(id(2)).await.unwrap().unwrap();
    assert_eq!(stored.state.failure().unwrap().message, "before\0after");
}

#[tokio::test]
async fn events_are_readable_whatever_their_messages_say() {
    let database = Database::new();
    let store = database.open().await;
    // NULs, and texts that only look like their escapes.
    let messages = ["plain", "\0", "a\0\0b", r"\u0000", "\\\0", r"\\u0000", r#""quoted" \"#, "❤ \u{1f600}\n"];
    let mut expected = Vec::new();
    for (n, message) in (1..).zip(messages) {
        let order = create_one(&store, n).await;
        let failure = Failure::new(FailureCode::REJECTED, message);
        let events = [routing_started(1), attempt_failed(), OrderEvent::Failed { failure }];
        let order = write_freely(&store, &order, AT_ONCE, &events).await;
        for event in history(&store, order.id).await {
            expected.push(format!(
                "{}|{}|{}|{}|{}|{}|{}|{}|{}",
                event.order_id,
                event.seq,
                event.at.timestamp_millis(),
                event.event.kind(),
                event.status.as_str(),
                event.progress,
                event.attempt,
                event.max_attempts,
                event.message().replace('\0', "\u{fffd}")
            ));
        }
    }
    let read = database
        .text(
            "SELECT string_agg(concat_ws('|', order_id, seq, (extract(epoch FROM at) * 1000)::bigint, kind, status,
                progress, attempt, max_attempts, message), '##' ORDER BY order_id, seq)
            FROM @order_events",
        )
        .await;
    assert_eq!(read.split("##").collect::<Vec<_>>(), expected);
    let logs = "SELECT string_agg(array_to_string(logs, '|'), '##') FROM @order_logs";
    assert!(database.text(logs).await.contains(r"\u0000"));
    // One order's events are looked up.
    let mut reader = database.connect().await;
    execute(&mut reader, "SET enable_seqscan = off; SET enable_bitmapscan = off").await;
    let plan =
        format!("EXPLAIN (FORMAT json) SELECT message FROM @order_events WHERE order_id = '{}'", id(1));
    let plan = text(&mut reader, &database.qualified(&plan)).await;
    assert!(plan.contains("order_writes_pkey"), "{plan}");
}

#[tokio::test]
async fn a_write_that_cannot_be_decoded_harms_only_its_own_events_in_the_feed() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(2)).await;
    let events = to_submitted();
    write_freely(&store, &new_order(1).order, AT_ONCE, &events).await;
    write_freely(&store, &new_order(2).order, AT_ONCE, &events).await;
    let newer = "UPDATE @order_writes SET payload_version = 99 WHERE first_seq = 2 AND order_id =";
    database.execute(&format!("{newer} '{}'", id(1))).await;
    let last = 1 + events.len() as u64;
    for limit in [1, 2, 100] {
        let (mut read, mut after) = (Vec::new(), FeedCursor::START);
        while read.len() < 2 * events.len() + 2 {
            let page = store.read_feed(&FeedRequest::new(FeedScope::All, after, limit)).await.unwrap();
            assert!(page.items.len() <= limit as usize);
            read.extend(
                page.items.iter().map(|item| (item.cursor.order_id, item.cursor.seq, item.update.is_ok())),
            );
            after = page.next;
        }
        read.sort_unstable();
        let expected = (1..=2).flat_map(|n| (1..=last).map(move |seq| (id(n), seq, n == 2 || seq == 1)));
        assert_eq!(read, expected.collect::<Vec<_>>(), "pages of {limit}");
    }
}

#[tokio::test]
async fn an_id_with_a_nul_is_refused_and_harms_no_other() {
    let store = Database::new().open().await;
    let batch = [
        new_order_for(1, request_named("al\0ice", "key")),
        new_order_for(2, request_named("alice", "k\0ey")),
        new_order_for(3, request_named("alice", "key")),
    ];
    let results = store.create(&batch).await.unwrap();
    assert!(results[0].is_err() && results[1].is_err());
    assert_eq!(results[2], Ok(Creation::Created));
}

/// Returns how many orders stand in the second index of the queue as well.
async fn with_turns_of_their_own(database: &Database) -> String {
    let condition = database
        .text(&format!(
            "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = '{}.order_states_due'::regclass",
            database.schema
        ))
        .await;
    database.text(&format!("SELECT count(*) FROM @orders WHERE {condition}")).await
}

#[tokio::test]
async fn an_order_whose_turn_comes_when_it_is_due_stands_in_one_index_of_the_queue() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &[new_order(1)]).await;
    assert_eq!(with_turns_of_their_own(&database).await, "0");
    let worker = Worker::new(&store, 1);
    let lease = worker.claim_one().await.lease;
    assert!(worker.renews(lease).await);
    assert_eq!(with_turns_of_their_own(&database).await, "0");
    worker.release(lease, Duration::from_hours(1), ReleaseReason::Yielded).await;
    assert_eq!(with_turns_of_their_own(&database).await, "0");
    store.make_due(id(1)).await.unwrap();
    assert_eq!(with_turns_of_their_own(&database).await, "0");
    worker.write(&worker.claim_one().await, AT_ONCE, &to_submitted()).await;
    assert_eq!(with_turns_of_their_own(&database).await, "0");
    // Of an order with a handicap the same is true while it is leased.
    create(&store, &[new_order(2).with_handicap(Duration::from_hours(1))]).await;
    assert_eq!(with_turns_of_their_own(&database).await, "1");
    assert_eq!(worker.claim_one().await.lease.order_id, id(2));
    assert_eq!(with_turns_of_their_own(&database).await, "0");
}

#[tokio::test]
async fn a_state_carries_its_own_version() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(1)).await;
    // As the first version of this software wrote them.
    database
        .execute("UPDATE @order_heads SET request_version = 1; UPDATE @order_states SET state_version = 1")
        .await;
    let order = write_freely(&store, &new_order(1).order, AT_ONCE, &[routing_started(1)]).await;
    assert_stored(&store, &order).await;
    let versions = "SELECT request_version || ' ' || state_version FROM @orders";
    assert_eq!(database.text(versions).await, format!("1 {}", order_engine_core::codec::PAYLOAD_VERSION));
}

#[tokio::test]
async fn an_item_that_the_database_refuses_harms_no_other_in_its_batch() {
    let database = Database::new();
    let store = database.open().await;
    database
        .execute(
            "CREATE FUNCTION @poison() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'poisoned'; END $$;
            CREATE TRIGGER poison BEFORE INSERT ON @order_writes FOR EACH ROW
                WHEN (new.payload LIKE '%poison%') EXECUTE FUNCTION @poison();
            CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON @order_heads DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                WHEN (new.user_id = 'mallory') EXECUTE FUNCTION @poison()",
        )
        .await;
    let mallory = new_order_for(4, request_named("mallory", "key"));
    let mut orders = new_orders(3);
    orders.insert(1, mallory);
    // The commit itself fails because of one of them.
    let created = store.create(&orders).await.unwrap();
    assert_eq!(created.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(history(&store, id(4)).await, []);

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
    assert_stored(&store, &new_order(2).order).await;
    assert_stored(&store, &batch[2].order).await;
}

#[tokio::test]
async fn the_nonce_of_an_item_that_the_database_refuses_goes_to_the_next_one() {
    let database = Database::new();
    let store = database.open().await;
    database
        .execute(
            "CREATE FUNCTION @poison() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'poisoned'; END $$;
            CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON @order_writes DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW WHEN (new.payload LIKE '%poison%') EXECUTE FUNCTION @poison()",
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
    // The commit itself fails because of the second one.
    let batch = [reserving(1, cancelled(), 0), reserving(2, poison, 1), reserving(3, cancelled(), 1)];
    let results = store.append(&batch).await.unwrap();
    assert_eq!((&results[0], &results[2]), (&Ok(()), &Ok(())));
    assert!(matches!(results[1], Err(AppendError::Rejected(_))), "{results:?}");
    let reserved =
        "SELECT string_agg(concat(value, ' ', order_id), ', ' ORDER BY value) FROM @account_nonces";
    assert_eq!(database.text(reserved).await, format!("0 {}, 1 {}", id(1), id(3)));
}

/// Records the setting of each commit by a trigger that runs just before it.
async fn record_commits(database: &Database, table: &str) {
    database
        .execute(&format!(
            "CREATE TABLE IF NOT EXISTS @commits (setting text);
            CREATE OR REPLACE FUNCTION @record_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO @commits VALUES (current_setting('synchronous_commit'));
                RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER commits AFTER INSERT OR UPDATE ON @{table} DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION @record_commit()"
        ))
        .await;
}

#[tokio::test]
async fn orders_and_events_wait_for_the_disk_under_every_setting_of_the_server() {
    let database = Database::new();
    drop(database.open().await);
    record_commits(&database, "order_writes").await;
    let take = "WITH taken AS (DELETE FROM @commits RETURNING setting)
        SELECT string_agg(DISTINCT setting, ' ') FROM taken";
    for (set, committed) in
        [("off", "on"), ("on", "on"), ("local", "local"), ("remote_apply", "remote_apply")]
    {
        let url = format!("{}?options=-csynchronous_commit%3D{set}", shared_url());
        let options = PostgresOptions::new(&url).unwrap().with_schema(&*database.schema).unwrap();
        for options in [options.clone(), options.with_transaction_pooling(true)] {
            let store: Arc<dyn OrderStore> = Arc::new(PostgresStore::open(options).await.unwrap());
            database.execute("TRUNCATE @order_heads, @order_states, @order_writes, @commits").await;
            create_one(&store, 1).await;
            assert_eq!(database.text(&database.qualified(take)).await, committed, "{set}");
            write_freely(&store, &new_order(1).order, AT_ONCE, &to_submitted()).await;
            assert_eq!(database.text(&database.qualified(take)).await, committed, "{set}");
        }
    }
}

#[tokio::test]
async fn leases_do_not_wait_for_the_disk() {
    let database = Database::new();
    let store = database.open().await;
    create_one(&store, 1).await;
    record_commits(&database, "order_states").await;
    let worker = Worker::new(&store, 1);
    let claim = worker.claim_one().await;
    assert!(worker.renews(claim.lease).await);
    worker.release(claim.lease, Duration::ZERO, ReleaseReason::Yielded).await;
    assert_eq!(database.text("SELECT string_agg(setting, ' ') FROM @commits").await, "off off off");
}

/// The grants that the README gives, and no others.
#[tokio::test]
async fn a_role_with_these_grants_alone_can_do_everything_but_migrate() {
    let database = Database::new();
    drop(database.open().await);
    let schema = &database.schema;
    let grants = format!(
        "CREATE ROLE {schema}_engine LOGIN;
        GRANT USAGE ON SCHEMA {schema} TO {schema}_engine;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema}_engine;"
    );
    let documented = include_str!("../README.md");
    for line in grants.lines().map(|line| line.trim().replace(&format!("{schema}_engine"), "engine")) {
        let line = line.replace(schema, "order_engine");
        assert!(documented.contains(&line), "the README lacks: {line}");
    }
    database.execute(&grants).await;
    let url = shared_url().replace("//postgres@", &format!("//{schema}_engine@"));
    let options = PostgresOptions::new(&url).unwrap().with_schema(schema).unwrap();
    let store: Arc<dyn OrderStore> = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
    store.check().await.unwrap();
    register(&store, "ledger").await;
    create(&store, &new_orders(2)).await;
    let worker = Worker::new(&store, 1);
    let claim = worker.claim(1).await.remove(0);
    let order = worker.write(&claim, AT_ONCE, &to_confirmed()).await;
    assert_stored(&store, &order).await;
    let relay = Relay::new(&store, "ledger", 1);
    for delivery in relay.claim(9).await {
        assert!(relay.ack(&delivery).await);
    }
    store.unregister_sink("ledger", 9).await.unwrap();
    store.make_due(id(2)).await.unwrap();
    store.backlog().await.unwrap();
    let long_after = order.updated_at + chrono::Duration::days(1);
    let request = order_engine_core::store::PurgeRequest::new(long_after, 9);
    assert_eq!(store.purge(&request).await.unwrap().orders, 1);

    // It cannot create a schema, and the error says so.
    let elsewhere = options.with_schema(format!("{schema}_2")).unwrap();
    let error = PostgresStore::open(elsewhere).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
}

#[tokio::test]
async fn nothing_relies_on_a_search_path() {
    let database = Database::new();
    let url = format!("{}?options=-csearch_path%3D", shared_url());
    let options = PostgresOptions::new(&url).unwrap().with_schema(&*database.schema).unwrap();
    let store: Arc<dyn OrderStore> = Arc::new(PostgresStore::open(options).await.unwrap());
    create_one(&store, 1).await;
    let worker = Worker::new(&store, 1);
    let claim = worker.claim_one().await;
    worker.write(&claim, AT_ONCE, &to_confirmed()).await;
    assert_eq!(database.text("SELECT status FROM @orders").await, "confirmed");
}

/// Returns a store that waits long for the locks of other transactions.
async fn patient(database: &Database) -> Arc<dyn OrderStore> {
    let options = database.options().with_lock_timeout(Duration::from_mins(1));
    Arc::new(PostgresStore::open(options).await.unwrap())
}

/// PostgreSQL undoes one of two writers in a deadlock; the store tries again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_undone_is_tried_again() {
    let database = Database::new();
    let store = patient(&database).await;
    create(&store, &new_orders(2)).await;
    let lock =
        |n| database.qualified(&format!("SELECT 1 FROM @orders WHERE order_id = '{}' FOR UPDATE", id(n)));
    let (first, second) = (lock(1), lock(2));
    let mut other = database.connect().await;
    execute(&mut other, "BEGIN; SET LOCAL deadlock_timeout = '60s'").await;
    execute(&mut other, &second).await;
    // The store holds the first order and waits for the second.
    let batch: Vec<_> =
        (1..=2).map(|n| append(&new_order(n).order, FREELY, AT_ONCE, &[cancelled()])).collect();
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(&batch).await }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()";
    let mut watcher = database.connect().await;
    while text(&mut watcher, waits).await == "0" {
        tokio::task::yield_now().await;
    }
    // Now each waits for the other; the store's session looks for deadlocks sooner.
    execute(&mut other, &first).await;
    execute(&mut other, "COMMIT").await;
    assert_eq!(writing.await.unwrap().unwrap(), [Ok(()), Ok(())]);
    assert_eq!(store.last_seqs(&[id(1), id(2)]).await.unwrap(), [Some(2), Some(2)]);
}

/// A relay that has delivered everything must not delete an outbox entry whose order gets another event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_not_deleted_while_an_event_is_written() {
    let database = Database::new();
    let store = patient(&database).await;
    register(&store, "ledger").await;
    create_one(&store, 1).await;
    let relay = Relay::new(&store, "ledger", 1);
    let delivery = relay.claim_one().await;
    // The event and its outbox entry are written, and their transaction is still open.
    database
        .execute(
            "CREATE FUNCTION @wait() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_advisory_xact_lock(42, hashtext(TG_TABLE_SCHEMA)); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON @order_states DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                EXECUTE FUNCTION @wait()",
        )
        .await;
    let mut gate = database.connect().await;
    execute(&mut gate, &format!("BEGIN; SELECT pg_advisory_xact_lock(42, hashtext('{}'))", database.schema))
        .await;
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { write_freely(&store, &new_order(1).order, AT_ONCE, &[routing_started(1)]).await }
    });
    let mut watcher = database.connect().await;
    let at_the_gate =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND classid = 42";
    while text(&mut watcher, at_the_gate).await == "0" {
        tokio::task::yield_now().await;
    }
    let acking = tokio::spawn(async move { relay.ack(&delivery).await.then_some(relay) });
    let behind_it = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
    while text(&mut watcher, behind_it).await == "0" {
        tokio::task::yield_now().await;
    }
    execute(&mut gate, "COMMIT").await;
    writing.await.unwrap();
    let relay = acking.await.unwrap().expect("the lease was current");
    assert_eq!(seqs_of(&relay.claim_one().await), [2]);
}

#[tokio::test]
async fn an_existing_order_is_returned_in_full() {
    let database = Database::new();
    let store = database.open().await;
    let first = new_order_for(1, request_named("alice", "key"));
    create(&store, std::slice::from_ref(&first)).await;
    let moved = write_freely(&store, &first.order, AT_ONCE, &[routing_started(1)]).await;
    let again = store.create(&[new_order_for(2, request_named("alice", "key"))]).await.unwrap();
    assert_eq!(again, [Ok(Creation::Existing(Box::new(Order::clone(&moved))))]);
    assert_eq!(store.last_seqs(&[id(2)]).await.unwrap(), [None]);
}
