//! The statements, in one place, and what SQLite makes of them.
//!
//! A limit is written `+?`. SQLite fits a plan to the very value of a bare `?` there, and prepares the
//! statement anew whenever another value is bound, which for short reads costs more than reading.

use crate::rows::{AppendRow, EventRow, OrderRow, event_columns, order_columns};
use crate::statement::ListStatement;

pub(crate) const INSERT_ORDERS: ListStatement = ListStatement {
    before: "INSERT INTO orders (
        status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code, error_message,
        attention, updated_at, seq, state_version, state, lane,
        order_id, user_id, client_order_id, origin, order_type, input_token, input_symbol, input_decimals,
        output_token, output_symbol, output_decimals, amount, slippage_bps, expires_at, created_at, payload_version,
        request, due_at)",
    columns: OrderRow::COUNT,
    // Whether there are sinks to be owed comes along for free; the subquery runs once.
    after: "ON CONFLICT DO NOTHING RETURNING order_id, EXISTS (SELECT 1 FROM sinks)",
};

pub(crate) const INSERT_EVENTS: ListStatement = ListStatement {
    before: "INSERT INTO order_events (
        order_id, seq, at, kind, status, progress, attempt, max_attempts, message, payload_version, payload)",
    columns: EventRow::COUNT,
    after: "",
};

pub(crate) const INSERT_FAILURES: ListStatement = ListStatement {
    before: "INSERT INTO order_failures (order_id, seq, attempt, code, message, at)",
    columns: 6,
    after: "",
};

/// A row is updated only if it has the expected revision, under a fence that very lease, and if it is not
/// too late. A terminal order has no lane; it loses its lease and its due time whatever is asked.
pub(crate) const UPDATE_ORDERS: ListStatement = ListStatement {
    before: "WITH item (
        status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code, error_message,
        attention, updated_at, seq, state_version, state, lane,
        order_id, expected_seq, epoch, owner, revoke_due_at, release_due_at, is_too_late) AS (",
    columns: AppendRow::COUNT,
    after: ")
    UPDATE orders SET
        status = item.status, attempt = item.attempt, max_attempts = item.max_attempts, chosen_dex = item.chosen_dex,
        tx_hash = item.tx_hash, execution_price = item.execution_price, amount_out = item.amount_out,
        error_code = item.error_code, error_message = item.error_message, attention = item.attention,
        updated_at = item.updated_at,
        seq = item.seq, state_version = item.state_version, state = item.state, lane = item.lane,
        lease_epoch = lease_epoch + (item.revoke_due_at IS NOT NULL AND lease_owner IS NOT NULL),
        lease_owner = CASE
            WHEN item.lane IS NULL OR item.revoke_due_at IS NOT NULL OR item.release_due_at IS NOT NULL THEN NULL
            ELSE lease_owner END,
        due_at = CASE
            WHEN item.lane IS NULL THEN NULL
            WHEN item.release_due_at IS NOT NULL THEN item.release_due_at
            WHEN item.revoke_due_at IS NOT NULL AND lease_owner IS NOT NULL THEN item.revoke_due_at
            ELSE due_at END,
        claims_without_progress = CASE WHEN item.epoch IS NULL THEN claims_without_progress ELSE 0 END
    FROM item
    WHERE orders.order_id = item.order_id AND orders.seq = item.expected_seq
        AND (item.epoch IS NULL OR (orders.lease_epoch = item.epoch AND orders.lease_owner = item.owner))
        AND NOT item.is_too_late
    RETURNING order_id, EXISTS (SELECT 1 FROM sinks)",
};

pub(crate) const RENEW: ListStatement = ListStatement {
    before: "WITH item (order_id, epoch, owner, until) AS (",
    columns: 4,
    after: ")
    UPDATE orders SET due_at = item.until
    FROM item
    WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner
    RETURNING order_id, lease_epoch, lease_owner",
};

pub(crate) const GIVE_BACK: ListStatement = ListStatement {
    before: "WITH item (order_id, epoch, owner, due_at, innocent, attention) AS (",
    columns: 6,
    after: ")
    UPDATE orders SET
        due_at = item.due_at, lease_owner = NULL, claims_without_progress = max(0, claims_without_progress - item.innocent),
        attention = coalesce(item.attention, orders.attention)
    FROM item
    WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner
    RETURNING order_id",
};

