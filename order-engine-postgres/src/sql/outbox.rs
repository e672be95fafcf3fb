//! The outbox, and the sinks that its entries are for.

use std::sync::Arc;

use order_engine_core::store::Lease;

use super::settings::{LAZY, LAZY_AND_BRIEF, STATEMENT_TIME, after};
use super::text::{qualified, unnest};
use crate::rows::{AckRow, HEAD_COLUMNS, ListRow, RangeRow, WRITE_COLUMNS};

/// The statements of the outbox.
#[derive(Debug)]
pub(crate) struct OutboxSql {
    pub(crate) registered_sinks: Arc<str>,
    pub(crate) lock_sinks: Arc<str>,
    pub(crate) lock_sinks_timeout: Arc<str>,
    pub(crate) register_sinks: Arc<str>,
    pub(crate) unregister_sink: Arc<str>,
    pub(crate) unregister_sink_entries: Arc<str>,
    pub(crate) claim_deliveries: Arc<str>,
    pub(crate) claim_deliveries_events: Arc<str>,
    pub(crate) ack_deliveries: Arc<str>,
    pub(crate) backlog_sinks: Arc<str>,
}

impl OutboxSql {
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        Self {
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
            backlog_sinks: text(&format!(
                "SELECT name, count(order_id) AS orders,
                    (extract(epoch FROM {STATEMENT_TIME} - min(pending_since)) * 1000000)::bigint AS pending_for_us
                FROM @sinks LEFT JOIN @outbox_entries ON sink = name GROUP BY name ORDER BY name"
            )),
        }
    }
}

/// Fails (40001) in a transaction whose snapshot is older than the last change of the sinks, because it does
/// not see all sinks that its outbox entries are for. Where each statement sees what was committed before
/// it, nothing is read or locked. The rows to write must be joined with this.
pub(super) const SINKS_ARE_KNOWN: &str = "registry AS MATERIALIZED (
    SELECT FROM @sink_registry
    WHERE id = 1 AND current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
    FOR SHARE
),
sinks_are_known AS MATERIALIZED (SELECT count(*) FROM registry)";

/// The same as a condition. The function is called, and its query prepared, only where it decides.
pub(super) const SINKS_ARE_KNOWN_IN: &str = "(current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') OR @sinks_are_known())";

/// Adds an outbox entry for each order that was `written` and each sink, unless there is one.
pub(super) fn add_entries() -> String {
    format!(
        "added AS (
            INSERT INTO @outbox_entries (order_id, sink, delivered_seq, pending_since, due_at)
            SELECT written.order_id, name, after_seq, {STATEMENT_TIME}, {STATEMENT_TIME} FROM written CROSS JOIN @sinks
            ON CONFLICT DO NOTHING
        )"
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
            SELECT order_id, seq FROM @order_states WHERE order_id IN (SELECT order_id FROM acked)
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
    let head = HEAD_COLUMNS.map(|column| {
        format!("CASE WHEN write.first_seq <= entry.after_seq + 1 THEN head.{column} END AS {column}")
    });
    format!(
        "SELECT write.*, {} FROM {ranges} CROSS JOIN LATERAL (
            SELECT {WRITE_COLUMNS} FROM @order_writes AS own
            WHERE own.order_id = entry.order_id AND own.last_seq > entry.after_seq AND own.first_seq <= entry.last_seq
        ) AS write
        LEFT JOIN @order_heads AS head ON head.order_id = entry.order_id
        ORDER BY write.order_id, write.last_seq",
        head.join(", ")
    )
}

/// Makes transactions with older snapshots fail, because they do not see the change of the sinks.
const CHANGE_OF_SINKS: &str = "WITH change AS (UPDATE @sink_registry SET changes = changes + 1 WHERE id = 1)";
