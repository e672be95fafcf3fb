//! The queue: which orders are due, whose turn it is, and who has leased them.
//!
//! All orders of the queue are in one index by their turns. A second one has those whose turn does not come when they
//! become due, by their due times. What is asked of the due times of all orders is asked of the second index first;
//! its answer bounds how far the first one has to be read for the others, whose turns are their due times.

use std::sync::Arc;

use order_engine_core::backend::ReleaseColumns;
use order_engine_core::store::Lease;

use super::settings::{LAZY, LAZY_AND_BRIEF, STATEMENT_TIME, after};
use super::text::{qualified, unnest};
use crate::rows::{ListRow, ORDER_COLUMNS};

/// The statements of the queue.
#[derive(Debug)]
pub(crate) struct QueueSql {
    pub(crate) claim: Arc<str>,
    pub(crate) claim_order: Arc<str>,
    pub(crate) renew: Arc<str>,
    pub(crate) renew_current: Arc<str>,
    pub(crate) release: Arc<str>,
    pub(crate) make_due: Arc<str>,
    pub(crate) due_orders: Arc<str>,
    pub(crate) backlog_lanes: Arc<str>,
}

impl QueueSql {
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        Self {
            claim: text(&claim()),
            claim_order: text(&claim_order()),
            renew: text(&renew()),
            renew_current: text(
                "SELECT order_id, lease_epoch, lease_owner FROM @order_states
                WHERE order_id = ANY($1) AND lease_owner IS NOT NULL",
            ),
            release: text(&release()),
            // Ends a wait. The due time of a leased order is the expiry of its lease, which stays as it is.
            make_due: text(&format!(
                "UPDATE @order_states AS orders SET due_at = {STATEMENT_TIME}, turn_at = {}
                WHERE order_id = $1 AND coalesce(due_at > {STATEMENT_TIME}, false) AND lease_owner IS NULL",
                turn_of_order(STATEMENT_TIME)
            )),
            due_orders: text(&due_orders()),
            backlog_lanes: text(&format!(
                "SELECT lane, count(*) AS orders, count(*) FILTER (WHERE due_at <= {STATEMENT_TIME}) AS due,
                    (extract(epoch FROM {STATEMENT_TIME} - min(due_at)) * 1000000)::bigint AS due_for_us
                FROM @order_states WHERE turn_at IS NOT NULL GROUP BY lane"
            )),
        }
    }
}

/// Returns when the turn of an order comes that becomes due at a moment.
pub(super) fn turn_at(due_at: &str, handicap_until: &str, head_start_us: &str) -> String {
    format!("greatest({due_at}, {handicap_until}) - {head_start_us} * interval '1 microsecond'")
}

/// The same for a row of the table of states that is called `orders`.
pub(super) fn turn_of_order(due_at: &str) -> String {
    turn_at(due_at, "orders.handicap_until", "orders.head_start_us")
}

/// The orders whose turn does not come when they become due. PostgreSQL uses the index of these only where this
/// very condition stands.
const HAS_OWN_TURN: &str = "turn_at <> due_at";

/// The due orders that a claim takes: those whose turn has come, and then the others. Where all turns that
/// have come fill the claim, the others are not looked for. The coalescing keeps PostgreSQL from looking for them
/// by their turns.
fn claim() -> String {
    lease(&format!(
        "turn AS MATERIALIZED (
            SELECT order_id AS id, turn_at AS at FROM @order_states
            WHERE lane = $1 AND turn_at <= {STATEMENT_TIME} AND due_at <= {STATEMENT_TIME}
            ORDER BY turn_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ),
        other AS MATERIALIZED (
            SELECT order_id AS id, due_at AS at FROM @order_states
            WHERE lane = $1 AND due_at <= {STATEMENT_TIME} AND {HAS_OWN_TURN}
                AND coalesce(turn_at > {STATEMENT_TIME}, false)
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
            SELECT order_id AS id, 1 AS pass, due_at AS at FROM @order_states
            WHERE lane = $1 AND coalesce(due_at <= {STATEMENT_TIME}, false) AND order_id = $5
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )"
    ))
}