pub(crate) const LEASE: &str = "UPDATE orders SET
        lease_epoch = lease_epoch + 1, lease_owner = ?, due_at = ?, claims_without_progress = claims_without_progress + 1
    WHERE rowid IN (SELECT value FROM json_each(?))";

/// A lease is its order's own business; a wait is not.
pub(crate) const MAKE_DUE: &str = "UPDATE orders SET due_at = ?1
    WHERE order_id IN (SELECT value FROM json_each(?2)) AND due_at > ?1 AND lease_owner IS NULL";

/// The sinks are owed the events of an order from some number on.
pub(crate) const OWE: ListStatement = ListStatement {
    before: "WITH item (order_id, delivered_seq, now) AS (",
    columns: 3,
    after: ")
    INSERT INTO outbox_entries (order_id, sink, delivered_seq, pending_since, due_at)
    SELECT item.order_id, sinks.name, item.delivered_seq, item.now, item.now FROM item CROSS JOIN sinks WHERE true
    ON CONFLICT DO NOTHING",
};

pub(crate) const DUE_DEBTS: &str = "SELECT order_id, delivered_seq, lease_epoch, failures FROM outbox_entries
    WHERE sink = ? AND due_at <= ? ORDER BY due_at LIMIT +?";

pub(crate) const LEASE_DEBTS: &str = "UPDATE outbox_entries SET
        lease_epoch = lease_epoch + 1, lease_owner = ?, due_at = ?
    WHERE sink = ? AND order_id IN (SELECT value FROM json_each(?))";

pub(crate) const NEXT_DEBT_DUE: &str =
    "SELECT due_at FROM outbox_entries WHERE sink = ? ORDER BY due_at LIMIT 1";

/// Removes the debts under these leases that are paid: the order has no event after those delivered.
pub(crate) const PAY_OFF: ListStatement = ListStatement {
    before: "WITH item (order_id, sink, epoch, owner, delivered_seq, now, retry_at) AS (",
    columns: 7,
    after: ")
    DELETE FROM outbox_entries WHERE (order_id, sink) IN (
        SELECT debt.order_id, debt.sink
        FROM item
            CROSS JOIN outbox_entries AS debt ON debt.order_id = item.order_id AND debt.sink = item.sink
            LEFT JOIN orders ON orders.order_id = item.order_id
        WHERE debt.lease_epoch = item.epoch AND debt.lease_owner = item.owner
            AND item.delivered_seq >= coalesce(orders.seq, 0)
    )
    RETURNING order_id, sink, lease_epoch",
};

/// Gives the debts under these leases back, that are not paid off.
pub(crate) const SETTLE: ListStatement = ListStatement {
    before: PAY_OFF.before,
    columns: PAY_OFF.columns,
    after: ")
    UPDATE outbox_entries SET
        delivered_seq = coalesce(item.delivered_seq, outbox_entries.delivered_seq),
        pending_since = CASE WHEN item.retry_at IS NULL THEN item.now ELSE pending_since END,
        failures = CASE WHEN item.retry_at IS NULL THEN 0 ELSE failures + 1 END,
        due_at = coalesce(item.retry_at, item.now),
        lease_owner = NULL
    FROM item
    WHERE outbox_entries.order_id = item.order_id AND outbox_entries.sink = item.sink
        AND lease_epoch = item.epoch AND lease_owner = item.owner
    RETURNING order_id, sink, lease_epoch",
};

/// Joined rather than by `IN`, for which SQLite would build a table of the ids first.
pub(crate) const LOAD: &str = concat!(
    "SELECT ",
    order_columns!(),
    " FROM json_each(?) AS wanted CROSS JOIN orders ON order_id = wanted.value"
);

/// As the orders themselves.
pub(crate) const HEADS: &str =
    "SELECT order_id, seq FROM json_each(?) AS wanted CROSS JOIN orders ON order_id = wanted.value";

