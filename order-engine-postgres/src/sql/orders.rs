//! Orders: what creates, changes, reads and deletes them.

use std::sync::Arc;

use order_engine_core::backend::{
    AppendColumns, HistoryColumns, NewOrderColumns, RequestColumns, StateColumns,
};

use super::events::{POSITION, here, insert_events, insert_failures};
use super::outbox::{SINKS_ARE_KNOWN, SINKS_ARE_KNOWN_IN};
use super::queue::{turn_at, turn_of_order};
use super::settings::{CLOCK, DURABLE, DURABLE_IN, STATEMENT_TIME, after};
use super::text::{Parameters, names, qualified, unnest, width};
use crate::rows::{Column, FirstLeaseRow, ListRow, ORDER_COLUMNS};

/// The statements of orders.
#[derive(Debug)]
pub(crate) struct OrdersSql {
    pub(crate) create: Arc<str>,
    pub(crate) create_in: Arc<str>,
    pub(crate) create_in_texts: Arc<str>,
    pub(crate) create_existing: Arc<str>,
    pub(crate) append: Arc<str>,
    pub(crate) append_refusals: Arc<str>,
    pub(crate) load: Arc<str>,
    pub(crate) load_named: Arc<str>,
    pub(crate) last_seqs: Arc<str>,
    pub(crate) list: Arc<str>,
    pub(crate) backlog_attention: Arc<str>,
    pub(crate) purge: Arc<str>,
}

impl OrdersSql {
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        Self {
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
                "SELECT order_id, seq, lease_epoch, lease_owner FROM @order_states WHERE order_id = ANY($1)",
            ),
            load: text(&format!("SELECT {ORDER_COLUMNS} FROM @orders WHERE order_id = $1")),
            load_named: text(&format!(
                "SELECT {ORDER_COLUMNS} FROM @orders WHERE user_id = $1 AND client_order_id = $2"
            )),
            last_seqs: text("SELECT order_id, seq FROM @order_states WHERE order_id = ANY($1)"),
            // Conditions, an order and a limit follow.
            list: text(&format!("SELECT {ORDER_COLUMNS} FROM @orders WHERE true")),
            backlog_attention: text(
                "SELECT count(*) AS orders FROM @order_states WHERE attention IS NOT NULL",
            ),
            purge: text(PURGE),
        }
    }
}

fn create() -> String {
    let lists =
        [NewOrderColumns::COLUMNS, FirstLeaseRow::COLUMNS, RequestColumns::COLUMNS, StateColumns::COLUMNS];
    let items = unnest("item", 2, &lists);
    let (head, state) = (names("", &[RequestColumns::COLUMNS]), names("", &[StateColumns::COLUMNS]));
    let insert_events = insert_events(2 + width(&lists));
    let (until, leased_until) = (after("handicap_us"), after("lease_us"));
    // A head start does not count for the end of a lease.
    let head_start = "CASE WHEN lease_us IS NULL THEN head_start_us ELSE 0 END";
    let (here, turn_at) = (here(), turn_at("due", "until", head_start));
    format!(
        "WITH {DURABLE}, {SINKS_ARE_KNOWN}, {here},
        item AS MATERIALIZED (SELECT * FROM {items}),
        accepted AS (
            INSERT INTO @order_heads ({head})
            SELECT {head} FROM item CROSS JOIN settings CROSS JOIN sinks_are_known
            ON CONFLICT DO NOTHING
            RETURNING order_id
        ),
        written AS (
            INSERT INTO @order_states (order_id, {state}, head_start_us, due_at, handicap_until, turn_at, position,
                lease_epoch, lease_owner, claims_without_progress)
            SELECT order_id, {state}, head_start_us, due, until, {turn_at}, here.place,
                (lease_owner IS NOT NULL)::int, lease_owner, (lease_owner IS NOT NULL)::int
            FROM item
                CROSS JOIN LATERAL (
                    SELECT coalesce({leased_until}, greatest({STATEMENT_TIME}, not_before)) AS due, {until} AS until
                ) AS times
                CROSS JOIN here
            WHERE coalesce(order_id IN (SELECT order_id FROM accepted), false)
            RETURNING order_id, 0::bigint AS after_seq, position
        ),
        {insert_events}
        SELECT order_id FROM written"
    )
}

