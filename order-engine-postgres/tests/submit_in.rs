//! Orders within the host's transactions.

mod common;
#[path = "common/engine.rs"]
mod engine;

use std::sync::Arc;
use std::time::Duration;

use common::{Database, execute, text};
use engine::{builder, listening, request, simulator, watch, work};
use order_engine_core::store::Outbox;
use order_engine_core::telemetry::chain;
use order_engine_core::testing::RecordingSink;
use order_engine_core::{
    Amount, Deadline, Engine, EngineConfig, Hint, ItemRejected, Lane, Metadata, OrderRequest, OrderStore,
    Priority, StatusSource, StoreErrorKind, Submission, SubmitError,
};
use order_engine_postgres::testing::PostgresServer;
use order_engine_postgres::{PostgresFanout, PostgresOptions, PostgresStore, sqlstate};
use sqlx::{Connection as _, PgConnection};

fn named(key: &str) -> OrderRequest {
    request().with_client_order_id(key)
}

/// An engine that executes nothing.
async fn idle(store: &PostgresStore) -> Engine {
    builder(Arc::new(store.clone()), &simulator().await).build().await.unwrap()
}

#[tokio::test]
async fn an_order_is_rolled_back_with_the_hosts_transaction() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN").await;
    let submitted = store.submit_in(&engine, &mut host, named("key")).await.unwrap();
    let Submission::Created(order) = &submitted.outcome else { panic!("{submitted:?}") };
    assert_eq!(engine.order(order.id).await.unwrap(), None, "it is invisible before the commit");
    assert_eq!(store.due_orders(Lane::Execute, 9).await.unwrap(), []);
    execute(&mut host, "ROLLBACK").await;
    assert_eq!(engine.order(order.id).await.unwrap(), None);
    assert_eq!(database.text("SELECT count(*) FROM @order_events").await, "0");
    // Its name is free again.
    assert!(matches!(engine.submit(named("key")).await.unwrap(), Submission::Created(_)));
}

#[tokio::test]
async fn an_order_is_visible_with_the_hosts_row() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    database.execute("CREATE TABLE @reservations (order_id uuid)").await;
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN").await;
    let submitted = store.submit_in(&engine, &mut host, named("key")).await.unwrap();
    let Submission::Created(order) = submitted.outcome.clone() else { panic!("{submitted:?}") };
    execute(&mut host, &database.qualified(&format!("INSERT INTO @reservations VALUES ('{}')", order.id)))
        .await;
    execute(&mut host, "COMMIT").await;
    assert_eq!(engine.order(order.id).await.unwrap().as_ref(), Some(&*order));
    assert_eq!(database.text("SELECT count(*) FROM @reservations JOIN @orders USING (order_id)").await, "1");
    // The same request again is the same order; another request under its name is a conflict.
    for request in [named("key"), named("key").with_slippage_bps(7)] {
        execute(&mut host, "BEGIN").await;
        let again = store.submit_in(&engine, &mut host, request.clone()).await.unwrap().outcome;
        let expected = if request == *order.request {
            Submission::Existing(Arc::clone(&order))
        } else {
            Submission::Conflict(Arc::clone(&order))
        };
        assert_eq!(again, expected);
        execute(&mut host, "COMMIT").await;
    }
}

