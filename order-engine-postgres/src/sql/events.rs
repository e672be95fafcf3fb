//! The events of orders, and the feed of them all.

use std::sync::Arc;

use order_engine_core::backend::{FailureColumns, HistoryColumns};

use super::outbox::add_entries;
use super::text::{names, qualified, unnest};
use crate::rows::{HEAD_COLUMNS, ListRow, WRITE_COLUMNS};

/// The statements that read events.
#[derive(Debug)]
pub(crate) struct EventsSql {
    pub(crate) events: Arc<str>,
    pub(crate) feed_end: Arc<str>,
    pub(crate) read_feed: Arc<str>,
    pub(crate) read_feed_of_user: Arc<str>,
}

impl EventsSql {
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        Self {
            events: text(&format!(
                "SELECT {WRITE_COLUMNS} FROM @order_writes
                WHERE order_id = $1 AND last_seq > $2 ORDER BY last_seq LIMIT $3"
            )),
            feed_end: text(&format!("SELECT {FEED_BOUND} AS bound")),
            read_feed: text(&read_feed(FEED_OF_ALL)),
            read_feed_of_user: text(&read_feed(FEED_OF_USER)),
        }
    }
}

/// The position in the feed of what this transaction writes: its number. A reader leaves out what is not older
/// than every transaction that is under way, so no event appears behind it.
pub(super) const POSITION: &str = "pg_current_xact_id()::text::bigint + (SELECT xid_offset FROM @feed)";

/// The same, once for a statement with many rows.
pub(super) fn here() -> String {
    format!("here AS MATERIALIZED (SELECT {POSITION} AS place)")
}

/// The first position that a reader leaves out.
const FEED_BOUND: &str =
    "pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (SELECT xid_offset FROM @feed)";

/// The orders of which an event has a later position than this transaction's number: it waited for a
/// transaction that began later. The events of an order stand in the feed in their own order all the same.
const LATE: &str = "late AS MATERIALIZED (
    SELECT order_id AS id, position FROM written WHERE position > (SELECT place FROM here)
)";

/// Writes the events of the orders that were `written`, and their outbox entries. The events' position is
/// `here`, unless their order is `late`.
///
/// The rows are found by a hashed look-up. A join would compare each of them with each order, because hash
/// and merge joins are turned off on these connections.
pub(super) fn insert_events(first: usize) -> String {
    let history = HistoryColumns::COLUMNS;
    let (rows, columns) = (unnest("history", first, &[history]), names("", &[history]));
    format!(
        "{LATE},
        recorded AS (
            INSERT INTO @order_writes ({columns}, position)
            SELECT {columns}, coalesce((SELECT position FROM late WHERE id = order_id), here.place)
            FROM {rows} CROSS JOIN here
            WHERE coalesce(order_id IN (SELECT order_id FROM written), false)
        ),
        {}",
        add_entries()
    )
}

/// Writes the failures among the events of the orders that were `written`.
pub(super) fn insert_failures(first: usize) -> String {
    let failure = FailureColumns::COLUMNS;
    let (rows, columns) = (unnest("failure", first, &[failure]), names("", &[failure]));
    format!(
        "failed AS (
            INSERT INTO @order_failures ({columns}) SELECT {columns} FROM {rows}
            WHERE coalesce(order_id IN (SELECT order_id FROM written), false)
        )"
    )
}

/// Reads the writes with events behind a cursor, with their orders, and the first position that is left out. Each of
/// them has an event for the page, so it needs no more of them than events. Those that stand behind its last event are
/// read, but not returned.
fn read_feed(writes: &str) -> String {
    let head = HEAD_COLUMNS.map(|column| format!("head.{column}")).join(", ");
    format!(
        "WITH bound AS MATERIALIZED (SELECT {FEED_BOUND} AS at)
        SELECT bound.at AS bound, page.*, {head}
        FROM bound
            LEFT JOIN LATERAL (
                SELECT *, sum(events) OVER (
                    ORDER BY position, order_id, last_seq ROWS UNBOUNDED PRECEDING
                ) - events AS events_before
                FROM (
                    SELECT {WRITE_COLUMNS}, position, ({EVENTS_BEHIND})::int AS events
                    FROM {writes} AND (position, order_id, last_seq) > ($1, $2, $3) AND position < bound.at
                    ORDER BY position, order_id, last_seq LIMIT $4
                ) AS writes
            ) AS page ON page.events_before < $4
            LEFT JOIN @order_heads AS head ON head.order_id = page.order_id
        ORDER BY page.position, page.order_id, page.last_seq"
    )
}

/// How many events of a write stand behind the cursor, which may point into the write.
const EVENTS_BEHIND: &str = "last_seq - CASE WHEN (position, order_id) = ($1, $2) THEN greatest(first_seq - 1, $3) ELSE first_seq - 1 END";

/// Everybody's writes.
const FEED_OF_ALL: &str = "@order_writes WHERE true";

/// The writes of a user's orders: of those that have any behind the cursor. The offset keeps PostgreSQL from
/// walking through everybody's writes instead of looking up each order's.
const FEED_OF_USER: &str =
    "(SELECT order_id AS id, position AS last_position FROM @orders WHERE user_id = $5) AS own
    CROSS JOIN LATERAL (SELECT * FROM @order_writes WHERE order_id = own.id OFFSET 0) AS writes
    WHERE last_position >= $1";
