//! The statements, in one place. Each carries the name of the store's method that runs it.
//!
//! Each write is one statement, so it is one transaction and one round trip. An `@` stands for the
//! schema: nothing relies on a search path, which a host's transaction or a proxy may have changed.

use std::sync::Arc;

use order_engine_core::backend::{
    AppendColumns, EventColumns, NewOrderColumns, ReleaseColumns, RequestColumns, StateColumns,
};
use order_engine_core::store::Lease;

use crate::rows::{AckRow, Column, EVENT_COLUMNS, HEAD_COLUMNS, ListRow, ORDER_COLUMNS, RangeRow};

/// The statements for one schema.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) now: Arc<str>,
    pub(crate) create: Arc<str>,
    pub(crate) create_in: Arc<str>,
    pub(crate) create_in_texts: Arc<str>,
    pub(crate) create_existing: Arc<str>,
    pub(crate) append: Arc<str>,
    pub(crate) append_refusals: Arc<str>,
    pub(crate) claim: Arc<str>,
    pub(crate) claim_order: Arc<str>,
    pub(crate) renew: Arc<str>,
    pub(crate) renew_current: Arc<str>,
    pub(crate) release: Arc<str>,
    pub(crate) make_due: Arc<str>,
    pub(crate) load: Arc<str>,
    pub(crate) events: Arc<str>,
    pub(crate) last_seqs: Arc<str>,
    pub(crate) list: Arc<str>,
    pub(crate) due_orders: Arc<str>,
    pub(crate) backlog_lanes: Arc<str>,
    pub(crate) backlog_attention: Arc<str>,
    pub(crate) backlog_sinks: Arc<str>,
    pub(crate) purge: Arc<str>,
    pub(crate) check: Arc<str>,
    pub(crate) registered_sinks: Arc<str>,
    pub(crate) lock_sinks: Arc<str>,
    pub(crate) lock_sinks_timeout: Arc<str>,
    pub(crate) register_sinks: Arc<str>,
    pub(crate) unregister_sink: Arc<str>,
    pub(crate) unregister_sink_entries: Arc<str>,
    pub(crate) claim_deliveries: Arc<str>,
    pub(crate) claim_deliveries_events: Arc<str>,
    pub(crate) ack_deliveries: Arc<str>,
    pub(crate) feed_end: Arc<str>,
    pub(crate) read_feed: Arc<str>,
    pub(crate) read_feed_of_user: Arc<str>,
    pub(crate) pause: Arc<str>,
    pub(crate) resume: Arc<str>,
    pub(crate) pauses: Arc<str>,
}

/// Writes the schema where the text has an `@`.
pub(crate) fn qualified(schema: &str, text: &str) -> Arc<str> {
    text.replace('@', &format!("\"{schema}\".")).into()
}

/// Returns the lists as one set of rows, their parameters numbered from `first`.
fn unnest(alias: &str, first: usize, lists: &[&[Column]]) -> String {
    let columns = || lists.iter().copied().flatten();
    let parameters: Vec<String> =
        (first..).zip(columns()).map(|(number, (_, array))| format!("${number}::{array}")).collect();
    let names: Vec<&str> = columns().map(|(name, _)| *name).collect();
    format!("unnest({}) AS {alias} ({})", parameters.join(", "), names.join(", "))
}

/// Returns the names of the columns, separated by commas, each with a prefix.
fn names(prefix: &str, lists: &[&[Column]]) -> String {
    let names: Vec<String> =
        lists.iter().copied().flatten().map(|(name, _)| format!("{prefix}{name}")).collect();
    names.join(", ")
}

/// How a statement takes its parameters.
#[derive(Clone, Copy)]
enum Parameters {
    /// Each in the type of its column.
    Typed,
    /// Each as a text, which every driver can bind.
    Texts,
}

impl Parameters {
    /// Returns a parameter for each column, as one value, numbered from `first`.
    fn scalars(self, first: usize, columns: &[Column]) -> String {
        let parameters: Vec<String> =
            (first..).zip(columns).map(|(number, column)| self.scalar(number, column)).collect();
        parameters.join(", ")
    }

    fn scalar(self, number: usize, (_, array): &Column) -> String {
        let of = array.trim_start_matches("text[]::").trim_end_matches("[]");
        match self {
            Self::Texts if of != "text" => format!("${number}::text::{of}"),
            Self::Texts | Self::Typed => format!("${number}::{of}"),
        }
    }
}