#[tokio::test]
async fn its_rows_are_those_of_any_other_order() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    store.register_sinks(&["ledger".into()]).await.unwrap();
    // A symbol that PostgreSQL's texts cannot hold, a deadline at the end of time, and a large amount.
    let unusual = |key: &str| {
        let forever = Deadline::After(Duration::from_millis(u64::MAX));
        let mut request = named(key)
            .with_deadline(forever)
            .with_amount(Amount::new(u128::MAX))
            .with_tag("a tag")
            .with_metadata(Metadata::default().with("invoice", 17))
            .with_priority(Priority::Low);
        request.input.symbol = "S\0L".into();
        request
    };
    let plain = request();
    for (request, same) in [(plain.clone(), plain), (unusual("one"), unusual("two"))] {
        engine.submit(request).await.unwrap();
        let mut host = database.connect().await;
        execute(&mut host, "BEGIN").await;
        let submitted = store.submit_in(&engine, &mut host, same).await.unwrap();
        execute(&mut host, "COMMIT").await;
        assert!(matches!(submitted.announce(), Submission::Created(_)));
        for (table, own) in [
            (
                "orders",
                "{order_id,client_order_id,request,created_at,updated_at,due_at,turn_at,handicap_until,position}",
            ),
            ("order_writes", "{order_id,payload,position}"),
            ("order_events", "{order_id,at}"),
            ("outbox_entries", "{order_id,pending_since,due_at}"),
        ] {
            let rows = format!("SELECT to_jsonb(row) - '{own}'::text[] AS columns FROM @{table} AS row");
            let kinds = format!("SELECT count(*) || ' ' || count(DISTINCT columns) FROM ({rows}) AS rows");
            assert_eq!(database.text(&kinds).await, "2 1", "{table}: {}", database.text(&rows).await);
        }
        database.execute("TRUNCATE @order_heads, @order_states, @order_writes, @outbox_entries").await;
    }
}

