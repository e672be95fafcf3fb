//! The statements, in one place. Each carries the name of the store's method that runs it.
//!
//! A limit is written `+?`. SQLite fits a plan to the very value of a bare `?` there, and prepares the
//! statement anew whenever another value is bound, which for short reads costs more than reading.

use std::sync::LazyLock;

use order_engine_core::backend::{FailureColumns, HistoryColumns, RequestColumns, StateColumns};
use order_engine_core::store::Lease;

use crate::rows::{
    AckRow, FirstLeaseRow, GuardRow, GuardTimesRow, ItemRow, OutboxRow, ReleaseRow, RetryRow, TurnRow,
    head_columns, order_columns, write_columns,
};

/// Returns a statement that inserts a row with these columns, in parts.
fn insert(table: &str, columns: &[&[&str]], rest: &str) -> String {
    let names = columns.concat();
    let values = vec!["?"; names.len()].join(", ");
    format!("INSERT INTO {table} ({}) VALUES ({values}) {rest}", names.join(", "))
}

/// Returns a statement in which `:column` stands for the value of a column, of these, in parts. SQLite would number
/// them by their places in the text.
fn with(columns: &[&[&str]], text: &str) -> String {
    let names = columns.concat();
    let mut parts = text.split(':');
    let first = parts.next().map(str::to_owned);
    let numbered = parts.map(|part| {
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let number = names.iter().position(|column| *column == name).map_or(0, |index| index + 1);
        debug_assert!(number > 0, "{name}");
        format!("?{number}{rest}")
    });
    first.into_iter().chain(numbered).collect()
}

/// When the turn of an order comes that is due at a time, as `turn_at` has it: nothing if that is the same time.
macro_rules! turn_at {
    ($due_at:literal) => {
        concat!("nullif(max(", $due_at, ", handicap_until) - head_start, ", $due_at, ")")
    };
}

/// The same without a head start, for the expiry of a lease: claims would have to pass by leased orders.
macro_rules! leased_turn_at {
    ($due_at:literal) => {
        concat!("nullif(max(", $due_at, ", handicap_until), ", $due_at, ")")
    };
}

/// What never changes of an order, to be joined with its events.
macro_rules! heads {
    () => {
        concat!("(SELECT order_id, user_id, ", head_columns!(), " FROM orders)")
    };
}

/// Inserts an order that conflicts with no existing one.
pub(crate) static CREATE: LazyLock<String> = LazyLock::new(|| {
    insert(
        "orders",
        &[StateColumns::COLUMNS, RequestColumns::COLUMNS, FirstLeaseRow::COLUMNS, TurnRow::COLUMNS],
        "ON CONFLICT DO NOTHING",
    )
});

/// The order that a new one conflicts with: the one with its client order id, or else the one with its id.
pub(crate) const CREATE_EXISTING: &str = concat!(
    "SELECT ",
    order_columns!(),
    " FROM orders WHERE order_id = ?1 OR (user_id = ?2 AND client_order_id = ?3)
    ORDER BY user_id = ?2 AND client_order_id = ?3 DESC LIMIT 1"
);