/// Returns how many columns the lists have.
fn width(lists: &[&[Column]]) -> usize {
    lists.iter().map(|columns| columns.len()).sum()
}

/// The time of the statement. The time of the transaction would be wrong in a host's transaction, which may
/// have begun long ago.
const STATEMENT_TIME: &str = "statement_timestamp()";

/// The store's time: the server's at this very moment, cut to milliseconds. A statement that had to wait for
/// another one goes by the time after the wait.
const CLOCK: &str = "date_trunc('milliseconds', clock_timestamp())";

/// Returns the time after a number of microseconds.
fn after(micros: &str) -> String {
    format!("{STATEMENT_TIME} + {micros} * interval '1 microsecond'")
}

/// Makes the commit wait for the disk, whatever the server's default is. A stricter setting, such as the
/// confirmation of a standby, stays.
///
/// The first parameter says how long the statement waits for what another transaction holds; without
/// it, the statement waits as long as the session does. The rows to lock are joined with this, so that the
/// wait is set before they are locked.
const DURABLE: &str = "settings AS (
    SELECT
        CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END AS synchronous_commit,
        CASE WHEN $1::text IS NOT NULL THEN set_config('lock_timeout', $1, true) END AS lock_timeout
)";

/// The same in a transaction of the host, which decides itself how long it waits: as a condition that always
/// holds.
const DURABLE_IN: &str = "(current_setting('synchronous_commit') <> 'off'
    OR set_config('synchronous_commit', 'on', true) = 'on')";

/// Makes the commit not wait for the disk. Leases need not be durable: one that is lost in a crash of the
/// server was never given, and its holder's writes are refused. What was written under it is on the disk only
/// if the lease is, since the log is written in order.
const LAZY: &str = "lazy AS (SELECT set_config('synchronous_commit', 'off', true))";

/// The same for statements that lock rows: the first parameter says how long they wait for them.
const LAZY_AND_BRIEF: &str = "settings AS (
    SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', $1::text, true) AS lock_timeout
)";

/// Sends messages to the listeners of a channel, without waiting for the disk: they are hints, and nothing is
/// written.
pub(crate) const NOTIFY_NOW: &str =
    "SELECT pg_notify($1, message), set_config('synchronous_commit', 'off', true)
    FROM unnest($2::text[]) AS message";

/// Returns when the turn of an order comes that becomes due at a moment.
fn turn_at(due_at: &str, handicap_until: &str, head_start_us: &str) -> String {
    format!("greatest({due_at}, {handicap_until}) - {head_start_us} * interval '1 microsecond'")
}

/// The same for a row of the table of orders that is called `orders`.
fn turn_of_order(due_at: &str) -> String {
    turn_at(due_at, "orders.handicap_until", "orders.head_start_us")
}

/// The position in the feed of what this transaction writes: its number. A reader leaves out what is not older
/// than every transaction that is under way, so no event appears behind it.
const POSITION: &str = "pg_current_xact_id()::text::bigint + (SELECT xid_offset FROM @feed)";

/// The same, once for a statement with many rows.
fn here() -> String {
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
fn insert_events(first: usize) -> String {
    let events = unnest("event", first, &[EventColumns::COLUMNS]);
    format!(
        "event AS MATERIALIZED (
            SELECT * FROM {events} WHERE coalesce(event.order_id IN (SELECT order_id FROM written), false)
        ),
        {LATE},
        recorded AS (
            INSERT INTO @order_events (
                order_id, seq, at, kind, status, progress, attempt, max_attempts, message, payload_version, payload,
                position)
            SELECT order_id, seq, at, kind, status, progress, attempt, max_attempts, message, payload_version, payload,
                coalesce((SELECT position FROM late WHERE id = order_id), here.place)
            FROM event CROSS JOIN here
        ),
        failed AS (
            INSERT INTO @order_failures (order_id, seq, attempt, code, message, at)
            SELECT order_id, seq, attempt, failure_code, failure_message, at FROM event
            WHERE failure_code IS NOT NULL
        ),
        added AS (
            INSERT INTO @outbox_entries (order_id, sink, delivered_seq, pending_since, due_at)
            SELECT written.order_id, name, after_seq, {STATEMENT_TIME}, {STATEMENT_TIME} FROM written CROSS JOIN @sinks
            ON CONFLICT DO NOTHING
        )"
    )
}