/// Returns what a source hears first, which somebody sends now if nothing was sent before.
async fn first_hint(database: &Database, source: &dyn StatusSource) -> Hint {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(format!("{}.events", database.schema))
        .bind(format!(r#"{:032x}{{"version":2,"items":[{{"due":"observe"}}]}}"#, 1))
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    source.next().await
}

#[tokio::test]
async fn other_processes_hear_of_it_when_the_host_announces_it_and_not_from_its_transaction() {
    let database = Database::new();
    let store = database.store().await;
    let fanout = PostgresFanout::open(database.options()).await.unwrap();
    let engine = builder(Arc::new(store.clone()), &simulator().await).sink(fanout.sink());
    let engine = engine.build().await.unwrap();
    let source = PostgresFanout::new(database.options()).unwrap().source();
    assert_eq!(source.next().await, Hint::Resync);
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN").await;
    let submitted = store.submit_in(&engine, &mut host, named("key")).await.unwrap();
    execute(&mut host, "COMMIT").await;
    assert_eq!(
        first_hint(&database, &*source).await,
        Hint::Due(Lane::Observe),
        "nothing came with the commit"
    );
    let Submission::Created(order) = submitted.announce() else { panic!("it is new") };
    assert_eq!(source.next().await, Hint::Due(Lane::Execute));
    let Hint::Event(accepted) = source.next().await else { panic!("the event fits into the message") };
    assert_eq!((accepted.order_id, accepted.seq), (order.id, 1));
    // A repetition has nothing to announce.
    execute(&mut host, "BEGIN").await;
    let again = store.submit_in(&engine, &mut host, named("key")).await.unwrap();
    execute(&mut host, "COMMIT").await;
    assert!(matches!(again.announce(), Submission::Existing(_)));
    assert_eq!(first_hint(&database, &*source).await, Hint::Due(Lane::Observe));
}

#[tokio::test]
async fn a_worker_takes_it_when_it_is_announced_or_at_its_next_poll() {
    let database = Database::new();
    let (store, simulator) = (database.store().await, simulator().await);
    let fanout = PostgresFanout::new(database.options()).unwrap();
    let hearing = listening(Arc::new(store.clone()), &simulator, fanout).await;
    let polling = {
        let mut config = EngineConfig::default();
        config.poll_interval = Duration::from_millis(50);
        builder(Arc::new(store.clone()), &simulator).config(config).build().await.unwrap()
    };
    for (engine, is_announced) in [(hearing, true), (polling, false)] {
        let worker = work(&engine);
        let mut host = database.connect().await;
        execute(&mut host, "BEGIN").await;
        let submitted = store.submit_in(&engine, &mut host, request()).await.unwrap();
        let Submission::Created(order) = submitted.outcome.clone() else { panic!("{submitted:?}") };
        execute(&mut host, "COMMIT").await;
        if is_announced {
            submitted.announce();
        } else {
            drop(submitted);
        }
        watch(&engine, order.id).await;
        engine.shutdown(Duration::from_secs(10)).await.unwrap();
        worker.abort();
    }
}

/// A server on which a commit that waits for a standby keeps its locks, because no standby answers.
struct Standstill {
    server: PostgresServer,
    admin: PgConnection,
}

impl Standstill {
    async fn new() -> Self {
        let server = PostgresServer::start();
        let mut admin = PgConnection::connect(&server.url()).await.unwrap();
        execute(&mut admin, "ALTER SYSTEM SET synchronous_commit = local").await;
        Self { server, admin }
    }

    /// Begins a transaction whose commit waits for the standby.
    async fn begin(&self) -> PgConnection {
        let mut host = PgConnection::connect(&self.server.url()).await.unwrap();
        execute(&mut host, "BEGIN; SET LOCAL synchronous_commit = on").await;
        host
    }

    async fn set_standby(&mut self, name: &str) {
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
        execute(&mut self.admin, &set).await;
        execute(&mut self.admin, "SELECT pg_reload_conf()").await;
    }

    /// Commits transactions, and lets them end once they wait for these things at the same time.
    async fn commits_wait_for(&mut self, hosts: Vec<PgConnection>, expected: [&str; 2]) {
        self.set_standby("nobody").await;
        // The server's processes read the setting one after the other. A commit that waits shows that they did.
        let url = self.server.url();
        let first = tokio::spawn(async move {
            let mut first = PgConnection::connect(&url).await.unwrap();
            execute(&mut first, "SET synchronous_commit = on").await;
            loop {
                execute(&mut first, "SELECT pg_logical_emit_message(true, 'first', '')").await;
            }
        });
        self.until("query LIKE '%''first''%' AND pid <> pg_backend_pid()", "SyncRep").await;
        first.abort();
        let commits: Vec<_> = hosts
            .into_iter()
            .map(|mut host| tokio::spawn(async move { execute(&mut host, "COMMIT").await }))
            .collect();
        self.until("query = 'COMMIT'", &expected.join(" ")).await;
        self.set_standby("").await;
        for commit in commits {
            commit.await.unwrap();
        }
    }

    /// Waits until the sessions that fulfil a condition wait for these things.
    async fn until(&mut self, condition: &str, expected: &str) {
        let waits = format!(
            "SELECT coalesce(string_agg(wait_event, ' ' ORDER BY wait_event COLLATE \"C\"), '')
            FROM pg_stat_activity WHERE wait_event_type IN ('IPC', 'Lock') AND {condition}"
        );
        let reached = async { while text(&mut self.admin, &waits).await != expected {} };
        tokio::time::timeout(Duration::from_mins(1), reached).await.expect(expected);
    }
}

#[tokio::test]
async fn the_commits_of_two_hosts_do_not_wait_for_each_other() {
    let mut standstill = Standstill::new().await;
    let url = standstill.server.url();
    let store = PostgresStore::open(PostgresOptions::new(&url).unwrap()).await.unwrap();
    let engine = idle(&store).await;
    // After a NOTIFY one waits for the other.
    let mut notifying = Vec::new();
    for channel in ["one", "two"] {
        let mut host = standstill.begin().await;
        let notify = format!("SELECT pg_logical_emit_message(true, 'host', ''); NOTIFY {channel}");
        execute(&mut host, &notify).await;
        notifying.push(host);
    }
    standstill.commits_wait_for(notifying, ["SyncRep", "object"]).await;

    let (mut hosts, mut submitted) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut host = standstill.begin().await;
        submitted.push(store.submit_in(&engine, &mut host, request()).await.unwrap());
        hosts.push(host);
    }
    standstill.commits_wait_for(hosts, ["SyncRep", "SyncRep"]).await;
    for submitted in submitted {
        let Submission::Created(order) = submitted.announce() else { panic!("it is new") };
        assert!(engine.order(order.id).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_about_to_be_used_is_waited_for() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    for (key, end) in [("kept", "COMMIT"), ("dropped", "ROLLBACK")] {
        let mut host = database.connect().await;
        execute(&mut host, "BEGIN").await;
        let first = store.submit_in(&engine, &mut host, named(key)).await.unwrap().outcome;
        let Submission::Created(first) = first else { panic!("{first:?}") };
        let waiting = tokio::spawn({
            let (store, engine, mut other) = (store.clone(), engine.clone(), database.connect().await);
            let request = named(key);
            async move {
                execute(&mut other, "BEGIN").await;
                let submitted = store.submit_in(&engine, &mut other, request).await.unwrap();
                execute(&mut other, "COMMIT").await;
                submitted.announce()
            }
        });
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
        let mut watcher = database.connect().await;
        while text(&mut watcher, waits).await == "0" {
            tokio::task::yield_now().await;
        }
        execute(&mut host, end).await;
        match waiting.await.unwrap() {
            Submission::Existing(existing) if end == "COMMIT" => assert_eq!(existing.id, first.id),
            Submission::Created(created) if end == "ROLLBACK" => assert_ne!(created.id, first.id),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_cannot_be_an_order_leaves_the_transaction_as_it_was() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN").await;
    let invalid = request().with_slippage_bps(10_001);
    assert!(matches!(store.submit_in(&engine, &mut host, invalid).await, Err(SubmitError::Invalid(_))));
    let refused = request().with_user_id("al\0ice");
    assert!(matches!(
        store.submit_in(&engine, &mut host, refused).await,
        Err(SubmitError::Rejected(ItemRejected { .. }))
    ));
    let submitted = store.submit_in(&engine, &mut host, request()).await.unwrap();
    assert!(matches!(submitted.outcome, Submission::Created(_)));
    execute(&mut host, "COMMIT").await;
    assert_eq!(database.text("SELECT count(*) FROM @orders").await, "1");

    // A transaction that has failed takes no further statement.
    execute(&mut host, "BEGIN").await;
    assert!(sqlx::query("SELECT 1 / 0").execute(&mut host).await.is_err());
    let Err(SubmitError::Store(error)) = store.submit_in(&engine, &mut host, request()).await else {
        panic!("nothing can be written")
    };
    assert_eq!(error.kind(), StoreErrorKind::Internal, "{error}");
}

#[tokio::test]
async fn an_open_transaction_delays_only_repetitions_of_its_name() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    for (key, end) in [("kept", "COMMIT"), ("dropped", "ROLLBACK")] {
        let mut host = database.connect().await;
        execute(&mut host, "BEGIN").await;
        let first = store.submit_in(&engine, &mut host, named(key)).await.unwrap().outcome;
        let Submission::Created(first) = first else { panic!("{first:?}") };
        let repeats = tokio::spawn(repeat(engine.clone(), named(key)));
        let others: Vec<_> = (0..100)
            .map(|n| if n % 2 == 0 { request() } else { named(&format!("{key}-{n}")) })
            .map(|request| tokio::spawn(submit(engine.clone(), request)))
            .collect();
        for other in others {
            let accepted = tokio::time::timeout(Duration::from_mins(1), other).await;
            let accepted = accepted.expect("it does not wait for the host").unwrap();
            assert!(matches!(accepted, Ok(Submission::Created(_))), "{accepted:?}");
        }
        assert!(!repeats.is_finished(), "whether the name is used is not known yet");
        execute(&mut host, end).await;
        match repeats.await.unwrap() {
            Submission::Existing(existing) if end == "COMMIT" => assert_eq!(existing.id, first.id),
            Submission::Created(created) if end == "ROLLBACK" => assert_ne!(created.id, first.id),
            other => panic!("{other:?}"),
        }
    }
}

async fn submit(engine: Engine, request: OrderRequest) -> Result<Submission, SubmitError> {
    engine.submit(request).await
}

/// Submits until there is an answer: a host's transaction may last longer than one call waits.
async fn repeat(engine: Engine, request: OrderRequest) -> Submission {
    loop {
        match engine.submit(request.clone()).await {
            Err(SubmitError::Store(error)) if error.is_transient() => {}
            answer => return answer.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_name_that_stays_about_to_be_used_is_an_unavailable_store() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN").await;
    let _submitted = store.submit_in(&engine, &mut host, named("key")).await.unwrap();
    let Err(SubmitError::Store(error)) = engine.submit(named("key")).await else {
        panic!("whether the name is used is not known")
    };
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(chain(&error).to_string().contains("client order id"), "{error}");
    execute(&mut host, "COMMIT").await;
    assert!(matches!(engine.submit(named("key")).await.unwrap(), Submission::Existing(_)));
}

#[tokio::test]
async fn a_prepared_statement_is_all_that_stays_in_the_hosts_session() {
    for is_pooled in [false, true] {
        let database = Database::new();
        let options = database.options().with_transaction_pooling(is_pooled);
        let store = PostgresStore::open(options).await.unwrap();
        let engine = idle(&store).await;
        let mut host = database.connect().await;
        let settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
            WHERE name <> 'transaction_isolation'";
        let prepared = "SELECT count(*) FROM pg_prepared_statements";
        let before = text(&mut host, settings).await;
        for key in ["first", "second"] {
            execute(&mut host, "BEGIN").await;
            let submitted = store.submit_in(&engine, &mut host, named(key)).await.unwrap();
            assert_eq!(text(&mut host, settings).await, before);
            execute(&mut host, "COMMIT").await;
            submitted.announce();
            assert_eq!(text(&mut host, settings).await, before);
            assert_eq!(text(&mut host, prepared).await, if is_pooled { "0" } else { "1" });
        }
    }
}

#[tokio::test]
async fn a_sink_that_is_newer_than_the_hosts_snapshot_misses_nothing() {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let database = Database::new();
        let store = database.store().await;
        let former = idle(&store).await;
        let mut host = database.connect().await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        execute(&mut host, &begin).await;
        // The transaction's snapshot is taken by its first statement, before there is a sink.
        assert_eq!(text(&mut host, &database.qualified("SELECT count(*) FROM @orders")).await, "0");
        let ledger = RecordingSink::durable("ledger");
        let engine = builder(Arc::new(store.clone()), &simulator().await)
            .sink(Arc::new(ledger.clone()))
            .build()
            .await
            .unwrap();
        let mut submission = store.submit_in(&former, &mut host, named("key")).await;
        if let Err(SubmitError::Store(error)) = &submission {
            assert!(error.is_transient(), "{error}");
            assert_eq!(sqlstate(error).as_deref(), Some("40001"), "{error}");
            execute(&mut host, &format!("ROLLBACK; {begin}")).await;
            submission = store.submit_in(&former, &mut host, named("key")).await;
        }
        let Ok(Submission::Created(order)) = submission.map(|submitted| submitted.outcome) else {
            panic!("the transaction sees the sink now")
        };
        execute(&mut host, "COMMIT").await;
        let heard = tokio::time::timeout(Duration::from_mins(1), ledger.has_taken(1)).await;
        heard.expect("the sink hears of every order that is committed after it was registered");
        assert_eq!(ledger.events_of(order.id).len(), 1);
        engine.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test]
async fn an_open_transaction_delays_a_new_sink_and_no_orders() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN").await;
    let _submitted = store.submit_in(&engine, &mut host, named("key")).await.unwrap();
    // The host's order has no outbox entry for a sink that its transaction does not see.
    let registering = tokio::spawn({
        let store = store.clone();
        async move {
            let sinks = ["ledger".into()];
            loop {
                match store.register_sinks(&sinks).await {
                    Err(error) if error.is_transient() => {}
                    registered => return registered,
                }
            }
        }
    });
    for _ in 0..20 {
        assert!(matches!(engine.submit(request()).await, Ok(Submission::Created(_))));
    }
    assert!(!registering.is_finished());
    execute(&mut host, "COMMIT").await;
    registering.await.unwrap().unwrap();
    assert_eq!(database.text("SELECT count(*) FROM @outbox_entries").await, "0");
    engine.submit(request()).await.unwrap();
    assert_eq!(database.text("SELECT count(*) FROM @outbox_entries").await, "1");
}
