//! The statements, in one place, and what PostgreSQL makes of them.
//!
//! Each write is one statement, so it is one transaction and one round trip. An `@` stands for the
//! schema: nothing relies on a search path, which a host's transaction or a proxy may have changed.

use std::sync::Arc;

use crate::rows::{
    DeliveryAckRow, EVENT_COLUMNS, EventRow, GuardRow, LeaseRow, ORDER_COLUMNS, RangeRow, ReleaseRow,
    RequestRow, StateRow,
};
use crate::statement::{List, names, qualified, unnest, width};

/// The statements for one schema.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) create: Arc<str>,
    pub(crate) existing: Arc<str>,
    pub(crate) append: Arc<str>,
    pub(crate) fences: Arc<str>,
    pub(crate) leases: Arc<str>,
    pub(crate) claim: Arc<str>,
    pub(crate) claim_ids: Arc<str>,
    pub(crate) renew: Arc<str>,
    pub(crate) give_back: Arc<str>,
    pub(crate) make_due: Arc<str>,
    pub(crate) load: Arc<str>,
    pub(crate) events: Arc<str>,
    pub(crate) heads: Arc<str>,
    pub(crate) due: Arc<str>,
    pub(crate) list: Arc<str>,
    pub(crate) now: Arc<str>,
    pub(crate) backlog_lanes: Arc<str>,
    pub(crate) backlog_attention: Arc<str>,
    pub(crate) backlog_sinks: Arc<str>,
    pub(crate) purge: Arc<str>,
    pub(crate) check: Arc<str>,
    pub(crate) lock_sinks: Arc<str>,
    pub(crate) bound_lock: Arc<str>,
    pub(crate) registered: Arc<str>,
    pub(crate) register: Arc<str>,
    pub(crate) unregister: Arc<str>,
    pub(crate) forget_debts: Arc<str>,
    pub(crate) claim_debts: Arc<str>,
    pub(crate) settle: Arc<str>,
    pub(crate) owed_events: Arc<str>,
}

/// The time of the statement: a claim within a host's long transaction must not see the time of its
/// beginning.
const NOW: &str = "statement_timestamp()";

/// The store's time, cut to milliseconds: the server's at this very moment. A statement that waited for
/// another one is late, however early it came.
const CLOCK: &str = "date_trunc('milliseconds', clock_timestamp())";

/// A moment that is so many microseconds away.
fn after(micros: &str) -> String {
    format!("{NOW} + {micros} * interval '1 microsecond'")
}

/// Makes the commit wait for the disk, whatever the server's default is. A host that asks for more, such
/// as a standby's word, keeps it.
///
/// The first parameter says how long the statement waits for what another transaction holds; without
/// it, as long as the session does. What the statement locks is joined with this, so that the wait is
/// set before.
const DURABLE: &str = "settings AS (
    SELECT
        CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END AS synchronous_commit,
        CASE WHEN $1::text IS NOT NULL THEN set_config('lock_timeout', $1, true) END AS lock_timeout
)";

/// Makes the commit wait for no disk. Leases need none: one that is lost in a crash of the server was
/// never given, its holder's writes are refused, and what was written under it is on the disk only if
/// the lease is, since the log is written in order.
const LAZY: &str = "lazy AS (SELECT set_config('synchronous_commit', 'off', true))";

/// The same for what locks rows: the first parameter says how long it waits for them.
const LAZY_AND_BRIEF: &str = "settings AS (
    SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', $1::text, true) AS lock_timeout
)";

/// Says things to whoever listens on a channel, with the commit of the transaction.
pub(crate) const NOTIFY: &str = "SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message";

/// The same, without waiting for the disk: what is said is a hint, and nothing is written.
pub(crate) const NOTIFY_NOW: &str =
    "SELECT pg_notify($1, message), set_config('synchronous_commit', 'off', true)
    FROM unnest($2::text[]) AS message";