/// Fails (40001) in a transaction whose snapshot is older than the last change of the sinks, because it does
/// not see all sinks that its outbox entries are for. Where each statement sees what was committed before
/// it, nothing is read or locked. The rows to write must be joined with this.
const SINKS_ARE_KNOWN: &str = "registry AS MATERIALIZED (
    SELECT FROM @sink_registry
    WHERE id = 1 AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
    FOR SHARE
),
sinks_are_known AS MATERIALIZED (SELECT count(*) FROM registry)";

/// The same as a condition. The function is called, and its query prepared, only where it decides.
const SINKS_ARE_KNOWN_IN: &str = "(current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') OR @sinks_are_known())";

fn create() -> String {
    let lists = [NewOrderColumns::COLUMNS, RequestColumns::COLUMNS, StateColumns::COLUMNS];
    let (items, columns) = (unnest("item", 2, &lists), names("", &lists[1..]));
    let insert_events = insert_events(2 + width(&lists));
    let until = after("handicap_us");
    let (here, turn_at) = (here(), turn_at("due", "until", "head_start_us"));
    format!(
        "WITH {DURABLE}, {SINKS_ARE_KNOWN}, {here},
        written AS (
            INSERT INTO @orders ({columns}, due_at, handicap_until, turn_at, position)
            SELECT {columns}, due, until, {turn_at}, here.place
            FROM {items}
                CROSS JOIN LATERAL (SELECT greatest({STATEMENT_TIME}, not_before) AS due, {until} AS until) AS times
                CROSS JOIN settings CROSS JOIN sinks_are_known CROSS JOIN here
            ON CONFLICT DO NOTHING
            RETURNING order_id, 0::bigint AS after_seq, position
        ),
        {insert_events}
        SELECT order_id FROM written"
    )
}

/// The columns that are NULL in every new order: it has come to nothing yet.
const OF_LATER_STATES: [&str; 7] =
    ["chosen_dex", "tx_hash", "execution_price", "amount_out", "error_code", "error_message", "attention"];
/// The columns that are left out of a new order's event: the order has its id, and an acceptance is no failure.
const OF_LATER_EVENTS: [&str; 3] = ["order_id", "failure_code", "failure_message"];

/// Returns whether [`create_in`] takes a column of the state.
pub(crate) fn is_new_orders(column: &str) -> bool {
    !OF_LATER_STATES.contains(&column)
}

/// Returns whether [`create_in`] takes a column of the event.
pub(crate) fn is_first_events(column: &str) -> bool {
    !OF_LATER_EVENTS.contains(&column)
}

/// Creates one order within a transaction of the host. PostgreSQL prepares each part of a statement anew
/// whenever it runs, so this one has few parts: one value for each parameter, and only the columns that a new
/// order has.
fn create_in(taken: Parameters) -> String {
    let mut order = [RequestColumns::COLUMNS, StateColumns::COLUMNS].concat();
    order.retain(|(name, _)| is_new_orders(name));
    let mut event = EventColumns::COLUMNS.to_vec();
    event.retain(|(name, _)| is_first_events(name));
    let (columns, values) = (names("", &[&order]), taken.scalars(1, &order));
    let (event_columns, event_values) = (names("", &[&event]), taken.scalars(1 + order.len(), &event));
    let parameter = |column: &str| {
        let index = order.iter().position(|(name, _)| *name == column).unwrap_or_default();
        taken.scalars(1 + index, &order[index..=index])
    };
    let due_at = format!("greatest({STATEMENT_TIME}, {})", parameter("not_before"));
    let until = after(&taken.scalars(1 + order.len() + event.len(), NewOrderColumns::COLUMNS));
    let turn_at = turn_at(&due_at, &until, &parameter("head_start_us"));
    format!(
        "WITH written AS (
            INSERT INTO @orders ({columns}, due_at, handicap_until, turn_at, position)
            SELECT {values}, {due_at}, {until}, {turn_at}, {POSITION}
            WHERE {DURABLE_IN} AND {SINKS_ARE_KNOWN_IN}
            ON CONFLICT DO NOTHING
            RETURNING order_id, position
        ),
        recorded AS (
            INSERT INTO @order_events (order_id, {event_columns}, position)
            SELECT order_id, {event_values}, position FROM written
        )
        SELECT order_id, CASE WHEN EXISTS (SELECT FROM @sinks) THEN @add_outbox_entries(order_id) END FROM written"
    )
}

