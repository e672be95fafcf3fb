//! The plans that SQLite makes of the statements.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use order_engine_core::{OrderQuery, Status};

use super::*;
use crate::options::SqliteOptions;
use crate::read::list_statement;
use crate::{connect, schema};

async fn database(folder: &tempfile::TempDir) -> SqliteConnection {
    let options = SqliteOptions::new(folder.path().join("orders.db"));
    let mut connection = connect::first(&options).await.unwrap();
    schema::migrate(&mut connection).await.unwrap();
    connection
}

/// Returns SQLite's plan, one line for each step.
async fn plan(sql: String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(&mut database(&folder).await)
        .await
        .unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    steps.join("\n")
}

#[test]
fn values_are_numbered_by_their_columns() {
    let columns: [&[&str]; 2] = [&["due_at", "seq"], &["due"]];
    assert_eq!(with(&columns, "SET a = :seq, b = max(:due_at, :due)"), "SET a = ?2, b = max(?1, ?3)");
    assert_eq!(
        super::insert("orders", &columns, "RETURNING *"),
        "INSERT INTO orders (due_at, seq, due) VALUES (?, ?, ?) RETURNING *"
    );
}

#[test]
fn no_limit_makes_sqlite_prepare_a_statement_anew() {
    let list = list_statement(&OrderQuery::new(50));
    for sql in [
        CLAIM_DUE,
        CLAIM_ORDER,
        CLAIM_DELIVERIES_DUE,
        UNREGISTER_SINK_ENTRIES,
        PURGE_PAGE,
        DUE_ORDERS,
        READ_FEED,
        list.sql().as_str(),
    ] {
        assert!(sql.contains("LIMIT +?"), "{sql}");
    }
}