/// Leases the orders that are `due`, and returns when the next order becomes due that it did not lease.
fn lease(due: &str) -> String {
    let (until, next) = (after("$4"), next());
    // Both tables have the id.
    let columns = format!("orders.{ORDER_COLUMNS}");
    format!(
        "WITH {LAZY},
        {due},
        leased AS (
            UPDATE @order_states AS orders SET lease_epoch = lease_epoch + 1, lease_owner = $3, due_at = {until},
                turn_at = {until}, claims_without_progress = claims_without_progress + 1
            FROM due JOIN @order_heads AS head ON head.order_id = due.id WHERE orders.order_id = due.id
            RETURNING {columns}, lease_epoch, claims_without_progress, lease_owner, pass, at
        ),
        {next}
        SELECT leased.*, (extract(epoch FROM next_due_at - {STATEMENT_TIME}) * 1000000)::bigint AS next_us,
            date_trunc('milliseconds', {STATEMENT_TIME}) AS as_of
        FROM next CROSS JOIN lazy LEFT JOIN leased ON true ORDER BY pass, at"
    )
}

/// When the next of the orders becomes due that are not among the `due` ones. An order that becomes due before all
/// those with turns of their own has none, so the first such order by its turn is the first by its due time.
///
/// The coalescing keeps PostgreSQL from joining the orders with the few that are excluded.
fn next() -> String {
    let is_other = "coalesce(order_id NOT IN (SELECT id FROM due), true)";
    let first = "coalesce((SELECT due_at FROM own_turn), 'infinity')";
    format!(
        "own_turn AS MATERIALIZED (
            SELECT due_at FROM @order_states WHERE lane = $1 AND {HAS_OWN_TURN} AND {is_other} ORDER BY due_at LIMIT 1
        ),
        next AS (
            SELECT least(
                (SELECT due_at FROM own_turn),
                (
                    SELECT due_at FROM @order_states
                    WHERE lane = $1 AND turn_at < {first} AND due_at < {first} AND {is_other}
                    ORDER BY turn_at LIMIT 1
                )
            ) AS next_due_at
        )"
    )
}

/// The due orders in the order of becoming due: the first of those with turns of their own, and the first of the
/// others. Where the former alone fill the list, none of the others that became due after them is read.
fn due_orders() -> String {
    format!(
        "WITH own_turn AS MATERIALIZED (
            SELECT order_id, due_at FROM @order_states
            WHERE lane = $1 AND due_at <= {STATEMENT_TIME} AND {HAS_OWN_TURN} ORDER BY due_at LIMIT $2
        ),
        last AS MATERIALIZED (
            SELECT CASE WHEN count(*) < $2 THEN {STATEMENT_TIME} ELSE max(due_at) END AS due_at FROM own_turn
        ),
        others AS MATERIALIZED (
            SELECT order_id, due_at FROM @order_states
            WHERE lane = $1 AND turn_at <= (SELECT due_at FROM last) AND due_at <= (SELECT due_at FROM last)
                AND coalesce(turn_at = due_at, false)
            ORDER BY turn_at LIMIT $2
        )
        SELECT order_id FROM (SELECT * FROM own_turn UNION ALL SELECT * FROM others) AS due
        ORDER BY due_at LIMIT $2"
    )
}

fn renew() -> String {
    let items = unnest("item", 3, &[Lease::COLUMNS]);
    let until = after("$2");
    format!(
        "WITH {LAZY_AND_BRIEF}
        UPDATE @order_states AS orders SET due_at = {until}, turn_at = {until}
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
        UPDATE @order_states AS orders SET
            due_at = {due_at}, turn_at = {turn_at}, lease_owner = NULL,
            claims_without_progress = greatest(0, claims_without_progress - item.yielded),
            attention = coalesce(item.attention, orders.attention)
        FROM {items} CROSS JOIN settings
        WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner"
    )
}