/// Updates a row only if it has the expected revision, under a fence only with that very lease, and only if
/// it is not too late. An order without a lane loses its lease and its due time, whatever the append says.
pub(crate) static APPEND: LazyLock<String> = LazyLock::new(|| {
    with(
        &[StateColumns::COLUMNS, GuardRow::COLUMNS, GuardTimesRow::COLUMNS],
        concat!(
            "UPDATE orders SET
        status = :status, attempt = :attempt, max_attempts = :max_attempts, chosen_dex = :chosen_dex,
        tx_hash = :tx_hash, execution_price = :execution_price, amount_out = :amount_out,
        error_code = :error_code, error_message = :error_message, attention = :attention,
        updated_at = :updated_at,
        seq = :seq, state_version = :state_version, state = :state, lane = :lane,
        lease_epoch = lease_epoch + (:revoke_due_at IS NOT NULL AND lease_owner IS NOT NULL),
        lease_owner = CASE
            WHEN :lane IS NULL OR :revoke_due_at IS NOT NULL OR :release_due_at IS NOT NULL THEN NULL
            ELSE lease_owner END,
        due_at = CASE
            WHEN :lane IS NULL THEN NULL
            WHEN :release_due_at IS NOT NULL THEN :release_due_at
            WHEN :revoke_due_at IS NOT NULL AND lease_owner IS NOT NULL THEN :revoke_due_at
            ELSE due_at END,
        turn_at = CASE
            WHEN :lane IS NULL THEN NULL
            WHEN :release_due_at IS NOT NULL THEN ",
            turn_at!(":release_due_at"),
            "
            WHEN :revoke_due_at IS NOT NULL AND lease_owner IS NOT NULL THEN ",
            turn_at!(":revoke_due_at"),
            "
            ELSE turn_at END,
        claims_without_progress = CASE WHEN :epoch IS NULL THEN claims_without_progress ELSE 0 END
    WHERE order_id = :order_id AND seq = :expected_seq
        AND (:epoch IS NULL OR (lease_epoch = :epoch AND lease_owner = :owner))
        AND NOT :is_too_late"
        ),
    )
});

/// What an order's row has of what the guard of an append compares, to say why it was not written.
pub(crate) const APPEND_REFUSAL: &str = "SELECT seq, lease_epoch, lease_owner FROM orders WHERE order_id = ?";

/// The lowest nonce from `?3` on that is not reserved for the account `?2` on the venue `?1`: that one, or the first one
/// behind a reserved one. It reads the reserved ones up to the first gap.
macro_rules! free_nonce {
    () => {
        "SELECT CASE
            WHEN NOT EXISTS (SELECT 1 FROM account_nonces WHERE venue = ?1 AND account = ?2 AND value = ?3) THEN ?3
            ELSE (
                SELECT value + 1 FROM account_nonces AS reserved
                WHERE venue = ?1 AND account = ?2 AND value >= ?3 AND NOT EXISTS (
                    SELECT 1 FROM account_nonces AS next
                    WHERE next.venue = ?1 AND next.account = ?2 AND next.value = reserved.value + 1
                )
                ORDER BY value LIMIT 1
            )
        END"
    };
}

/// Reserves a nonce for an order if it is the free one.
pub(crate) const RESERVE_NONCE: &str = concat!(
    "INSERT INTO account_nonces (venue, account, value, order_id) SELECT ?1, ?2, ?4, ?5 WHERE ?4 = (",
    free_nonce!(),
    ")"
);

/// The nonce that can be reserved, to say why another one was not.
pub(crate) const FREE_NONCE: &str = free_nonce!();

/// The events of orders that were created or appended to.
pub(crate) static INSERT_EVENTS: LazyLock<String> =
    LazyLock::new(|| insert("order_writes", &[HistoryColumns::COLUMNS], ""));

/// The failures among those events.
pub(crate) static INSERT_FAILURES: LazyLock<String> =
    LazyLock::new(|| insert("order_failures", &[FailureColumns::COLUMNS], ""));

/// Whether any sink is registered.
pub(crate) const HAS_SINKS: &str = "SELECT EXISTS (SELECT 1 FROM sinks)";

/// Adds an outbox entry of an order for each sink that has none yet.
pub(crate) static INSERT_OUTBOX_ENTRIES: LazyLock<String> = LazyLock::new(|| {
    with(
        &[OutboxRow::COLUMNS, &["now"]],
        "INSERT INTO outbox_entries (order_id, sink, delivered_seq, pending_since, due_at)
    SELECT :order_id, name, :delivered_seq, :now, :now FROM sinks WHERE true
    ON CONFLICT DO NOTHING",
    )
});

/// The columns that a claim reads of the orders that it is about to lease.
macro_rules! claim_columns {
    () => {
        concat!(order_columns!(), ", orders.rowid AS row_id, lease_epoch, claims_without_progress")
    };
}

