//! What is read without writing.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::{
    Backlog, EventRecord, Lane, LaneBacklog, Order, OrderId, OrderQuery, SinkBacklog, Status,
    UndecodableOrder,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use crate::error::{Error, undecodable_apart};
use crate::rows::{self, integer, order_columns};
use crate::sql::{BACKLOG_ATTENTION, BACKLOG_LANES, BACKLOG_SINKS, EVENTS, HEADS, LOAD};

/// A JSON array of ids, for `json_each`.
pub(crate) fn id_list(ids: &[OrderId]) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", quoted.join(","))
}

pub(crate) async fn load(pool: &SqlitePool, ids: &[OrderId]) -> Result<Vec<Option<Order>>, Error> {
    let rows = sqlx::query(LOAD).bind(id_list(ids)).fetch_all(pool).await?;
    let found: HashMap<OrderId, Order> =
        rows.iter().map(|row| Ok((rows::order_id(row)?, rows::order(row)?))).collect::<Result<_, Error>>()?;
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

pub(crate) async fn events(
    pool: &SqlitePool,
    id: OrderId,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRecord>, Error> {
    // Nothing is stored beyond 63 bits, so nothing comes after such a number.
    let after = integer(after).unwrap_or(i64::MAX);
    let rows = sqlx::query(EVENTS).bind(id.to_string()).bind(after).bind(limit).fetch_all(pool).await?;
    rows.iter().map(rows::event).collect()
}

pub(crate) async fn last_seqs(pool: &SqlitePool, ids: &[OrderId]) -> Result<Vec<Option<u64>>, Error> {
    let rows = sqlx::query(HEADS).bind(id_list(ids)).fetch_all(pool).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(rows::order_id(row)?, u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0));
    }
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}

pub(crate) async fn due_orders(
    pool: &SqlitePool,
    lane: Lane,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<Vec<OrderId>, Error> {
    let sql = "SELECT order_id FROM orders
        WHERE lane = ? AND due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT +?";
    let rows = sqlx::query(sql).bind(lane.as_str()).bind(now.timestamp_millis()).bind(limit);
    rows.fetch_all(pool).await?.iter().map(rows::order_id).collect()
}

pub(crate) async fn backlog(pool: &SqlitePool, now: DateTime<Utc>) -> Result<Backlog, Error> {
    let now_ms = now.timestamp_millis();
    let mut backlog = Backlog::default();
    for row in sqlx::query(BACKLOG_LANES).bind(now_ms).fetch_all(pool).await? {
        let first: i64 = row.try_get(3)?;
        let counted = LaneBacklog {
            orders: count(&row, 1)?,
            due: count(&row, 2)?,
            due_for: (first <= now_ms).then(|| age(first, now_ms)),
        };
        match row.try_get(0)? {
            "execute" => backlog.execute = counted,
            "observe" => backlog.observe = counted,
            // A newer program's; it counts them itself.
            _ => {}
        }
    }
    backlog.attention = count(&sqlx::query(BACKLOG_ATTENTION).fetch_one(pool).await?, 0)?;
    for row in sqlx::query(BACKLOG_SINKS).fetch_all(pool).await? {
        let oldest: Option<i64> = row.try_get(2)?;
        backlog.sinks.push(SinkBacklog {
            sink: row.try_get::<&str, _>(0)?.into(),
            orders: count(&row, 1)?,
            pending_for: oldest.map(|since| age(since, now_ms)),
        });
    }
    Ok(backlog)
}

/// A condition that finds the orders of a status without a walk through all that ever ended. The texts
/// stand in the statement, because only so SQLite sees that a partial index will do.
const fn status_filter(status: Status) -> &'static str {
    macro_rules! open {
        ($status:literal) => {
            concat!(
                " AND status = '",
                $status,
                "' AND order_id IN (
                    SELECT order_id FROM orders WHERE lane IN ('execute', 'observe') AND due_at IS NOT NULL
                    UNION ALL SELECT order_id FROM orders WHERE attention IS NOT NULL)"
            )
        };
    }
    match status {
        Status::Pending => open!("pending"),
        Status::Routing => open!("routing"),
        Status::Building => open!("building"),
        Status::Submitted => open!("submitted"),
        Status::Confirmed => " AND status = 'confirmed'",
        Status::Failed => " AND status = 'failed'",
    }
}

fn count(row: &SqliteRow, column: usize) -> Result<u64, Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
}

fn age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or(0))
}

pub(crate) fn list_statement(query: &OrderQuery) -> QueryBuilder<Sqlite> {
    let mut sql =
        QueryBuilder::<Sqlite>::new(concat!("SELECT ", order_columns!(), " FROM orders WHERE true"));
    if let Some(user_id) = &query.user_id {
        sql.push(" AND user_id = ").push_bind(user_id.as_str().to_owned());
    }
    if let Some(status) = query.status {
        sql.push(status_filter(status));
    }
    if query.attention {
        sql.push(" AND attention IS NOT NULL");
    }
    if let Some(before) = query.before {
        sql.push(" AND order_id < ").push_bind(before.to_string());
    }
    sql.push(" ORDER BY order_id DESC LIMIT +").push_bind(query.limit);
    sql
}

pub(crate) async fn list(
    pool: &SqlitePool,
    query: &OrderQuery,
) -> Result<Vec<Result<Order, UndecodableOrder>>, Error> {
    let rows = list_statement(query).build().fetch_all(pool).await?;
    let order = |row: &SqliteRow| match undecodable_apart(rows::order(row))? {
        Ok(order) => Ok(Ok(order)),
        Err(error) => Ok(Err(UndecodableOrder { order_id: rows::order_id(row)?, error })),
    };
    rows.iter().map(order).collect()
}