/// Updates a row only if it has the expected revision, under a fence only with that very lease, and only if
/// it is not too late. An order without a lane loses its lease and its due time, whatever the append says.
fn append() -> String {
    let lists = [AppendColumns::COLUMNS, StateColumns::COLUMNS];
    let items = unnest("item", 2, &lists);
    let columns = names("", &[StateColumns::COLUMNS]);
    let values = names("item.", &[StateColumns::COLUMNS]);
    let insert_events = insert_events(2 + width(&lists));
    let released_at = after("item.release_us");
    let here = here();
    let (released_turn, revoked_turn) = (turn_of_order(&released_at), turn_of_order(STATEMENT_TIME));
    format!(
        "WITH {DURABLE}, {here},
        written AS (
            UPDATE @orders AS orders SET
                ({columns}) = ROW({values}),
                lease_epoch = orders.lease_epoch
                    + CASE WHEN item.revokes AND orders.lease_owner IS NOT NULL THEN 1 ELSE 0 END,
                lease_owner = CASE
                    WHEN item.lane IS NULL OR item.revokes OR item.release_us IS NOT NULL THEN NULL
                    ELSE orders.lease_owner END,
                due_at = CASE
                    WHEN item.lane IS NULL THEN NULL
                    WHEN item.release_us IS NOT NULL THEN {released_at}
                    WHEN item.revokes AND orders.lease_owner IS NOT NULL THEN {STATEMENT_TIME}
                    ELSE orders.due_at END,
                turn_at = CASE
                    WHEN item.lane IS NULL THEN NULL
                    WHEN item.release_us IS NOT NULL THEN {released_turn}
                    WHEN item.revokes AND orders.lease_owner IS NOT NULL THEN {revoked_turn}
                    ELSE orders.turn_at END,
                position = greatest(orders.position, here.place),
                claims_without_progress = CASE WHEN item.epoch IS NULL THEN orders.claims_without_progress ELSE 0 END
            FROM {items} CROSS JOIN settings CROSS JOIN here
            WHERE orders.order_id = item.order_id AND orders.seq = item.expected_seq
                AND (item.epoch IS NULL
                    OR (orders.lease_epoch = item.epoch AND orders.lease_owner = item.owner))
                AND (item.not_after IS NULL OR {CLOCK} <= item.not_after)
            RETURNING orders.order_id, item.expected_seq AS after_seq, orders.position
        ),
        {insert_events}
        SELECT order_id FROM written"
    )
}

/// The due orders that a claim takes: those whose turn has come, and then the others. Where all turns that
/// have come fill the claim, the others are not looked for.
fn claim() -> String {
    let is_due = format!("due_at <= {STATEMENT_TIME}");
    lease(&format!(
        "turn AS MATERIALIZED (
            SELECT order_id AS id, turn_at AS at FROM @orders
            WHERE lane = $1 AND turn_at IS NOT NULL AND turn_at <= {STATEMENT_TIME} AND coalesce({is_due}, false)
            ORDER BY turn_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ),
        other AS MATERIALIZED (
            SELECT order_id AS id, due_at AS at FROM @orders
            WHERE lane = $1 AND due_at IS NOT NULL AND {is_due} AND coalesce(turn_at > {STATEMENT_TIME}, false)
            ORDER BY due_at LIMIT $2 - (SELECT count(*) FROM turn) FOR UPDATE SKIP LOCKED
        ),
        due AS MATERIALIZED (
            SELECT id, 1 AS pass, at FROM turn UNION ALL SELECT id, 2, at FROM other
        )"
    ))
}

/// The one order that a claim takes, if it is due. The coalescing keeps PostgreSQL from walking through all due
/// orders instead of looking up the one.
fn claim_order() -> String {
    lease(&format!(
        "due AS MATERIALIZED (
            SELECT order_id AS id, 1 AS pass, due_at AS at FROM @orders
            WHERE lane = $1 AND coalesce(due_at <= {STATEMENT_TIME}, false) AND order_id = $5
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )"
    ))
}