/// Writes the events of the orders that were `written`, and makes the sinks creditors of them.
///
/// The events are found by a hashed look-up; a join would compare each with each, because these
/// connections know no other join than a walk.
fn events_and_debts(first: usize) -> String {
    let events = unnest("event", first, &[EventRow::COLUMNS]);
    format!(
        "event AS MATERIALIZED (
            SELECT * FROM {events} WHERE coalesce(event.order_id IN (SELECT order_id FROM written), false)
        ),
        recorded AS (
            INSERT INTO @order_events (
                order_id, seq, at, kind, status, progress, attempt, max_attempts, message, payload_version, payload)
            SELECT order_id, seq, at, kind, status, progress, attempt, max_attempts, message, payload_version, payload
            FROM event
        ),
        failed AS (
            INSERT INTO @order_failures (order_id, seq, attempt, code, message, at)
            SELECT order_id, seq, attempt, failure_code, failure_message, at FROM event
            WHERE failure_code IS NOT NULL
        ),
        owed AS (
            INSERT INTO @outbox_entries (order_id, sink, delivered_seq, pending_since, due_at)
            SELECT written.order_id, name, after_seq, {NOW}, {NOW} FROM written CROSS JOIN @sinks
            ON CONFLICT DO NOTHING
        )"
    )
}

/// Fails (40001) in a transaction whose snapshot is older than the last change of the sinks: it would not
/// see whom it owes what it writes. Where each statement sees what was committed before it, nothing is
/// read or locked. What is written must be joined with this.
const SINKS_ARE_KNOWN: &str = "registry AS MATERIALIZED (
    SELECT FROM @sink_registry
    WHERE id = 1 AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
    FOR SHARE
),
sinks_are_known AS MATERIALIZED (SELECT count(*) FROM registry)";

fn create() -> String {
    let lists = [RequestRow::COLUMNS, StateRow::COLUMNS];
    let (items, columns) = (unnest("item", 2, &lists), names("", &lists));
    let events_and_debts = events_and_debts(2 + width(&lists));
    format!(
        "WITH {DURABLE}, {SINKS_ARE_KNOWN},
        written AS (
            INSERT INTO @orders ({columns}, due_at)
            SELECT {columns}, {NOW} FROM {items} CROSS JOIN settings CROSS JOIN sinks_are_known
            ON CONFLICT DO NOTHING
            RETURNING order_id, 0::bigint AS after_seq
        ),
        {events_and_debts}
        SELECT order_id FROM written"
    )
}

/// A row is updated only if it has the expected revision, under a fence that very lease, and if it is not
/// too late. A terminal order has no lane; it loses its lease and its due time whatever is asked.
fn append() -> String {
    let lists = [GuardRow::COLUMNS, StateRow::COLUMNS];
    let items = unnest("item", 2, &lists);
    let columns = names("", &[StateRow::COLUMNS]);
    let values = names("item.", &[StateRow::COLUMNS]);
    let events_and_debts = events_and_debts(2 + width(&lists));
    let released_at = after("item.release_us");
    format!(
        "WITH {DURABLE},
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
                    WHEN item.revokes AND orders.lease_owner IS NOT NULL THEN {NOW}
                    ELSE orders.due_at END,
                claims_without_progress = CASE WHEN item.epoch IS NULL THEN orders.claims_without_progress ELSE 0 END
            FROM {items} CROSS JOIN settings
            WHERE orders.order_id = item.order_id AND orders.seq = item.expected_seq
                AND (item.epoch IS NULL
                    OR (orders.lease_epoch = item.epoch AND orders.lease_owner = item.owner))
                AND (item.not_after IS NULL OR {CLOCK} <= item.not_after)
            RETURNING orders.order_id, item.expected_seq AS after_seq
        ),
        {events_and_debts}
        SELECT order_id FROM written"
    )
}

/// Leases due orders that fulfil a condition, and tells when the next one becomes due that it did not take.
fn claim(condition: &str) -> String {
    let until = after("$4");
    format!(
        "WITH {LAZY},
        due AS MATERIALIZED (
            SELECT order_id AS id, due_at AS was_due_at FROM @orders
            WHERE lane = $1 AND {condition}
            ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ),
        leased AS (
            UPDATE @orders SET lease_epoch = lease_epoch + 1, lease_owner = $3, due_at = {until},
                claims_without_progress = claims_without_progress + 1
            FROM due WHERE order_id = id
            RETURNING {ORDER_COLUMNS}, lease_epoch, claims_without_progress, lease_owner, was_due_at
        ),
        next AS (
            SELECT (
                SELECT due_at FROM @orders
                WHERE lane = $1 AND due_at IS NOT NULL AND coalesce(order_id NOT IN (SELECT id FROM due), true)
                ORDER BY due_at LIMIT 1
            ) AS next_due_at
        )
        SELECT leased.*, (extract(epoch FROM next_due_at - {NOW}) * 1000000)::bigint AS next_us,
            date_trunc('milliseconds', {NOW}) AS as_of
        FROM next CROSS JOIN lazy LEFT JOIN leased ON true ORDER BY was_due_at"
    )
}