#[tokio::test]
async fn claims_walk_along_the_indexes_of_due_orders() {
    for (sql, indexes) in [
        (CLAIM_DUE, &["orders_due", "orders_turn", "orders_turn_due"][..]),
        (CLAIM_NEXT_DUE, &["orders_due", "orders_turn_due"]),
        (DUE_ORDERS, &["orders_due", "orders_turn_due"]),
    ] {
        let plan = plan(sql.to_owned()).await;
        for index in indexes {
            assert!(plan.contains(&format!("SEARCH orders USING COVERING INDEX {index} (lane=?")), "{plan}");
        }
        assert!(!plan.contains("SCAN orders") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

/// Adds orders with these times.
async fn insert(connection: &mut SqliteConnection, orders: u32, due_at: i64, turn_at: Option<i64>) {
    let turn_at = turn_at.map_or("NULL".to_owned(), |at| at.to_string());
    let sql = format!(
        "WITH RECURSIVE counted (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM counted WHERE n < {orders})
        INSERT INTO orders (order_id, user_id, order_type, input_token, input_symbol, input_decimals, output_token,
            output_symbol, output_decimals, amount, slippage_bps, priority, status, attempt, max_attempts, created_at,
            updated_at, seq, request_version, request, state_version, state, lane, due_at, turn_at, handicap_until,
            head_start)
        SELECT hex(randomblob(16)), 'u', '', '', '', 0, '', '', 0, '', 0, '', '', 0, 0, '', '', 0, 0, '', 0, '',
            'execute', {due_at}, {turn_at}, 0, 0 FROM counted"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

/// Returns the times of the orders that a claim at 1 000 takes, and how many steps SQLite makes for it.
async fn claimed(connection: &mut SqliteConnection, limit: u32) -> (Vec<(i64, Option<i64>)>, u64) {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    connection.lock_handle().await.unwrap().set_progress_handler(1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let claim = CLAIM_DUE.replace("lease_epoch,", "lease_epoch, due_at, turn_at,");
    let query = sqlx::query(AssertSqlSafe(claim)).bind("execute").bind(1_000).bind(limit);
    let rows = query.fetch_all(&mut *connection).await.unwrap();
    connection.lock_handle().await.unwrap().remove_progress_handler();
    (rows.iter().map(|row| (row.get("due_at"), row.get("turn_at"))).collect(), steps.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_claim_reads_what_it_takes_whatever_else_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = database(&folder).await;
    let (leased, late, waited, usual) = ((9_000, None), (500, Some(9_000)), (400, Some(700)), (600, None));
    let kinds = [leased, (8_000, Some(9_000)), late, waited, usual];
    for (due_at, turn_at) in kinds {
        insert(&mut connection, 20, due_at, turn_at).await;
    }
    // The first statement of a connection also reads the schema.
    claimed(&mut connection, 1).await;
    let few = [claimed(&mut connection, 10).await, claimed(&mut connection, 45).await];
    assert_eq!(few[0].0, [usual; 10]);
    assert_eq!(few[1].0, [vec![usual; 20], vec![waited; 20], vec![late; 5]].concat());
    for (due_at, turn_at) in [leased, (8_000, Some(9_000)), late] {
        insert(&mut connection, 2_000, due_at, turn_at).await;
    }
    assert_eq!([claimed(&mut connection, 10).await, claimed(&mut connection, 45).await], few);
    for (due_at, turn_at) in [waited, usual] {
        insert(&mut connection, 2_000, due_at, turn_at).await;
    }
    assert_eq!(claimed(&mut connection, 10).await, few[0]);
}

#[tokio::test]
async fn claims_of_one_order_look_it_up() {
    let plan = plan(CLAIM_ORDER.to_owned()).await;
    assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id=?)"), "{plan}");
    assert!(!plan.contains("orders_due") && !plan.contains("SCAN orders"), "{plan}");
}

#[tokio::test]
async fn orders_are_looked_up_by_their_ids_without_a_table_of_them() {
    for sql in [LOAD, LAST_SEQS] {
        let plan = plan(sql.to_owned()).await;
        assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id=?)"), "{plan}");
        assert!(!plan.contains("LIST SUBQUERY") && !plan.contains("SCAN orders"), "{plan}");
    }
}

#[tokio::test]
async fn leases_are_written_by_rowid() {
    let plan = plan(CLAIM_LEASE.to_owned()).await;
    assert!(plan.contains("SEARCH orders USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
}

#[tokio::test]
async fn items_look_their_orders_up() {
    for statement in [&APPEND, &RENEW, &RELEASE] {
        let plan = plan(statement.to_string()).await;
        assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1"), "{plan}");
        assert!(!plan.contains("SCAN orders") && !plan.contains("AUTOMATIC"), "{plan}");
    }
}

#[tokio::test]
async fn orders_are_made_due_and_purged_by_their_keys() {
    for sql in [MAKE_DUE].into_iter().chain(PURGE) {
        let plan = plan(sql.to_owned()).await;
        assert!(plan.contains("SEARCH") && !plan.contains("SCAN order"), "{plan}");
        assert!(!plan.contains("SCAN account_nonces"), "{plan}");
    }
    let plan = plan(PURGE_PAGE.to_owned()).await;
    assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id>?)"), "{plan}");
    assert!(plan.contains("SEARCH outbox_entries USING") && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn the_free_nonce_is_looked_up_by_the_account() {
    for sql in [RESERVE_NONCE, FREE_NONCE] {
        let plan = plan(sql.to_owned()).await;
        for step in [
            "SEARCH account_nonces USING PRIMARY KEY (venue=? AND account=? AND value=?)",
            "SEARCH reserved USING PRIMARY KEY (venue=? AND account=? AND value>?)",
            "SEARCH next USING PRIMARY KEY (venue=? AND account=? AND value=?)",
        ] {
            assert!(plan.contains(step), "{plan}");
        }
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn lists_by_status_pass_by_what_was_confirmed() {
    for status in Status::ALL {
        let query = OrderQuery::new(50).with_status(status);
        let sql = list_statement(&query).sql().as_str().to_owned();
        let plan = plan(sql).await;
        let expected = match status {
            Status::Confirmed => "SCAN orders USING INDEX sqlite_autoindex_orders_1",
            Status::Failed => "SCAN orders USING INDEX orders_failed",
            _ => "SEARCH orders USING INDEX orders_due (lane=?",
        };
        assert!(plan.contains(expected), "{status}: {plan}");
        let is_walk = plan.contains("SCAN orders USING INDEX sqlite_autoindex_orders_1");
        assert_eq!(is_walk, status == Status::Confirmed, "{status}: {plan}");
    }
}

#[tokio::test]
async fn lists_by_tag_read_the_orders_with_the_tag() {
    let query = OrderQuery::new(50).with_tag("tag".into());
    let plan = plan(list_statement(&query).sql().as_str().to_owned()).await;
    assert!(plan.contains("SEARCH orders USING INDEX orders_tag (tag=?)"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn the_feed_is_read_along_its_positions() {
    let bounds = plan(FEED_BOUNDS.to_owned()).await;
    assert!(bounds.contains("SEARCH order_writes USING INTEGER PRIMARY KEY (rowid>?)"), "{bounds}");
    let page = plan(READ_FEED.to_owned()).await;
    assert!(page.contains("SEARCH order_writes USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{page}");
    assert!(page.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id=?)"), "{page}");
    for plan in [bounds, page] {
        assert!(!plan.contains("SCAN order") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn the_backlog_is_counted_in_indexes() {
    for (sql, step) in [
        (BACKLOG_LANES, "SCAN orders USING COVERING INDEX orders_due"),
        (BACKLOG_LANES, "SCAN orders USING COVERING INDEX orders_turn"),
        (BACKLOG_ATTENTION, "SCAN orders USING INDEX orders_attention"),
        (BACKLOG_SINKS, "SEARCH outbox_entries USING INDEX outbox_entries_due (sink=?)"),
    ] {
        let plan = plan(sql.to_owned()).await;
        assert!(plan.contains(step) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

fn assert_reads_writes_by_their_numbers(plan: &str) {
    for step in [
        "SEARCH order_writes USING INDEX sqlite_autoindex_order_writes_1 (order_id=? AND first_seq>? AND first_seq<?)",
        "SEARCH earlier USING COVERING INDEX sqlite_autoindex_order_writes_1 (order_id=? AND first_seq<?)",
    ] {
        assert!(plan.contains(step), "{plan}");
    }
    assert!(!plan.contains("SCAN order") && !plan.contains("SCAN earlier"), "{plan}");
}

#[tokio::test]
async fn an_orders_events_are_read_by_their_numbers() {
    let plan = plan(EVENTS.to_owned()).await;
    assert_reads_writes_by_their_numbers(&plan);
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn sql_users_read_an_orders_events_by_its_id() {
    for sql in
        ["SELECT * FROM order_events WHERE order_id = ?", "SELECT logs FROM order_logs WHERE order_id = ?"]
    {
        let plan = plan(sql.to_owned()).await;
        assert!(
            plan.contains("SEARCH order_writes USING INDEX sqlite_autoindex_order_writes_1 (order_id=?)"),
            "{plan}"
        );
        assert!(!plan.contains("SCAN order"), "{plan}");
    }
}

#[tokio::test]
async fn outbox_entries_are_found_by_their_keys() {
    for sql in [CLAIM_DELIVERIES_DUE, CLAIM_DELIVERIES_NEXT_DUE] {
        let plan = plan(sql.to_owned()).await;
        assert!(
            plan.contains("USING INDEX outbox_entries_due")
                || plan.contains("USING COVERING INDEX outbox_entries_due"),
            "{plan}"
        );
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    let events = plan(CLAIM_DELIVERIES_EVENTS.to_owned()).await;
    assert_reads_writes_by_their_numbers(&events);
    assert!(events.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id=?)"), "{events}");
    for statement in [&ACK_DELIVERIES_DELETE, &ACK_DELIVERIES_RELEASE] {
        let plan = plan(statement.to_string()).await;
        assert!(plan.contains("SEARCH outbox_entries USING PRIMARY KEY (order_id=? AND sink=?)"), "{plan}");
        for scan in ["SCAN outbox_entries", "SCAN entry", "SCAN orders"] {
            assert!(!plan.contains(scan), "{plan}");
        }
    }
}

#[tokio::test]
async fn an_order_is_looked_up_by_its_name() {
    let plan = plan(LOAD_NAMED.to_owned()).await;
    assert!(plan.contains("orders_client_order_id (user_id=? AND client_order_id=?)"), "{plan}");
}

#[tokio::test]
async fn existing_orders_are_looked_up_by_both_their_names() {
    let plan = plan(CREATE_EXISTING.to_owned()).await;
    assert!(plan.contains("sqlite_autoindex_orders_1 (order_id=?)"), "{plan}");
    assert!(plan.contains("orders_client_order_id (user_id=? AND client_order_id=?)"), "{plan}");
    assert!(!plan.contains("SCAN orders"), "{plan}");
}
