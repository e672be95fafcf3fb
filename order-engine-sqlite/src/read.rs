//! What is read without writing.

use std::collections::HashMap;

use order_engine_core::{EventRecord, Order, OrderId, OrderQuery};
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

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

pub(crate) async fn list(pool: &SqlitePool, query: &OrderQuery) -> Result<Vec<Order>, Error> {
    let mut sql =
        QueryBuilder::<Sqlite>::new(concat!("SELECT ", order_columns!(), " FROM orders WHERE true"));
    if let Some(user_id) = &query.user_id {
        sql.push(" AND user_id = ").push_bind(user_id.as_str().to_owned());
    }
    if let Some(status) = query.status {
        sql.push(" AND status = ").push_bind(status.as_str());
    }
    if query.quarantined {
        sql.push(" AND attention IS NOT NULL");
    }
    if let Some(before) = query.before {
        sql.push(" AND order_id < ").push_bind(before.to_string());
    }
    sql.push(" ORDER BY order_id DESC LIMIT ").push_bind(query.limit);
    let rows = sql.build().fetch_all(pool).await?;
    let orders = rows.iter().filter_map(|row| match rows::order(row) {
        Err(Error::Undecodable(error)) => {
            tracing::error!(%error, "a listed order cannot be read");
            None
        }
        result => Some(result),
    });
    orders.collect()
}
