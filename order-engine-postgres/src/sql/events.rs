//! The events of orders, and the feed of them all.

use std::sync::Arc;

use order_engine_core::backend::EventColumns;

use super::outbox::add_entries;
use super::text::{qualified, unnest};
use crate::rows::{EVENT_COLUMNS, HEAD_COLUMNS, ListRow, WriteRow};

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
                "SELECT {EVENT_COLUMNS} FROM @order_events WHERE order_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
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
/// The events are found by a hashed look-up. A join would compare each event with each order, because hash
/// and merge joins are turned off on these connections.
pub(super) fn insert_events(first: usize) -> String {
    let (events, added) =
        (unnest("event", first, &[EventColumns::COLUMNS, WriteRow::COLUMNS]), add_entries());
    format!(
        "event AS MATERIALIZED (
            SELECT * FROM {events} WHERE coalesce(event.order_id IN (SELECT order_id FROM written), false)
        ),
        {LATE},
        recorded AS (
            INSERT INTO @order_events (
                order_id, seq, at, kind, status, progress, written_at_once, attempt, max_attempts, message,
                payload_version, payload, position)
            SELECT order_id, seq, at, kind, status, progress, written_at_once, attempt, max_attempts, message,
                payload_version, payload, coalesce((SELECT position FROM late WHERE id = order_id), here.place)
            FROM event CROSS JOIN here
        ),
        failed AS (
            INSERT INTO @order_failures (order_id, seq, attempt, code, message, at)
            SELECT order_id, seq, attempt, failure_code, failure_message, at FROM event
            WHERE failure_code IS NOT NULL
        ),
        {added}"
    )
}

/// Reads the events behind a cursor, with their orders, and the first position that is left out.
fn read_feed(events: &str) -> String {
    let head = HEAD_COLUMNS.map(|column| format!("orders.{column}")).join(", ");
    format!(
        "WITH bound AS MATERIALIZED (SELECT {FEED_BOUND} AS at)
        SELECT bound.at AS bound, page.*, {head}
        FROM bound
            LEFT JOIN LATERAL (
                SELECT {EVENT_COLUMNS}, position FROM ({events}) AS event
                WHERE (position, order_id, seq) > ($1, $2, $3) AND position < bound.at
                ORDER BY position, order_id, seq LIMIT $4
            ) AS page ON true
            LEFT JOIN @orders AS orders ON orders.order_id = page.order_id
        ORDER BY page.position, page.order_id, page.seq"
    )
}

/// Everybody's events. The index has the first event of each write, so this finds the writes that end behind the
/// cursor, and then their events. Each of these writes has an event for the page, so it needs no more of them than
/// events. That the positions are the same tells PostgreSQL that the events come nearly in their order, write by
/// write, so it sorts them a few at a time and stops when the page is full.
const FEED_OF_ALL: &str = "SELECT events.* FROM (
        SELECT order_id AS id, position AS place, seq AS first_seq, seq + written_at_once - 1 AS last_seq
        FROM @order_events
        WHERE written_at_once > 0 AND (position, order_id, seq + written_at_once - 1) > ($1, $2, $3)
            AND position < bound.at
        ORDER BY position, order_id, seq LIMIT $4
    ) AS write
    JOIN @order_events AS events
        ON events.order_id = id AND events.position = place AND events.seq >= first_seq AND events.seq <= last_seq";

/// The events of a user's orders: of those that have any behind the cursor. The offset keeps PostgreSQL from
/// walking through everybody's events instead of looking up each order's.
const FEED_OF_USER: &str = "SELECT events.* FROM @orders AS own
    CROSS JOIN LATERAL (
        SELECT * FROM @order_events AS events WHERE events.order_id = own.order_id OFFSET 0
    ) AS events
    WHERE own.user_id = $5 AND own.position >= $1";