/// The columns that are NULL in every new order: it has come to nothing yet.
const OF_LATER_STATES: [&str; 7] =
    ["chosen_dex", "tx_hash", "execution_price", "amount_out", "error_code", "error_message", "attention"];
/// The column that is left out of a new order's first write, because the order has it.
const OF_THE_ORDER: &str = "order_id";

/// Returns whether [`create_in`] takes a column of the state.
pub(crate) fn is_new_orders(column: &str) -> bool {
    !OF_LATER_STATES.contains(&column)
}

/// Returns whether [`create_in`] takes a column of the first write.
pub(crate) fn is_first_writes(column: &str) -> bool {
    column != OF_THE_ORDER
}

/// Creates one order within a transaction of the host. PostgreSQL prepares each part of a statement anew
/// whenever it runs, so this one has few parts: one value for each parameter, and only the columns that a new
/// order has.
fn create_in(taken: Parameters) -> String {
    let head = RequestColumns::COLUMNS;
    let mut state = StateColumns::COLUMNS.to_vec();
    state.retain(|(name, _)| is_new_orders(name));
    let mut history = HistoryColumns::COLUMNS.to_vec();
    history.retain(|(name, _)| is_first_writes(name));
    // The lists follow each other as `bind_new` binds them.
    let mut next = 1;
    let mut values = |columns: &[Column]| {
        next += columns.len();
        taken.scalars(next - columns.len(), columns)
    };
    let (head_values, state_values, history_values) = (values(head), values(&state), values(&history));
    let [handicap_us, head_start_us] = [0, 1].map(|turn| values(&NewOrderColumns::COLUMNS[turn..=turn]));
    let [head, state, history] = [head, &state, &history].map(|columns| names("", &[columns]));
    let (due_at, until) = (format!("greatest({STATEMENT_TIME}, not_before)"), after(&handicap_us));
    let turn_at = turn_at(&due_at, &until, &head_start_us);
    format!(
        "WITH accepted AS (
            INSERT INTO @order_heads ({head})
            SELECT {head_values} WHERE {DURABLE_IN} AND {SINKS_ARE_KNOWN_IN}
            ON CONFLICT DO NOTHING
            RETURNING order_id, not_before
        ),
        written AS (
            INSERT INTO @order_states (order_id, {state}, head_start_us, due_at, handicap_until, turn_at, position)
            SELECT order_id, {state_values}, {head_start_us}, {due_at}, {until}, {turn_at}, {POSITION} FROM accepted
            RETURNING order_id, position
        ),
        recorded AS (
            INSERT INTO @order_writes (order_id, {history}, position)
            SELECT order_id, {history_values}, position FROM written
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
    let history = 2 + width(&lists);
    let insert_events = insert_events(history);
    let insert_failures = insert_failures(history + width(&[HistoryColumns::COLUMNS]));
    let released_at = after("item.release_us");
    let here = here();
    let (released_turn, revoked_turn) = (turn_of_order(&released_at), turn_of_order(STATEMENT_TIME));
    format!(
        "WITH {DURABLE}, {here},
        written AS (
            UPDATE @order_states AS orders SET
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
        {insert_events},
        {insert_failures}
        SELECT order_id FROM written"
    )
}

/// Deletes those orders of a page of a walk over all orders that may be deleted.
const PURGE: &str = "WITH page AS MATERIALIZED (
        SELECT order_id AS id,
            status IN ('confirmed', 'failed')
                AND updated_at < CASE WHEN client_order_id IS NULL THEN $1::timestamptz ELSE $2 END
                AND NOT EXISTS (SELECT FROM @outbox_entries AS entry WHERE entry.order_id = orders.order_id)
                AS is_purged
        FROM @orders AS orders WHERE order_id > $3 ORDER BY order_id LIMIT $4
    ),
    purged_heads AS (DELETE FROM @order_heads USING page WHERE order_id = id AND is_purged),
    purged_states AS (DELETE FROM @order_states USING page WHERE order_id = id AND is_purged),
    purged_writes AS (DELETE FROM @order_writes USING page WHERE order_id = id AND is_purged),
    purged_failures AS (DELETE FROM @order_failures USING page WHERE order_id = id AND is_purged),
    purged_nonces AS (DELETE FROM @account_nonces USING page WHERE order_id = id AND is_purged)
    SELECT id AS order_id, is_purged FROM page ORDER BY id";
