//! The plans that PostgreSQL makes of the statements.

mod reads;

use order_engine_core::{OrderQuery, Status};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Sql;
use super::text::{names, qualified, unnest, width};
use crate::connect::Connections;
use crate::read::list_statement;
use crate::rows::Column;
use crate::schema;
use crate::testing::fresh_schema;

const IDS: &[Column] = &[("order_id", "uuid[]")];
const REST: &[Column] = &[("seq", "bigint[]"), ("amount", "text[]::numeric[]")];

/// Returns a connection like the store's, to tables of which the planner has no statistics.
async fn database() -> (PgConnection, Sql) {
    let (connection, sql, _) = database_with_schema().await;
    (connection, sql)
}

/// Also returns the name of the schema.
async fn database_with_schema() -> (PgConnection, Sql, String) {
    let options = fresh_schema();
    let mut connection = Connections::new(&options).take().await.unwrap().connection;
    schema::migrate(&mut connection, &options.schema).await.unwrap();
    let sql = Sql::new(&options.schema);
    (connection, sql, options.schema)
}

/// Returns PostgreSQL's plan for any values of the parameters.
async fn plan(connection: &mut PgConnection, text: &str) -> String {
    let parameters = (1..100).take_while(|n| text.contains(&format!("${n}"))).count();
    let nulls = vec!["NULL"; parameters].join(", ");
    let arguments = if parameters == 0 { String::new() } else { format!("({nulls})") };
    for sql in [format!("PREPARE planned AS {text}"), format!("EXPLAIN EXECUTE planned {arguments}")] {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
        if !rows.is_empty() {
            sqlx::raw_sql("DEALLOCATE planned").execute(connection).await.unwrap();
            return rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n");
        }
    }
    unreachable!("an explanation has lines")
}

fn assert_looks_up(plan: &str, step: &str) {
    assert!(plan.contains(step), "{plan}");
    for table in ["order_heads", "order_states", "order_writes", "outbox_entries", "account_nonces"] {
        assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
    }
}

/// Returns the part of a plan that makes a common table expression.
fn part<'a>(plan: &'a str, name: &str) -> &'a str {
    let (_, rest) = plan.split_once(&format!("CTE {name}\n")).unwrap_or_else(|| panic!("{name}: {plan}"));
    rest.split("\n  CTE ").next().unwrap_or_default()
}

#[tokio::test]
async fn claims_walk_along_the_turns_and_then_along_the_due_times() {
    let (mut connection, sql) = database().await;
    let claim = plan(&mut connection, &sql.queue.claim).await;
    let now = "statement_timestamp()";
    for (name, index, condition) in [
        ("turn", "order_states_turn", format!("((lane = $1) AND (turn_at <= {now}) AND (due_at <= {now}))")),
        ("other", "order_states_due", format!("((lane = $1) AND (due_at <= {now}))")),
        ("own_turn", "order_states_due", "(lane = $1)".to_owned()),
    ] {
        let part = part(&claim, name);
        assert!(part.contains(&format!("Index Scan using {index} on order_states")), "{claim}");
        let is_decided = |line: &str| line.trim() == format!("Index Cond: {condition}");
        assert!(part.lines().any(is_decided), "{claim}");
    }
    assert_looks_up(&claim, "Index Scan using order_states_pkey on order_states orders");
    assert_looks_up(&claim, "Index Scan using order_heads_pkey on order_heads head");
    // The one sort is that of the orders that were taken.
    assert!(claim.matches("Sort Key").count() == 1 && !claim.contains("Bitmap"), "{claim}");
}

#[tokio::test]
async fn due_orders_are_read_along_both_indexes() {
    let (mut connection, sql) = database().await;
    let plan = plan(&mut connection, &sql.queue.due_orders).await;
    for (name, index) in [("own_turn", "order_states_due"), ("others", "order_states_turn")] {
        assert!(part(&plan, name).contains(&format!("Index Scan using {index} on order_states")), "{plan}");
    }
    assert_looks_up(&plan, "Sort Key: own_turn.due_at");
    assert!(plan.matches("Sort Key").count() == 1 && !plan.contains("Bitmap"), "{plan}");
}

#[tokio::test]
async fn claims_of_one_order_look_it_up() {
    let (mut connection, sql) = database().await;
    let plan = plan(&mut connection, &sql.queue.claim_order).await;
    assert_looks_up(&plan, "Index Cond: (order_id = $5)");
}

