//! Terminal orders cost claims and appends nothing, and events under a lease cost no index of the states anything.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Database, text};
use order_engine_core::OrderStore;
use order_engine_core::conformance::fixtures::{
    AT_ONCE, FREELY, Worker, append, create, create_one, id, new_order, to_confirmed, write_freely,
};
use order_engine_core::store::Then;
use order_engine_postgres::testing::shared_url;
use order_engine_postgres::{PostgresOptions, PostgresStore};

/// The variable that says how many terminal orders the table has; the long form sets a million.
const FINISHED: &str = "FINISHED_ORDERS";
const ROUNDS: u64 = 30;
const BATCH: u32 = 64;

/// What batches of claims and appends cost.
struct Cost {
    claim: Duration,
    append: Duration,
    /// Rows that were found by indexes.
    rows: u64,
    /// Scans of a whole table.
    walks: u64,
}

#[tokio::test]
async fn finished_orders_cost_claims_and_appends_nothing() {
    let finished: u64 = std::env::var(FINISHED).map_or(100_000, |text| text.parse().unwrap());
    let database = Database::new();
    drop(open(&database).await);
    let empty = measure(&database, 0).await;
    let store = open(&database).await;
    create(&store, &[new_order(500_000)]).await;
    write_freely(&store, &new_order(500_000).order, AT_ONCE, &to_confirmed()).await;
    drop(store);
    // Copies of a terminal order, each with an id of its own.
    let mut copies = Vec::new();
    for table in ["order_heads", "order_states"] {
        let columns = database
            .text(&format!(
                "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                WHERE attrelid = '{}.{table}'::regclass AND attnum > 1 AND NOT attisdropped",
                database.schema
            ))
            .await;
        copies.push(format!(
            "INSERT INTO @{table} (order_id, {columns}) SELECT id, {columns} FROM @{table}, copies
            WHERE order_id = '{}'",
            id(500_000)
        ));
    }
    let copies = copies.join("; ");
    database
        .execute(&format!(
            "CREATE TEMPORARY TABLE copies AS SELECT gen_random_uuid() AS id FROM generate_series(1, {finished});
            {copies}"
        ))
        .await;
    let full = measure(&database, 1_000_000).await;
    println!(
        "{finished} finished orders: a claim takes {:?}, an append {:?}; none: {:?} and {:?}",
        full.claim, full.append, empty.claim, empty.append
    );
    assert_eq!((empty.walks, full.walks), (0, 0));
    assert!(full.rows <= empty.rows + empty.rows / 10, "{} rows, and {} before", full.rows, empty.rows);
}

#[tokio::test]
async fn events_under_a_lease_write_into_no_index_of_the_states() {
    let database = Database::new();
    let store = open(&database).await;
    let order = create_one(&store, 1).await;
    let worker = Worker::new(&store, 1);
    worker.claim_one().await;
    let events = to_confirmed();
    let order = write_freely(&store, &order, Then::Keep, &events[..1]).await;
    let order = write_freely(&store, &order, Then::Keep, &events[1..2]).await;
    write_freely(&store, &order, Then::Keep, &events[2..]).await;
    drop((worker, store));
    // The claim and the end move the order in the queue.
    let (updates, without_indexes) =
        counted(&database, "n_tup_upd || ' ' || n_tup_hot_upd", "relname = 'order_states'").await;
    assert_eq!((updates, without_indexes), (4, 2));
}

/// Returns the cost of creating, claiming and advancing batches of orders.
async fn measure(database: &Database, first: u64) -> Cost {
    let before = statistics(database).await;
    let (claim, append) = work(&open(database).await, first).await;
    let after = statistics(database).await;
    Cost { claim, append, rows: after.0 - before.0, walks: after.1 - before.1 }
}

/// Returns the median times of a claim and of an append.
async fn work(store: &Arc<dyn OrderStore>, first: u64) -> (Duration, Duration) {
    let worker = Worker::new(store, 1);
    let (mut claims, mut appends) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let orders: Vec<_> =
            (0..u64::from(BATCH)).map(|n| new_order(first + 1 + round * u64::from(BATCH) + n)).collect();
        create(store, &orders).await;
        let begun = Instant::now();
        let claimed = worker.claim(BATCH).await;
        claims.push(begun.elapsed());
        assert_eq!(claimed.len(), BATCH as usize);
        let batch: Vec<_> =
            orders.iter().map(|new| append(&new.order, FREELY, AT_ONCE, &to_confirmed())).collect();
        let begun = Instant::now();
        let written = store.append(&batch).await.unwrap();
        appends.push(begun.elapsed());
        assert!(written.iter().all(Result::is_ok));
    }
    claims.sort_unstable();
    appends.sort_unstable();
    (claims[claims.len() / 2], appends[appends.len() / 2])
}

/// Opens the store on connections that have a name of their own.
async fn open(database: &Database) -> Arc<dyn OrderStore> {
    let url = format!("{}?application_name={}", shared_url(), database.schema);
    let options = PostgresOptions::new(&url).unwrap().with_schema(&*database.schema).unwrap();
    Arc::new(PostgresStore::open(options).await.unwrap())
}

/// Returns how many rows all stores so far have found by indexes, and how often they have scanned a table.
async fn statistics(database: &Database) -> (u64, u64) {
    counted(
        database,
        "sum(idx_tup_fetch) || ' ' || sum(seq_scan)",
        "relname IN ('order_heads', 'order_states', 'order_writes')",
    )
    .await
}

/// Returns two of the numbers that the server keeps of tables. A server process reports what it has done when it
/// ends, so this waits until the stores' connections are closed.
async fn counted(database: &Database, numbers: &str, tables: &str) -> (u64, u64) {
    let mut connection = database.connect().await;
    let open =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", database.schema);
    while text(&mut connection, &open).await != "0" {
        tokio::task::yield_now().await;
    }
    let counted = format!(
        "SELECT {numbers} FROM pg_stat_user_tables WHERE schemaname = '{}' AND {tables}",
        database.schema
    );
    let counted = text(&mut connection, &counted).await;
    let (rows, walks) = counted.split_once(' ').unwrap();
    (rows.parse().unwrap(), walks.parse().unwrap())
}