fn renew() -> String {
    let items = unnest("item", 3, &[LeaseRow::COLUMNS]);
    let until = after("$2");
    format!(
        "WITH {LAZY_AND_BRIEF}
        UPDATE @orders AS orders SET due_at = {until}
        FROM {items} CROSS JOIN settings
        WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner
        RETURNING orders.order_id, lease_epoch, lease_owner"
    )
}

fn give_back() -> String {
    let items = unnest("item", 2, &[LeaseRow::COLUMNS, ReleaseRow::COLUMNS]);
    let due_at = after("item.due_us");
    format!(
        "WITH {LAZY_AND_BRIEF}
        UPDATE @orders AS orders SET
            due_at = {due_at}, lease_owner = NULL,
            claims_without_progress = greatest(0, claims_without_progress - item.innocent),
            attention = coalesce(item.attention, orders.attention)
        FROM {items} CROSS JOIN settings
        WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner"
    )
}

/// Leases debts of a sink, and tells when the next one becomes due that it did not take.
fn claim_debts() -> String {
    let until = after("$4");
    format!(
        "WITH {LAZY},
        due AS MATERIALIZED (
            SELECT order_id AS id, due_at AS was_due_at FROM @outbox_entries
            WHERE sink = $1 AND due_at <= {NOW} ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
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
        SELECT leased.*, (extract(epoch FROM next_due_at - {NOW}) * 1000000)::bigint AS next_us
        FROM next CROSS JOIN lazy LEFT JOIN leased ON true ORDER BY was_due_at"
    )
}

/// Removes the debts that are paid and gives the others back.
///
/// The orders' rows are locked first: an append that is under way either comes before, and its events
/// are seen to be owed, or waits, and then owes them anew.
fn settle() -> String {
    let items = unnest("item", 2, &[LeaseRow::COLUMNS, DeliveryAckRow::COLUMNS]);
    let retry_at = after("item.retry_us");
    let is_current = "debt.order_id = item.order_id AND debt.sink = item.sink
        AND debt.lease_epoch = item.epoch AND debt.lease_owner = item.owner";
    format!(
        "WITH {LAZY_AND_BRIEF},
        delivered AS MATERIALIZED (SELECT item.* FROM {items} CROSS JOIN settings),
        head AS MATERIALIZED (
            SELECT order_id, seq FROM @orders WHERE order_id IN (SELECT order_id FROM delivered)
            ORDER BY order_id FOR NO KEY UPDATE
        ),
        item AS MATERIALIZED (
            SELECT delivered.*,
                coalesce(delivered_seq >= coalesce((SELECT seq FROM head WHERE head.order_id = delivered.order_id), 0),
                    false) AS is_paid
            FROM delivered
        ),
        paid AS (
            DELETE FROM @outbox_entries AS debt USING item WHERE {is_current} AND is_paid
            RETURNING debt.order_id, debt.lease_epoch, debt.lease_owner, debt.sink
        ),
        kept AS (
            UPDATE @outbox_entries AS debt SET
                delivered_seq = coalesce(item.delivered_seq, debt.delivered_seq),
                pending_since = CASE WHEN item.retry_us IS NULL THEN {NOW} ELSE pending_since END,
                failures = CASE WHEN item.retry_us IS NULL THEN 0 ELSE failures + 1 END,
                due_at = coalesce({retry_at}, {NOW}),
                lease_owner = NULL
            FROM item WHERE {is_current} AND NOT is_paid
            RETURNING debt.order_id, item.epoch, item.owner, debt.sink
        )
        SELECT * FROM paid UNION ALL SELECT * FROM kept"
    )
}

fn owed_events() -> String {
    let ranges = unnest("debt", 1, &[RangeRow::COLUMNS]);
    format!(
        "SELECT event.* FROM {ranges} CROSS JOIN LATERAL (
            SELECT {EVENT_COLUMNS} FROM @order_events
            WHERE order_id = debt.order_id AND seq > after_seq AND seq <= last_seq
        ) AS event
        ORDER BY order_id, seq"
    )
}

/// Tells transactions with older snapshots that they do not know the sinks.
const CHANGE_OF_SINKS: &str = "WITH change AS (UPDATE @sink_registry SET changes = changes + 1 WHERE id = 1)";

