//! The plans that SQLite makes of the statements.

use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use order_engine_core::{OrderQuery, Status};

use super::*;
use crate::options::SqliteOptions;
use crate::read::list_statement;
use crate::{connect, schema};

async fn database(folder: &tempfile::TempDir) -> SqliteConnection {
    let options = SqliteOptions::new(folder.path().join("orders.db"));
    let mut connection = connect::first_writer(&options).await.unwrap();
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
fn no_limit_makes_sqlite_prepare_a_statement_anew() {
    let list = list_statement(&OrderQuery::new(50));
    for sql in [
        CLAIM_DUE,
        CLAIM_ORDER,
        CLAIM_DELIVERIES_DUE,
        UNREGISTER_SINK_ENTRIES,
        PURGE_PAGE,
        EVENTS,
        DUE_ORDERS,
        list.sql().as_str(),
    ] {
        assert!(sql.contains("LIMIT +?"), "{sql}");
    }
}

#[tokio::test]
async fn claims_walk_along_the_index_of_due_orders() {
    for sql in [CLAIM_DUE, CLAIM_NEXT_DUE, DUE_ORDERS] {
        let plan = plan(sql.to_owned()).await;
        assert!(plan.contains("USING INDEX orders_due") || plan.contains("USING COVERING INDEX orders_due"));
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
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
async fn lists_look_their_orders_up() {
    for statement in [APPEND, RENEW, RELEASE] {
        for rows in [1, 256] {
            let plan = plan(statement.text(rows)).await;
            assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1"), "{plan}");
            assert!(!plan.contains("SCAN orders") && !plan.contains("AUTOMATIC"), "{plan}");
        }
    }
}

#[tokio::test]
async fn orders_are_made_due_and_purged_by_their_keys() {
    for sql in [MAKE_DUE].into_iter().chain(PURGE) {
        let plan = plan(sql.to_owned()).await;
        assert!(plan.contains("SEARCH") && !plan.contains("SCAN order"), "{plan}");
    }
    let plan = plan(PURGE_PAGE.to_owned()).await;
    assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id>?)"), "{plan}");
    assert!(plan.contains("SEARCH outbox_entries USING") && !plan.contains("TEMP B-TREE"), "{plan}");
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
            _ => "SEARCH orders USING INDEX orders_due",
        };
        assert!(plan.contains(expected), "{status}: {plan}");
        let is_walk = plan.contains("SCAN orders USING INDEX sqlite_autoindex_orders_1");
        assert_eq!(is_walk, status == Status::Confirmed, "{status}: {plan}");
    }
}

#[tokio::test]
async fn the_backlog_is_counted_in_indexes() {
    for (sql, step) in [
        (BACKLOG_LANES, "SCAN orders USING COVERING INDEX orders_due"),
        (BACKLOG_ATTENTION, "SCAN orders USING INDEX orders_attention"),
        (BACKLOG_SINKS, "SEARCH outbox_entries USING INDEX outbox_entries_due (sink=?)"),
    ] {
        let plan = plan(sql.to_owned()).await;
        assert!(plan.contains(step) && !plan.contains("TEMP B-TREE"), "{plan}");
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
    assert!(
        events.contains("SEARCH order_events USING") && events.contains("(order_id=? AND seq>? AND seq<?)"),
        "{events}"
    );
    for statement in [ACK_DELIVERIES_DELETE, ACK_DELIVERIES_RELEASE] {
        for rows in [1, 64] {
            let plan = plan(statement.text(rows)).await;
            assert!(
                plan.contains("SEARCH outbox_entries USING PRIMARY KEY (order_id=? AND sink=?)"),
                "{plan}"
            );
            assert!(
                !plan.contains("SCAN outbox_entries")
                    && !plan.contains("SCAN entry")
                    && !plan.contains("SCAN orders"),
                "{plan}"
            );
        }
    }
}

#[tokio::test]
async fn existing_orders_are_looked_up_by_both_their_names() {
    let plan = plan(CREATE_EXISTING.to_owned()).await;
    assert!(plan.contains("sqlite_autoindex_orders_1 (order_id=?)"), "{plan}");
    assert!(plan.contains("orders_client_order_id (user_id=? AND client_order_id=?)"), "{plan}");
    assert!(!plan.contains("SCAN orders"), "{plan}");
}