/// The due orders whose turn has come, by their turns, and then the others, by their due times. Both parts of the
/// first list come in order from an index, so it reads no more of them than it takes, beside the few orders
/// whose head start lets their turn come before they are due. The second list is read only if the first one has
/// too few, and then passes by no more than those.
pub(crate) const CLAIM_DUE: &str = concat!(
    "SELECT ",
    claim_columns!(),
    " FROM (
        SELECT * FROM (
            SELECT rowid AS due_id, due_at AS at FROM orders
            WHERE lane = ?1 AND turn_at IS NULL AND due_at IS NOT NULL AND due_at <= ?2
            UNION ALL
            SELECT rowid, turn_at FROM orders WHERE lane = ?1 AND turn_at <= ?2 AND due_at <= ?2
            ORDER BY at LIMIT +?3
        )
        UNION ALL
        SELECT * FROM (
            SELECT rowid, due_at FROM orders WHERE lane = ?1 AND turn_at > ?2 AND due_at <= ?2
            ORDER BY due_at LIMIT +?3
        )
        LIMIT +?3
    ) CROSS JOIN orders ON orders.rowid = due_id"
);

/// The plus signs keep SQLite from walking through all due orders instead of looking up the one.
pub(crate) const CLAIM_ORDER: &str = concat!(
    "SELECT ",
    claim_columns!(),
    " FROM orders WHERE +lane = ?1 AND +due_at <= ?2 AND order_id = ?4 LIMIT +?3"
);

pub(crate) const CLAIM_LEASE: &str = concat!(
    "UPDATE orders SET
        lease_epoch = lease_epoch + 1, lease_owner = ?1, due_at = ?2, turn_at = ",
    leased_turn_at!("?2"),
    ", claims_without_progress = claims_without_progress + 1
    WHERE rowid = ?3"
);

pub(crate) const CLAIM_NEXT_DUE: &str = "SELECT min(due_at) FROM (
        SELECT min(due_at) AS due_at FROM orders WHERE lane = ?1 AND turn_at IS NULL AND due_at IS NOT NULL
        UNION ALL
        SELECT min(due_at) FROM orders WHERE lane = ?1 AND turn_at IS NOT NULL
    )";

pub(crate) static RENEW: LazyLock<String> = LazyLock::new(|| {
    with(
        &[Lease::COLUMNS, &["until"]],
        concat!(
            "UPDATE orders SET due_at = :until, turn_at = ",
            leased_turn_at!(":until"),
            "
    WHERE order_id = :order_id AND lease_epoch = :epoch AND lease_owner = :owner"
        ),
    )
});

pub(crate) static RELEASE: LazyLock<String> = LazyLock::new(|| {
    with(
        &[Lease::COLUMNS, ReleaseRow::COLUMNS],
        concat!(
            "UPDATE orders SET
        due_at = :due_at, turn_at = ",
            turn_at!(":due_at"),
            ",
        lease_owner = NULL, claims_without_progress = max(0, claims_without_progress - :yielded),
        attention = coalesce(:attention, attention)
    WHERE order_id = :order_id AND lease_epoch = :epoch AND lease_owner = :owner"
        ),
    )
});

/// Ends a wait. The due time of a leased order is the expiry of its lease, which stays as it is.
pub(crate) const MAKE_DUE: &str = concat!(
    "UPDATE orders SET due_at = ?1, turn_at = ",
    turn_at!("?1"),
    " WHERE order_id = ?2 AND due_at > ?1 AND lease_owner IS NULL"
);

pub(crate) const LOAD: &str = concat!("SELECT ", order_columns!(), " FROM orders WHERE order_id = ?");
pub(crate) const LOAD_NAMED: &str =
    concat!("SELECT ", order_columns!(), " FROM orders WHERE user_id = ? AND client_order_id = ?");

/// The number at which the write begins that has an event of an order, or the first write after that event.
macro_rules! write_with {
    ($order_id:literal, $seq:literal) => {
        concat!(
            "coalesce((SELECT max(first_seq) FROM order_writes AS earlier
            WHERE earlier.order_id = ",
            $order_id,
            " AND earlier.first_seq <= ",
            $seq,
            "), 0)"
        )
    };
}