/// A step of a walk over all orders, with whether each was forgotten.
const PURGE: &str = "WITH page AS MATERIALIZED (
        SELECT order_id AS id,
            status IN ('confirmed', 'failed')
                AND updated_at < CASE WHEN client_order_id IS NULL THEN $1::timestamptz ELSE $2 END
                AND NOT EXISTS (SELECT FROM @outbox_entries AS debt WHERE debt.order_id = orders.order_id) AS goes
        FROM @orders AS orders WHERE order_id > $3 ORDER BY order_id LIMIT $4
    ),
    gone AS (DELETE FROM @orders USING page WHERE order_id = id AND goes),
    events AS (DELETE FROM @order_events USING page WHERE order_id = id AND goes),
    failures AS (DELETE FROM @order_failures USING page WHERE order_id = id AND goes)
    SELECT id, goes FROM page ORDER BY id";

impl Sql {
    pub(crate) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        let by_ids = |columns: &str| text(&format!("SELECT {columns} FROM @orders WHERE order_id = ANY($1)"));
        Self {
            create: text(&create()),
            existing: text(&format!(
                "SELECT {ORDER_COLUMNS} FROM @orders
                WHERE order_id = $1 OR (user_id = $2 AND client_order_id = $3)
                ORDER BY (user_id = $2 AND client_order_id = $3) IS TRUE DESC LIMIT 1"
            )),
            append: text(&append()),
            fences: by_ids("order_id, seq, lease_epoch, lease_owner"),
            leases: text(
                "SELECT order_id, lease_epoch, lease_owner FROM @orders
                WHERE order_id = ANY($1) AND lease_owner IS NOT NULL",
            ),
            claim: text(&claim(&format!("due_at IS NOT NULL AND due_at <= {NOW}"))),
            // The coalescing keeps PostgreSQL from walking through all due orders instead of the few that are
            // asked for; in the next one, too.
            claim_ids: text(&claim(&format!("coalesce(due_at <= {NOW}, false) AND order_id = ANY($5)"))),
            renew: text(&renew()),
            give_back: text(&give_back()),
            // A lease is its order's own business; a wait is not.
            make_due: text(&format!(
                "UPDATE @orders SET due_at = {NOW}
                WHERE order_id = ANY($1) AND coalesce(due_at > {NOW}, false) AND lease_owner IS NULL"
            )),
            load: by_ids(ORDER_COLUMNS),
            events: text(&format!(
                "SELECT {EVENT_COLUMNS} FROM @order_events WHERE order_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
            )),
            heads: by_ids("order_id, seq"),
            due: text(&format!(
                "SELECT order_id FROM @orders
                WHERE lane = $1 AND due_at IS NOT NULL AND due_at <= {NOW} ORDER BY due_at LIMIT $2"
            )),
            list: text(&format!("SELECT {ORDER_COLUMNS} FROM @orders WHERE true")),
            now: text(&format!("SELECT {CLOCK}")),
            backlog_lanes: text(&format!(
                "SELECT lane, count(*), count(*) FILTER (WHERE due_at <= {NOW}),
                    (extract(epoch FROM {NOW} - min(due_at)) * 1000000)::bigint
                FROM @orders WHERE due_at IS NOT NULL GROUP BY lane"
            )),
            backlog_attention: text("SELECT count(*) FROM @orders WHERE attention IS NOT NULL"),
            backlog_sinks: text(&format!(
                "SELECT name, count(order_id), (extract(epoch FROM {NOW} - min(pending_since)) * 1000000)::bigint
                FROM @sinks LEFT JOIN @outbox_entries ON sink = name GROUP BY name ORDER BY name"
            )),
            purge: text(PURGE),
            check: text(&format!(
                "INSERT INTO @writable (id, checked_at) VALUES (1, {NOW})
                ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at"
            )),
            // Waits for the writes that are under way, which may not know of a change of the sinks; but not
            // for long, because all other writes wait behind it.
            lock_sinks: text("LOCK TABLE @sinks IN ACCESS EXCLUSIVE MODE"),
            bound_lock: text("SELECT set_config('lock_timeout', '100', true)"),
            registered: text("SELECT name FROM @sinks WHERE name = ANY($1)"),
            register: text(&format!(
                "{CHANGE_OF_SINKS} INSERT INTO @sinks (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            )),
            unregister: text(&format!("{CHANGE_OF_SINKS} DELETE FROM @sinks WHERE name = $1")),
            forget_debts: text(
                "DELETE FROM @outbox_entries WHERE sink = $1
                    AND order_id IN (SELECT order_id FROM @outbox_entries WHERE sink = $1 LIMIT $2)
                RETURNING order_id",
            ),
            claim_debts: text(&claim_debts()),
            settle: text(&settle()),
            owed_events: text(&owed_events()),
        }
    }
}

#[cfg(test)]
mod tests {
    use order_engine_core::{OrderQuery, Status};
    use sqlx::{AssertSqlSafe, PgConnection, Row};