/// The events of an order after one.
pub(crate) const EVENTS: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM order_events WHERE order_id = ? AND seq > ? ORDER BY seq LIMIT +?"
);

/// The events of debts, each given by its order and the range of its numbers.
pub(crate) const OWED_EVENTS: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM json_each(?) AS debt CROSS JOIN order_events
        ON order_id = debt.value ->> 0 AND seq > debt.value ->> 1 AND seq <= debt.value ->> 2
    ORDER BY order_id, seq"
);

/// All of it stands in the index of due orders.
pub(crate) const BACKLOG_LANES: &str = "SELECT lane, COUNT(*), SUM(due_at <= ?), MIN(due_at) FROM orders
    WHERE due_at IS NOT NULL GROUP BY lane";

pub(crate) const BACKLOG_ATTENTION: &str = "SELECT COUNT(*) FROM orders WHERE attention IS NOT NULL";

pub(crate) const BACKLOG_SINKS: &str = "SELECT name, COUNT(order_id), MIN(pending_since)
    FROM sinks LEFT JOIN outbox_entries ON sink = name GROUP BY name ORDER BY name";

pub(crate) const FORGET_DEBTS: &str = "DELETE FROM outbox_entries
    WHERE (order_id, sink) IN (SELECT order_id, sink FROM outbox_entries WHERE sink = ? LIMIT +?)";

/// A page of a walk over all orders, with whether each may be forgotten.
pub(crate) const PURGEABLE: &str = "SELECT order_id,
        status IN ('confirmed', 'failed')
            AND updated_at < CASE WHEN client_order_id IS NULL THEN ?1 ELSE ?2 END
            AND NOT EXISTS (SELECT 1 FROM outbox_entries WHERE outbox_entries.order_id = orders.order_id)
    FROM orders WHERE order_id > ?3 ORDER BY order_id LIMIT +?4";

pub(crate) const PURGE: [&str; 3] = [
    "DELETE FROM order_events WHERE order_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM order_failures WHERE order_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM orders WHERE order_id IN (SELECT value FROM json_each(?))",
];

/// What [`Transaction::due_rows`] reads.
macro_rules! select_due {
    ($filter:literal) => {
        concat!(
            "SELECT ",
            order_columns!(),
            ", rowid, lease_epoch, claims_without_progress FROM orders WHERE ",
            $filter,
            " ORDER BY due_at LIMIT +?"
        )
    };
}

pub(crate) const DUE: &str = select_due!("lane = ? AND due_at IS NOT NULL AND due_at <= ?");

/// The plus signs keep SQLite from walking through all due orders instead of the few that are asked for.
pub(crate) const DUE_OF_IDS: &str =
    select_due!("+lane = ? AND +due_at <= ? AND order_id IN (SELECT value FROM json_each(?))");

pub(crate) const NEXT_DUE: &str =
    "SELECT due_at FROM orders WHERE lane = ? AND due_at IS NOT NULL ORDER BY due_at LIMIT 1";

/// The order that has this name, or else this id.
pub(crate) const EXISTING: &str = concat!(
    "SELECT ",
    order_columns!(),
    " FROM orders WHERE order_id = ?1 OR (user_id = ?2 AND client_order_id = ?3)
    ORDER BY user_id = ?2 AND client_order_id = ?3 DESC LIMIT 1"
);

