//! Orders within the transactions of a host that has another driver, which binds nothing but texts.

mod common;
#[path = "common/engine.rs"]
mod engine;

use std::sync::Arc;
use std::time::Duration;

use common::{Database, execute, rows, text};
use engine::{builder, listening, request, simulator, watch, work};
use order_engine_core::store::Outbox as _;
use order_engine_core::{
    Deadline, Engine, Metadata, NewOrder, OrderId, OrderRequest, OrderStore as _, Priority, Submission,
    Token, Uncommitted,
};
use order_engine_postgres::{PostgresFanout, PostgresStore, SubmitStatement, sqlstate};
use sqlx::{AssertSqlSafe, PgConnection};

/// Returns a text as SQL.
fn literal(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

/// A driver that lets the server infer the types of parameters, and sends each as a text. Returns how many rows came.
async fn run(host: &mut PgConnection, statement: &SubmitStatement) -> usize {
    execute(host, &format!("PREPARE submit AS {}", statement.sql)).await;
    let types = text(host, "SELECT array_to_string(parameter_types, ' ') FROM pg_prepared_statements").await;
    assert_eq!(types, vec!["text"; statement.parameters.len()].join(" "));
    let values: Vec<String> = statement.parameters.iter().map(|value| literal(value.as_deref())).collect();
    let returned = rows(host, &format!("EXECUTE submit({})", values.join(", "))).await;
    execute(host, "DEALLOCATE submit").await;
    returned.len()
}

/// A driver that binds each parameter as a text. Returns how many rows came.
async fn bind(host: &mut PgConnection, statement: &SubmitStatement) -> Result<usize, sqlx::Error> {
    let query = sqlx::query(AssertSqlSafe(statement.sql.clone()));
    let query = statement.parameters.iter().fold(query, |query, value| query.bind(value.as_deref()));
    Ok(query.fetch_all(host).await?.len())
}

/// An engine that executes nothing.
async fn idle(store: &PostgresStore) -> Engine {
    builder(Arc::new(store.clone()), &simulator().await).build().await.unwrap()
}

/// Returns requests of which each column has a value in one of them and none in another.
fn requests() -> [OrderRequest; 3] {
    let everything = request()
        .with_user_id(r"O'Brien \ and $1, {a,b}")
        .with_client_order_id("key \"ä\" \u{1f980}")
        .with_slippage_bps(10_000)
        .with_deadline(Deadline::After(Duration::from_millis(86_400_001)))
        .with_not_before("2101-02-03T04:05:06.789Z".parse().unwrap())
        .with_priority(Priority::High)
        .with_tag("NULL")
        .with_metadata(Metadata::default().with("note", r#"it's "quoted" \ "#).with("n", 7));
    let [input, output] = ["a\0b", "it's"].map(|mint| Token::new(mint, "", 18));
    [request(), everything, request().with_pair(input, output).with_priority(Priority::Low)]
}

/// Returns the new order that `submit_in` has written.
async fn written(store: &PostgresStore, id: OrderId, handicap: Duration) -> NewOrder {
    let order = store.load(id).await.unwrap().unwrap();
    let event = store.events(id, 0, 1).await.unwrap().remove(0);
    NewOrder::new(Arc::new(order), Arc::new(event)).with_handicap(handicap)
}

/// What differs between two runs of the statement: its transaction, and times that are counted from its own.
const RELATIVE: [(&str, &str); 3] = [
    ("orders", "due_at handicap_until turn_at position"),
    ("order_writes", "position"),
    ("outbox_entries", "due_at pending_since"),
];

/// Returns the rows of all tables in which an order can be, as JSON, with times from the statement's own on.
async fn written_rows(database: &Database) -> Vec<String> {
    let mut found = Vec::new();
    for (table, relative) in RELATIVE {
        let relative = relative.replace(' ', "', '");
        let fields = format!(
            "SELECT coalesce(string_agg((to_jsonb(t) - ARRAY['{relative}'])::text, ' '), '') FROM @{table} AS t"
        );
        found.push(database.text(&fields).await);
    }
    found.push(database.text("SELECT string_agg(t::text, ' ') FROM @order_failures AS t").await);
    // The outbox entry has the time of the statement.
    let times = "SELECT concat_ws(' ', turn_at - orders.due_at, handicap_until - pending_since,
            coalesce(orders.due_at - not_before, orders.due_at - pending_since), entry.due_at - pending_since,
            orders.position = write.position)
        FROM @orders AS orders JOIN @order_writes AS write USING (order_id)
        JOIN @outbox_entries AS entry USING (order_id)";
    found.push(database.text(times).await);
    found
}

#[tokio::test]
async fn it_writes_the_same_rows_as_submit_in() {
    for request in requests() {
        let (ours, theirs) = (Database::new(), Database::new());
        let (our_store, their_store) = (ours.store().await, theirs.store().await);
        for store in [&our_store, &their_store] {
            store.register_sinks(&["ledger".into()]).await.unwrap();
        }
        let engine = idle(&our_store).await;
        let mut host = ours.connect().await;
        execute(&mut host, "BEGIN").await;
        let submitted = our_store.submit_in(&engine, &mut host, request.clone()).await.unwrap();
        execute(&mut host, "COMMIT").await;
        let Submission::Created(order) = submitted.announce() else { panic!("it is new") };
        let new = written(&our_store, order.id, request.priority.handicap()).await;

        let mut host = theirs.connect().await;
        // Settings with which other texts of times mean something else.
        execute(&mut host, "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kathmandu'; BEGIN").await;
        let statement = their_store.submit_statement(&new).unwrap();
        assert_eq!(run(&mut host, &statement).await, 1);
        execute(&mut host, "COMMIT").await;
        assert_eq!(their_store.load(order.id).await.unwrap().as_ref(), Some(&*order));

        let (ours, theirs) = (written_rows(&ours).await, written_rows(&theirs).await);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        for (table, part) in [(0, order.id.to_string()), (1, "accepted".to_owned()), (2, "ledger".to_owned())]
        {
            assert!(ours[table].contains(&part), "{ours:?}");
        }
    }
}

#[tokio::test]
async fn an_origin_is_written_too() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let mut new = engine.draft(request()).unwrap();
    let origin = engine.draft(request()).unwrap().order.id;
    let mut order = (*new.order).clone();
    order.origin = Some(origin);
    new.order = Arc::new(order);
    let mut host = database.connect().await;
    assert_eq!(run(&mut host, &store.submit_statement(&new).unwrap()).await, 1);
    assert_eq!(engine.order(new.order.id).await.unwrap().unwrap().origin, Some(origin));
}

#[tokio::test]
async fn an_order_is_rolled_back_with_the_hosts_transaction() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let new = engine.draft(request()).unwrap();
    let statement = store.submit_statement(&new).unwrap();
    let mut host = database.connect().await;
    for (end, expected) in [("ROLLBACK", None), ("COMMIT", Some(&new.order))] {
        execute(&mut host, "BEGIN").await;
        assert_eq!(run(&mut host, &statement).await, 1);
        assert_eq!(engine.order(new.order.id).await.unwrap(), None, "it is invisible before the commit");
        execute(&mut host, end).await;
        assert_eq!(engine.order(new.order.id).await.unwrap().as_ref(), expected.map(|order| &**order));
    }
}