    use super::*;
    use crate::connect::Connections;
    use crate::migrate;
    use crate::read::list_statement;
    use crate::testing::fresh_schema;

    /// A connection such as the store has, to tables with a few finished orders, of which the planner
    /// knows nothing.
    async fn database() -> (PgConnection, Sql) {
        let options = fresh_schema();
        let mut connection = Connections::new(&options).take().await.unwrap().connection;
        migrate::run(&mut connection, &options.schema).await.unwrap();
        (connection, Sql::new(&options.schema))
    }

    /// PostgreSQL's plan for whatever values the parameters have.
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
        for table in ["orders", "order_events", "outbox_entries"] {
            assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
        }
    }

    #[tokio::test]
    async fn claims_walk_along_the_index_of_due_orders() {
        let (mut connection, sql) = database().await;
        for text in [&sql.claim, &sql.due] {
            let plan = plan(&mut connection, text).await;
            assert_looks_up(&plan, "orders_due on orders");
            assert!(!plan.contains("Bitmap"), "{plan}");
        }
        let claim = plan(&mut connection, &sql.claim).await;
        assert_looks_up(&claim, "Index Scan using orders_pkey on orders");
    }

    #[tokio::test]
    async fn claims_by_ids_look_their_orders_up() {
        let (mut connection, sql) = database().await;
        let plan = plan(&mut connection, &sql.claim_ids).await;
        assert_looks_up(&plan, "Index Cond: (order_id = ANY ($5))");
    }

    #[tokio::test]
    async fn lists_look_their_orders_up() {
        let (mut connection, sql) = database().await;
        for text in
            [&sql.append, &sql.renew, &sql.give_back, &sql.load, &sql.heads, &sql.fences, &sql.make_due]
        {
            let plan = plan(&mut connection, text).await;
            assert_looks_up(&plan, "orders_pkey");
        }
        let append = plan(&mut connection, &sql.append).await;
        assert_looks_up(&append, "Filter: COALESCE((hashed SubPlan");
    }

    #[tokio::test]
    async fn purging_walks_along_the_ids() {
        let (mut connection, sql) = database().await;
        let plan = plan(&mut connection, &sql.purge).await;
        assert_looks_up(&plan, "Index Scan using orders_pkey on orders");
        assert_looks_up(&plan, "order_events_pkey");
    }

    #[tokio::test]
    async fn lists_by_status_pass_by_what_was_confirmed() {
        let (mut connection, sql) = database().await;
        for status in Status::ALL {
            let query = OrderQuery { status: Some(status), limit: 50, ..OrderQuery::default() };
            let text = list_statement(&sql.list, &query).sql().as_str().to_owned();
            let plan = plan(&mut connection, &text).await;
            let step = match status {
                Status::Confirmed => "orders_pkey",
                Status::Failed => "orders_failed",
                _ => "orders_due",
            };
            assert_looks_up(&plan, step);
        }
    }

    #[tokio::test]
    async fn the_backlog_is_counted_in_indexes() {
        let (mut connection, sql) = database().await;
        for (text, step) in [
            (&sql.backlog_lanes, "orders_due"),
            (&sql.backlog_attention, "orders_attention"),
            (&sql.backlog_sinks, "outbox_entries_due"),
        ] {
            assert_looks_up(&plan(&mut connection, text).await, step);
        }
    }

    #[tokio::test]
    async fn debts_are_found_by_their_keys() {
        let (mut connection, sql) = database().await;
        assert_looks_up(
            &plan(&mut connection, &sql.claim_debts).await,
            "outbox_entries_due on outbox_entries",
        );
        assert_looks_up(&plan(&mut connection, &sql.settle).await, "outbox_entries_pkey on outbox_entries");
        assert_looks_up(&plan(&mut connection, &sql.owed_events).await, "order_events_pkey on order_events");
    }
}
