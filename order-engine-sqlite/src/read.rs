//! What is read without writing.

use std::collections::HashMap;

use order_engine_core::{EventRecord, Order, OrderId};
use sqlx::{Row, SqlitePool};

use crate::error::Error;
use crate::rows::{self, event_columns, integer, order_columns};

/// A JSON array of ids, for `json_each`.
pub(crate) fn id_list(ids: &[OrderId]) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", quoted.join(","))
}

pub(crate) async fn load(pool: &SqlitePool, ids: &[OrderId]) -> Result<Vec<Option<Order>>, Error> {
    let sql = concat!(
        "SELECT ",
        order_columns!(),
        " FROM orders WHERE order_id IN (SELECT value FROM json_each(?))"
    );
    let rows = sqlx::query(sql).bind(id_list(ids)).fetch_all(pool).await?;
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
    let sql = concat!(
        "SELECT ",
        event_columns!(),
        " FROM order_events WHERE order_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    );
    // Nothing is stored beyond 63 bits, so nothing comes after such a number.
    let after = integer(after).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(id.to_string()).bind(after).bind(limit).fetch_all(pool).await?;
    rows.iter().map(rows::event).collect()
}

pub(crate) async fn heads(pool: &SqlitePool, ids: &[OrderId]) -> Result<Vec<Option<u64>>, Error> {
    let sql = "SELECT order_id, seq FROM orders WHERE order_id IN (SELECT value FROM json_each(?))";
    let rows = sqlx::query(sql).bind(id_list(ids)).fetch_all(pool).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(rows::order_id(row)?, u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0));
    }
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}