#[tokio::test]
async fn no_row_comes_if_the_order_exists_or_its_name_is_taken() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let named = || request().with_client_order_id("key");
    let Submission::Created(first) = engine.submit(named()).await.unwrap() else { panic!("it is new") };
    let mut host = database.connect().await;
    let again = engine.draft(named()).unwrap();
    execute(&mut host, "BEGIN").await;
    assert_eq!(run(&mut host, &store.submit_statement(&again).unwrap()).await, 0);
    // The transaction has not failed: the host may look the order up in it.
    let name = database
        .qualified("SELECT order_id FROM @orders WHERE user_id = 'alice' AND client_order_id = 'key'");
    let found: OrderId = text(&mut host, &name).await.parse().unwrap();
    execute(&mut host, "ROLLBACK").await;
    assert_eq!(engine.order(found).await.unwrap().unwrap().request, again.order.request);
    assert_eq!(found, first.id);

    let unnamed = store.submit_statement(&engine.draft(request()).unwrap()).unwrap();
    assert_eq!(run(&mut host, &unnamed).await, 1);
    assert_eq!(run(&mut host, &unnamed).await, 0);
    assert_eq!(database.text("SELECT count(*) FROM @order_writes").await, "2");
}

#[tokio::test]
async fn a_snapshot_that_is_older_than_a_sink_is_a_serialization_failure() {
    let database = Database::new();
    let store = database.store().await;
    let statement = store.submit_statement(&idle(&store).await.draft(request()).unwrap()).unwrap();
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(text(&mut host, &database.qualified("SELECT count(*) FROM @orders")).await, "0");
    store.register_sinks(&["ledger".into()]).await.unwrap();
    let error = bind(&mut host, &statement).await.unwrap_err();
    assert_eq!(sqlstate(&error).as_deref(), Some("40001"), "{error}");
    // The same draft may be used again.
    execute(&mut host, "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(bind(&mut host, &statement).await.unwrap(), 1);
    execute(&mut host, "COMMIT").await;
    assert_eq!(database.text("SELECT count(*) FROM @outbox_entries").await, "1");
}

#[tokio::test]
async fn the_text_is_the_same_for_all_orders_and_what_cannot_be_stored_has_none() {
    let database = Database::new();
    let store = database.store().await;
    let engine = idle(&store).await;
    let statements =
        requests().map(|request| store.submit_statement(&engine.draft(request).unwrap()).unwrap());
    assert!(statements.iter().all(|statement| statement.sql == statements[0].sql));
    let refused = engine.draft(request().with_user_id("al\0ice")).unwrap();
    let error = store.submit_statement(&refused).unwrap_err();
    assert!(error.to_string().contains("NUL"), "{error}");
}

#[tokio::test]
async fn a_worker_takes_it_when_it_is_announced() {
    let database = Database::new();
    let store = database.store().await;
    let fanout = PostgresFanout::new(database.options()).unwrap();
    let engine = listening(Arc::new(store.clone()), &simulator().await, fanout).await;
    let worker = work(&engine);
    let new = engine.draft(request()).unwrap();
    let mut host = database.connect().await;
    execute(&mut host, "BEGIN").await;
    assert_eq!(run(&mut host, &store.submit_statement(&new).unwrap()).await, 1);
    execute(&mut host, "COMMIT").await;
    Uncommitted::new(&engine, ()).with_created(&new).announce();
    watch(&engine, new.order.id).await;
    engine.shutdown(Duration::from_secs(10)).await.unwrap();
    worker.abort();
}