/// Leases the orders that are `due`, and returns when the next order becomes due that it did not lease.
fn lease(due: &str) -> String {
    let until = after("$4");
    format!(
        "WITH {LAZY},
        {due},
        leased AS (
            UPDATE @orders SET lease_epoch = lease_epoch + 1, lease_owner = $3, due_at = {until}, turn_at = {until},
                claims_without_progress = claims_without_progress + 1
            FROM due WHERE order_id = id
            RETURNING {ORDER_COLUMNS}, lease_epoch, claims_without_progress, lease_owner, pass, at
        ),
        next AS (
            SELECT (
                SELECT due_at FROM @orders
                WHERE lane = $1 AND due_at IS NOT NULL AND coalesce(order_id NOT IN (SELECT id FROM due), true)
                ORDER BY due_at LIMIT 1
            ) AS next_due_at
        )
        SELECT leased.*, (extract(epoch FROM next_due_at - {STATEMENT_TIME}) * 1000000)::bigint AS next_us,
            date_trunc('milliseconds', {STATEMENT_TIME}) AS as_of
        FROM next CROSS JOIN lazy LEFT JOIN leased ON true ORDER BY pass, at"
    )
}

fn renew() -> String {
    let items = unnest("item", 3, &[Lease::COLUMNS]);
    let until = after("$2");
    format!(
        "WITH {LAZY_AND_BRIEF}
        UPDATE @orders AS orders SET due_at = {until}, turn_at = {until}
        FROM {items} CROSS JOIN settings
        WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner
        RETURNING orders.order_id, lease_epoch, lease_owner"
    )
}

fn release() -> String {
    let items = unnest("item", 2, &[Lease::COLUMNS, ReleaseColumns::COLUMNS]);
    let due_at = after("item.due_us");
    let turn_at = turn_of_order(&due_at);
    format!(
        "WITH {LAZY_AND_BRIEF}
        UPDATE @orders AS orders SET
            due_at = {due_at}, turn_at = {turn_at}, lease_owner = NULL,
            claims_without_progress = greatest(0, claims_without_progress - item.yielded),
            attention = coalesce(item.attention, orders.attention)
        FROM {items} CROSS JOIN settings
        WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner"
    )
}

/// Leases outbox entries of a sink, and returns when the next entry becomes due that it did not lease.
fn claim_deliveries() -> String {
    let until = after("$4");
    format!(
        "WITH {LAZY},
        due AS MATERIALIZED (
            SELECT order_id AS id, due_at AS was_due_at FROM @outbox_entries
            WHERE sink = $1 AND due_at <= {STATEMENT_TIME} ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ),
        leased AS (
            UPDATE @outbox_entries SET lease_epoch = lease_epoch + 1, lease_owner = $3, due_at = {until}
            FROM due WHERE order_id = id AND sink = $1
            RETURNING order_id, lease_epoch, lease_owner, delivered_seq, failures, was_due_at
        ),
        next AS (
            SELECT (
                SELECT due_at FROM @outbox_entries
                WHERE sink = $1 AND coalesce(order_id NOT IN (SELECT id FROM due), true)
                ORDER BY due_at LIMIT 1
            ) AS next_due_at
        )
        SELECT leased.*, (extract(epoch FROM next_due_at - {STATEMENT_TIME}) * 1000000)::bigint AS next_us
        FROM next CROSS JOIN lazy LEFT JOIN leased ON true ORDER BY was_due_at"
    )
}

/// Deletes the entries that are delivered in full and releases the others.
///
/// The rows of the orders are locked first. An append that is under way either comes before, and its events
/// are seen here, or it waits, and then adds an entry anew.
fn ack_deliveries() -> String {
    let items = unnest("item", 2, &[Lease::COLUMNS, AckRow::COLUMNS]);
    let retry_at = after("item.retry_us");
    let is_current = "entry.order_id = item.order_id AND entry.sink = item.sink
        AND entry.lease_epoch = item.epoch AND entry.lease_owner = item.owner";
    let returned = "entry.order_id, entry.sink, item.epoch AS lease_epoch, item.owner AS lease_owner";
    format!(
        "WITH {LAZY_AND_BRIEF},
        acked AS MATERIALIZED (SELECT item.* FROM {items} CROSS JOIN settings),
        last_seqs AS MATERIALIZED (
            SELECT order_id, seq FROM @orders WHERE order_id IN (SELECT order_id FROM acked)
            ORDER BY order_id FOR NO KEY UPDATE
        ),
        item AS MATERIALIZED (
            SELECT acked.*,
                coalesce(
                    delivered_seq
                        >= coalesce((SELECT seq FROM last_seqs WHERE last_seqs.order_id = acked.order_id), 0),
                    false) AS is_delivered
            FROM acked
        ),
        deleted AS (
            DELETE FROM @outbox_entries AS entry USING item WHERE {is_current} AND is_delivered
            RETURNING {returned}
        ),
        released AS (
            UPDATE @outbox_entries AS entry SET
                delivered_seq = coalesce(item.delivered_seq, entry.delivered_seq),
                pending_since = CASE WHEN item.retry_us IS NULL THEN {STATEMENT_TIME} ELSE pending_since END,
                failures = CASE WHEN item.retry_us IS NULL THEN 0 ELSE failures + 1 END,
                due_at = coalesce({retry_at}, {STATEMENT_TIME}),
                lease_owner = NULL
            FROM item WHERE {is_current} AND NOT is_delivered
            RETURNING {returned}
        )
        SELECT * FROM deleted UNION ALL SELECT * FROM released"
    )
}