#[tokio::test]
async fn an_order_is_looked_up_by_its_name() {
    let (mut connection, sql) = database().await;
    let plan = plan(&mut connection, &sql.orders.load_named).await;
    assert_looks_up(&plan, "order_heads_client_order_id");
}

#[tokio::test]
async fn lists_look_their_orders_up() {
    let (mut connection, sql) = database().await;
    for text in [
        &sql.orders.append,
        &sql.queue.renew,
        &sql.queue.release,
        &sql.orders.load,
        &sql.orders.last_seqs,
        &sql.orders.append_refusals,
        &sql.queue.make_due,
    ] {
        let plan = plan(&mut connection, text).await;
        assert_looks_up(&plan, "order_states_pkey");
    }
    let append = plan(&mut connection, &sql.orders.append).await;
    assert_looks_up(&append, "Filter: COALESCE((hashed SubPlan");
}

#[tokio::test]
async fn the_feed_is_read_by_positions_and_a_users_by_that_users_orders() {
    let (mut connection, sql, schema) = database_with_schema().await;
    let all = plan(&mut connection, &sql.events.read_feed).await;
    assert_looks_up(&all, "Index Scan using order_writes_feed on order_writes");
    assert_looks_up(
        &all,
        "Index Cond: ((ROW(\"position\", order_id, last_seq) > ROW($1, $2, $3)) AND (\"position\" < bound.at))",
    );
    // The one sort is that of the page.
    assert_eq!(all.matches("Sort Key").count(), 1, "{all}");
    let last = plan(&mut connection, &qualified(&schema, schema::CONTINUE_FEED)).await;
    assert_looks_up(&last, "Scan Backward using order_writes_feed on order_writes");
    let users = plan(&mut connection, &sql.events.read_feed_of_user).await;
    assert_looks_up(&users, "order_heads_user on order_heads");
    assert_looks_up(&users, "order_writes_pkey");
}

#[tokio::test]
async fn purging_walks_along_the_ids() {
    let (mut connection, sql) = database().await;
    let plan = plan(&mut connection, &sql.orders.purge).await;
    assert_looks_up(&plan, "Index Scan using order_heads_pkey on order_heads");
    assert_looks_up(&plan, "order_writes_pkey");
    assert_looks_up(&plan, "account_nonces_order");
}

#[tokio::test]
async fn lists_by_status_pass_by_what_was_confirmed() {
    let (mut connection, sql) = database().await;
    for status in Status::ALL {
        let query = OrderQuery::new(50).with_status(status);
        let text = list_statement(&sql.orders.list, &query).sql().as_str().to_owned();
        let plan = plan(&mut connection, &text).await;
        let step = match status {
            Status::Confirmed => "order_heads_pkey",
            Status::Failed => "order_states_failed",
            _ => "order_states_turn",
        };
        assert_looks_up(&plan, step);
    }
}

#[tokio::test]
async fn the_backlog_is_counted_in_indexes() {
    let (mut connection, sql) = database().await;
    for (text, step) in [
        (&sql.queue.backlog_lanes, "order_states_turn"),
        (&sql.orders.backlog_attention, "order_states_attention"),
        (&sql.outbox.backlog_sinks, "outbox_entries_due"),
    ] {
        assert_looks_up(&plan(&mut connection, text).await, step);
    }
}

#[tokio::test]
async fn outbox_entries_are_found_by_their_keys() {
    let (mut connection, sql) = database().await;
    assert_looks_up(
        &plan(&mut connection, &sql.outbox.claim_deliveries).await,
        "outbox_entries_due on outbox_entries",
    );
    assert_looks_up(
        &plan(&mut connection, &sql.outbox.ack_deliveries).await,
        "outbox_entries_pkey on outbox_entries",
    );
    assert_looks_up(
        &plan(&mut connection, &sql.outbox.claim_deliveries_events).await,
        "order_writes_pkey on order_writes",
    );
}

#[test]
fn lists_are_numbered_through() {
    assert_eq!(
        unnest("item", 3, &[IDS, REST]),
        "unnest($3::uuid[], $4::bigint[], $5::text[]::numeric[]) AS item (order_id, seq, amount)"
    );
    assert_eq!(names("item.", &[IDS, REST]), "item.order_id, item.seq, item.amount");
    assert_eq!(width(&[IDS, REST]), 3);
}

#[test]
fn every_table_is_named_with_its_schema() {
    assert_eq!(&*qualified("trading", "FROM @orders, @sinks"), r#"FROM "trading".orders, "trading".sinks"#);
}