pub(crate) const FENCE: &str = "SELECT seq, lease_epoch, lease_owner FROM orders WHERE order_id = ?";

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row, SqliteConnection};

    use order_engine_core::{OrderQuery, Status};

    use super::*;
    use crate::options::SqliteOptions;
    use crate::read::list_statement;
    use crate::{connect, migrate};

    async fn database(folder: &tempfile::TempDir) -> SqliteConnection {
        let options = SqliteOptions::new(folder.path().join("orders.db"));
        let mut connection = connect::first_writer(&options).await.unwrap();
        migrate::run(&mut connection).await.unwrap();
        connection
    }

    /// SQLite's plan, one line a step.
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
        let list = list_statement(&OrderQuery { limit: 50, ..OrderQuery::default() });
        for sql in [DUE, DUE_OF_IDS, DUE_DEBTS, FORGET_DEBTS, PURGEABLE, EVENTS, list.sql().as_str()] {
            assert!(sql.contains("LIMIT +?"), "{sql}");
        }
    }

    #[tokio::test]
    async fn claims_walk_along_the_index_of_due_orders() {
        for sql in [DUE, NEXT_DUE] {
            let plan = plan(sql.to_owned()).await;
            assert!(
                plan.contains("USING INDEX orders_due") || plan.contains("USING COVERING INDEX orders_due")
            );
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    #[tokio::test]
    async fn claims_by_ids_look_their_orders_up() {
        let plan = plan(DUE_OF_IDS.to_owned()).await;
        assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id=?)"), "{plan}");
        assert!(!plan.contains("orders_due") && !plan.contains("SCAN orders"), "{plan}");
    }

    #[tokio::test]
    async fn orders_are_looked_up_by_their_ids_without_a_table_of_them() {
        for sql in [LOAD, HEADS] {
            let plan = plan(sql.to_owned()).await;
            assert!(
                plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id=?)"),
                "{plan}"
            );
            assert!(!plan.contains("LIST SUBQUERY") && !plan.contains("SCAN orders"), "{plan}");
        }
    }

    #[tokio::test]
    async fn leases_are_written_by_rowid() {
        let plan = plan(LEASE.to_owned()).await;
        assert!(plan.contains("SEARCH orders USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
    }

    #[tokio::test]
    async fn lists_look_their_orders_up() {
        for statement in [UPDATE_ORDERS, RENEW, GIVE_BACK] {
            for rows in [1, 256] {
                let plan = plan(statement.text(rows)).await;
                assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1"), "{plan}");
                assert!(!plan.contains("SCAN orders") && !plan.contains("AUTOMATIC"), "{plan}");
            }
        }
    }

    #[tokio::test]
    async fn rousing_and_purging_look_their_orders_up() {
        for sql in [MAKE_DUE].into_iter().chain(PURGE) {
            let plan = plan(sql.to_owned()).await;
            assert!(plan.contains("SEARCH") && !plan.contains("SCAN order"), "{plan}");
        }
        let plan = plan(PURGEABLE.to_owned()).await;
        assert!(plan.contains("SEARCH orders USING INDEX sqlite_autoindex_orders_1 (order_id>?)"), "{plan}");
        assert!(plan.contains("SEARCH outbox_entries USING") && !plan.contains("TEMP B-TREE"), "{plan}");
    }

    #[tokio::test]
    async fn lists_by_status_pass_by_what_was_confirmed() {
        for status in Status::ALL {
            let query = OrderQuery { status: Some(status), limit: 50, ..OrderQuery::default() };
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
    async fn debts_are_found_by_their_keys() {
        for sql in [DUE_DEBTS, NEXT_DEBT_DUE] {
            let plan = plan(sql.to_owned()).await;
            assert!(
                plan.contains("USING INDEX outbox_entries_due")
                    || plan.contains("USING COVERING INDEX outbox_entries_due"),
                "{plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
        let events = plan(OWED_EVENTS.to_owned()).await;
        assert!(
            events.contains("SEARCH order_events USING")
                && events.contains("(order_id=? AND seq>? AND seq<?)"),
            "{events}"
        );
        for statement in [PAY_OFF, SETTLE] {
            for rows in [1, 64] {
                let plan = plan(statement.text(rows)).await;
                assert!(
                    plan.contains("SEARCH outbox_entries USING PRIMARY KEY (order_id=? AND sink=?)"),
                    "{plan}"
                );
                assert!(
                    !plan.contains("SCAN outbox_entries")
                        && !plan.contains("SCAN debt")
                        && !plan.contains("SCAN orders"),
                    "{plan}"
                );
            }
        }
    }

    #[tokio::test]
    async fn existing_orders_are_looked_up_by_both_their_names() {
        let plan = plan(EXISTING.to_owned()).await;
        assert!(plan.contains("sqlite_autoindex_orders_1 (order_id=?)"), "{plan}");
        assert!(plan.contains("orders_client_order_id (user_id=? AND client_order_id=?)"), "{plan}");
        assert!(!plan.contains("SCAN orders"), "{plan}");
    }
}