/// The writes that have an order's events `?2` to `?3`.
pub(crate) const EVENTS: &str = concat!(
    "SELECT ",
    write_columns!(),
    " FROM order_writes WHERE order_id = ?1 AND first_seq <= ?3 AND first_seq >= ",
    write_with!("?1", "?2"),
    " ORDER BY first_seq"
);

/// Joined rather than by `IN`, for which SQLite would build a table of the ids first.
pub(crate) const LAST_SEQS: &str =
    "SELECT order_id, seq FROM json_each(?) AS wanted CROSS JOIN orders ON order_id = wanted.value";

/// Conditions, an order and a limit follow.
pub(crate) const LIST: &str = concat!("SELECT ", order_columns!(), " FROM orders WHERE true");

pub(crate) const DUE_ORDERS: &str = "SELECT order_id FROM (
        SELECT rowid AS due_id, due_at FROM orders
        WHERE lane = ?1 AND turn_at IS NULL AND due_at IS NOT NULL AND due_at <= ?2
        UNION ALL
        SELECT rowid, due_at FROM orders WHERE lane = ?1 AND turn_at IS NOT NULL AND due_at <= ?2
        ORDER BY due_at LIMIT +?3
    ) CROSS JOIN orders ON orders.rowid = due_id";

/// Reads the indexes of due orders only, and gives a lane up to two rows.
pub(crate) const BACKLOG_LANES: &str =
    "SELECT lane, COUNT(*) AS orders, SUM(due_at <= ?1) AS due, MIN(due_at) AS first_due_at
    FROM orders WHERE turn_at IS NULL AND due_at IS NOT NULL GROUP BY lane
    UNION ALL
    SELECT lane, COUNT(*), SUM(due_at <= ?1), MIN(due_at)
    FROM orders WHERE turn_at IS NOT NULL GROUP BY lane";

pub(crate) const BACKLOG_ATTENTION: &str = "SELECT COUNT(*) FROM orders WHERE attention IS NOT NULL";

pub(crate) const BACKLOG_SINKS: &str =
    "SELECT name, COUNT(order_id) AS orders, MIN(pending_since) AS pending_since
    FROM sinks LEFT JOIN outbox_entries ON sink = name GROUP BY name ORDER BY name";

/// A page of a walk over all orders, with whether each may be deleted.
pub(crate) const PURGE_PAGE: &str = "SELECT order_id,
        status IN ('confirmed', 'failed')
            AND updated_at < CASE WHEN client_order_id IS NULL THEN ?1 ELSE ?2 END
            AND NOT EXISTS (SELECT 1 FROM outbox_entries WHERE outbox_entries.order_id = orders.order_id)
        AS is_purgeable
    FROM orders WHERE order_id > ?3 ORDER BY order_id LIMIT +?4";

pub(crate) const PURGE: [&str; 4] = [
    "DELETE FROM order_writes WHERE order_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM order_failures WHERE order_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM account_nonces WHERE order_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM orders WHERE order_id IN (SELECT value FROM json_each(?))",
];

pub(crate) const CHECK: &str = "INSERT OR REPLACE INTO writable (id, checked_at) VALUES (1, ?)";

pub(crate) const REGISTER_SINKS: &str = "INSERT INTO sinks (name) VALUES (?) ON CONFLICT DO NOTHING";

pub(crate) const UNREGISTER_SINK: &str = "DELETE FROM sinks WHERE name = ?";

pub(crate) const UNREGISTER_SINK_ENTRIES: &str = "DELETE FROM outbox_entries
    WHERE (order_id, sink) IN (SELECT order_id, sink FROM outbox_entries WHERE sink = ? LIMIT +?)";

pub(crate) const CLAIM_DELIVERIES_DUE: &str =
    "SELECT order_id, delivered_seq, lease_epoch, failures FROM outbox_entries
    WHERE sink = ? AND due_at <= ? ORDER BY due_at LIMIT +?";