fn claim_deliveries_events() -> String {
    let ranges = unnest("entry", 1, &[RangeRow::COLUMNS]);
    // What never changes of an order comes with the first of its events only.
    let head = HEAD_COLUMNS
        .map(|column| format!("CASE WHEN event.seq = after_seq + 1 THEN orders.{column} END AS {column}"));
    format!(
        "SELECT event.*, {} FROM {ranges} CROSS JOIN LATERAL (
            SELECT {EVENT_COLUMNS} FROM @order_events
            WHERE order_id = entry.order_id AND seq > after_seq AND seq <= last_seq
        ) AS event
        LEFT JOIN @orders AS orders ON orders.order_id = entry.order_id
        ORDER BY event.order_id, seq",
        head.join(", ")
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

/// Everybody's events. The position alone stands before the whole cursor, for the index.
const FEED_OF_ALL: &str = "SELECT * FROM @order_events WHERE position >= $1";

/// The events of a user's orders: of those that have any behind the cursor. The offset keeps PostgreSQL from
/// walking through everybody's events instead of looking up each order's.
const FEED_OF_USER: &str = "SELECT events.* FROM @orders AS own
    CROSS JOIN LATERAL (
        SELECT * FROM @order_events AS events WHERE events.order_id = own.order_id OFFSET 0
    ) AS events
    WHERE own.user_id = $5 AND own.position >= $1";

/// Makes transactions with older snapshots fail, because they do not see the change of the sinks.
const CHANGE_OF_SINKS: &str = "WITH change AS (UPDATE @sink_registry SET changes = changes + 1 WHERE id = 1)";

/// Deletes those orders of a page of a walk over all orders that may be deleted.
const PURGE: &str = "WITH page AS MATERIALIZED (
        SELECT order_id AS id,
            status IN ('confirmed', 'failed')
                AND updated_at < CASE WHEN client_order_id IS NULL THEN $1::timestamptz ELSE $2 END
                AND NOT EXISTS (SELECT FROM @outbox_entries AS entry WHERE entry.order_id = orders.order_id)
                AS is_purged
        FROM @orders AS orders WHERE order_id > $3 ORDER BY order_id LIMIT $4
    ),
    purged_orders AS (DELETE FROM @orders USING page WHERE order_id = id AND is_purged),
    purged_events AS (DELETE FROM @order_events USING page WHERE order_id = id AND is_purged),
    purged_failures AS (DELETE FROM @order_failures USING page WHERE order_id = id AND is_purged)
    SELECT id AS order_id, is_purged FROM page ORDER BY id";

impl Sql {
    pub(crate) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        let is_due = format!("due_at IS NOT NULL AND due_at <= {STATEMENT_TIME}");
        Self {
            now: text(&format!("SELECT {CLOCK} AS now")),
            create: text(&create()),
            create_in: text(&create_in(Parameters::Typed)),
            create_in_texts: text(&create_in(Parameters::Texts)),
            create_existing: text(&format!(
                "SELECT {ORDER_COLUMNS} FROM @orders
                WHERE order_id = $1 OR (user_id = $2 AND client_order_id = $3)
                ORDER BY (user_id = $2 AND client_order_id = $3) IS TRUE DESC LIMIT 1"
            )),
            append: text(&append()),
            append_refusals: text(
                "SELECT order_id, seq, lease_epoch, lease_owner FROM @orders WHERE order_id = ANY($1)",
            ),
            claim: text(&claim()),
            claim_order: text(&claim_order()),
            renew: text(&renew()),
            renew_current: text(
                "SELECT order_id, lease_epoch, lease_owner FROM @orders
                WHERE order_id = ANY($1) AND lease_owner IS NOT NULL",
            ),
            release: text(&release()),
            // Ends a wait. The due time of a leased order is the expiry of its lease, which stays as it is.
            make_due: text(&format!(
                "UPDATE @orders AS orders SET due_at = {STATEMENT_TIME}, turn_at = {}
                WHERE order_id = $1 AND coalesce(due_at > {STATEMENT_TIME}, false) AND lease_owner IS NULL",
                turn_of_order(STATEMENT_TIME)
            )),
            load: text(&format!("SELECT {ORDER_COLUMNS} FROM @orders WHERE order_id = $1")),
            events: text(&format!(
                "SELECT {EVENT_COLUMNS} FROM @order_events WHERE order_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
            )),
            last_seqs: text("SELECT order_id, seq FROM @orders WHERE order_id = ANY($1)"),
            // Conditions, an order and a limit follow.
            list: text(&format!("SELECT {ORDER_COLUMNS} FROM @orders WHERE true")),
            due_orders: text(&format!(
                "SELECT order_id FROM @orders WHERE lane = $1 AND {is_due} ORDER BY due_at LIMIT $2"
            )),
            backlog_lanes: text(&format!(
                "SELECT lane, count(*) AS orders, count(*) FILTER (WHERE due_at <= {STATEMENT_TIME}) AS due,
                    (extract(epoch FROM {STATEMENT_TIME} - min(due_at)) * 1000000)::bigint AS due_for_us
                FROM @orders WHERE due_at IS NOT NULL GROUP BY lane"
            )),
            backlog_attention: text("SELECT count(*) AS orders FROM @orders WHERE attention IS NOT NULL"),
            backlog_sinks: text(&format!(
                "SELECT name, count(order_id) AS orders,
                    (extract(epoch FROM {STATEMENT_TIME} - min(pending_since)) * 1000000)::bigint AS pending_for_us
                FROM @sinks LEFT JOIN @outbox_entries ON sink = name GROUP BY name ORDER BY name"
            )),
            purge: text(PURGE),
            check: text(&format!(
                "INSERT INTO @writable (id, checked_at) VALUES (1, {STATEMENT_TIME})
                ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at"
            )),
            registered_sinks: text("SELECT name FROM @sinks WHERE name = ANY($1)"),
            // Waits for the writes that are under way, which may not know of a change of the sinks; but not
            // for long, because all other writes wait behind it.
            lock_sinks: text("LOCK TABLE @sinks IN ACCESS EXCLUSIVE MODE"),
            lock_sinks_timeout: text("SELECT set_config('lock_timeout', '100', true)"),
            register_sinks: text(&format!(
                "{CHANGE_OF_SINKS} INSERT INTO @sinks (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            )),
            unregister_sink: text(&format!("{CHANGE_OF_SINKS} DELETE FROM @sinks WHERE name = $1")),
            unregister_sink_entries: text(
                "DELETE FROM @outbox_entries WHERE sink = $1
                    AND order_id IN (SELECT order_id FROM @outbox_entries WHERE sink = $1 LIMIT $2)
                RETURNING order_id",
            ),
            claim_deliveries: text(&claim_deliveries()),
            claim_deliveries_events: text(&claim_deliveries_events()),
            ack_deliveries: text(&ack_deliveries()),
            feed_end: text(&format!("SELECT {FEED_BOUND} AS bound")),
            read_feed: text(&read_feed(FEED_OF_ALL)),
            read_feed_of_user: text(&read_feed(FEED_OF_USER)),
            pause: text(&format!(
                "INSERT INTO @pauses (activity, scope, reason, since)
                SELECT $1::text, $2::text, $3::text, {CLOCK} WHERE {DURABLE_IN}
                ON CONFLICT (activity, scope) DO UPDATE SET reason = excluded.reason"
            )),
            resume: text(&format!(
                "DELETE FROM @pauses WHERE activity = $1 AND scope = $2 AND {DURABLE_IN} RETURNING activity"
            )),
            pauses: text("SELECT activity, scope, reason, since FROM @pauses"),
        }
    }
}

#[cfg(test)]
mod tests;