pub(crate) const CLAIM_DELIVERIES_LEASE: &str = "UPDATE outbox_entries SET
        lease_epoch = lease_epoch + 1, lease_owner = ?, due_at = ?
    WHERE sink = ? AND order_id IN (SELECT value FROM json_each(?))";

pub(crate) const CLAIM_DELIVERIES_NEXT_DUE: &str =
    "SELECT due_at FROM outbox_entries WHERE sink = ? ORDER BY due_at LIMIT 1";

/// The writes that have the events of outbox entries, each given by its order and the first and the last number of
/// its events, with their orders.
pub(crate) const CLAIM_DELIVERIES_EVENTS: &str = concat!(
    "SELECT entry.value ->> 1 AS wanted_from, entry.value ->> 2 AS wanted_to, ",
    write_columns!(),
    ", ",
    head_columns!(),
    " FROM json_each(?) AS entry CROSS JOIN order_writes
        ON order_writes.order_id = entry.value ->> 0 AND first_seq <= entry.value ->> 2 AND first_seq >= ",
    write_with!("entry.value ->> 0", "entry.value ->> 1"),
    "
    CROSS JOIN ",
    heads!(),
    " USING (order_id)
    ORDER BY order_id, first_seq"
);

/// Deletes an entry under a lease if it is delivered in full: the order has no event after those acknowledged.
pub(crate) static ACK_DELIVERIES_DELETE: LazyLock<String> = LazyLock::new(|| {
    with(
        &[Lease::COLUMNS, AckRow::COLUMNS],
        "DELETE FROM outbox_entries
    WHERE order_id = :order_id AND sink = :sink AND lease_epoch = :epoch AND lease_owner = :owner
        AND :delivered_seq >= coalesce((SELECT seq FROM orders WHERE orders.order_id = :order_id), 0)",
    )
});

/// Releases an entry under a lease.
pub(crate) static ACK_DELIVERIES_RELEASE: LazyLock<String> = LazyLock::new(|| {
    with(
        &[Lease::COLUMNS, AckRow::COLUMNS, RetryRow::COLUMNS],
        "UPDATE outbox_entries SET
        delivered_seq = coalesce(:delivered_seq, delivered_seq),
        pending_since = CASE WHEN :retry_at IS NULL THEN :now ELSE pending_since END,
        failures = CASE WHEN :retry_at IS NULL THEN 0 ELSE failures + 1 END,
        due_at = coalesce(:retry_at, :now),
        lease_owner = NULL
    WHERE order_id = :order_id AND sink = :sink AND lease_epoch = :epoch AND lease_owner = :owner",
    )
});

/// Where the feed goes on after a position, and where it ends.
pub(crate) const FEED_BOUNDS: &str =
    "SELECT (SELECT min(position) FROM order_writes WHERE position >= ?) AS first_position,
        (SELECT max(position) FROM order_writes) AS last_position";

/// The writes between two positions that have events after a cursor, with their orders; only one user's, if a user is
/// given.
pub(crate) const READ_FEED: &str = concat!(
    "SELECT position, ",
    write_columns!(),
    ", ",
    head_columns!(),
    " FROM order_writes CROSS JOIN ",
    heads!(),
    " USING (order_id)
    WHERE position BETWEEN ?1 AND ?2 AND (position, order_id, last_seq) > (?3, ?4, ?5)
        AND (?6 IS NULL OR user_id = ?6)
    ORDER BY position LIMIT +?7"
);

/// What is paused already keeps its time.
pub(crate) const PAUSE: &str = "INSERT INTO pauses (activity, scope, reason, since) VALUES (?, ?, ?, ?)
    ON CONFLICT (activity, scope) DO UPDATE SET reason = excluded.reason";

pub(crate) const RESUME: &str = "DELETE FROM pauses WHERE activity = ? AND scope = ?";

pub(crate) const PAUSES: &str = "SELECT activity, scope, reason, since FROM pauses";

#[cfg(test)]
mod tests;
