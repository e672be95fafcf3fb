//! The operations that only read.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::backend::{StatusConditions, count, encode_u64, set_lane_backlog};
use order_engine_core::{
    Backlog, ClientOrderId, EventRecord, Lane, LaneBacklog, Order, OrderId, OrderQuery, SinkBacklog, Sort,
    UndecodableOrder, UserId,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteExecutor, SqlitePool};

use crate::error::Error;
use crate::rows::{self, id_list};
use crate::sql;

pub(crate) async fn load<'c>(reader: impl SqliteExecutor<'c>, id: OrderId) -> Result<Option<Order>, Error> {
    match sqlx::query(sql::LOAD).bind(id.to_string()).fetch_optional(reader).await? {
        Some(row) => Ok(Some(rows::order(&row)??)),
        None => Ok(None),
    }
}

pub(crate) async fn load_named(
    pool: &SqlitePool,
    user: &UserId,
    name: &ClientOrderId,
) -> Result<Option<Order>, Error> {
    let query = sqlx::query(sql::LOAD_NAMED).bind(user.as_str()).bind(name.as_str());
    Ok(query.fetch_optional(pool).await?.map(|row| rows::order(&row)).transpose()?.transpose()?)
}

pub(crate) async fn events(
    pool: &SqlitePool,
    id: OrderId,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRecord>, Error> {
    let wanted = after.saturating_add(1)..=after.saturating_add(limit.into());
    let found = sqlx::query(sql::EVENTS)
        .bind(id.to_string())
        .bind(stored(*wanted.start()))
        .bind(stored(*wanted.end()))
        .fetch_all(pool)
        .await?;
    let mut events = Vec::new();
    for row in &found {
        for (_, event) in rows::events(row, wanted.clone())? {
            events.push(event?);
        }
    }
    Ok(events)
}

/// Returns the number of an event as rows hold it. No order has an event beyond 63 bits.
fn stored(seq: u64) -> i64 {
    encode_u64(seq).unwrap_or(i64::MAX)
}

pub(crate) async fn last_seqs(pool: &SqlitePool, ids: &[OrderId]) -> Result<Vec<Option<u64>>, Error> {
    let found = sqlx::query(sql::LAST_SEQS).bind(id_list(ids)).fetch_all(pool).await?;
    let last_seq = |row: &SqliteRow| Ok((rows::order_id(row)?, count(row.try_get("seq")?)));
    let found: HashMap<OrderId, u64> = found.iter().map(last_seq).collect::<Result<_, Error>>()?;
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}

pub(crate) async fn due_orders(
    pool: &SqlitePool,
    lane: Lane,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<Vec<OrderId>, Error> {
    let found = sqlx::query(sql::DUE_ORDERS).bind(lane.as_str()).bind(now.timestamp_millis()).bind(limit);
    found.fetch_all(pool).await?.iter().map(rows::order_id).collect()
}

pub(crate) async fn backlog(pool: &SqlitePool, now: DateTime<Utc>) -> Result<Backlog, Error> {
    let now_ms = now.timestamp_millis();
    let mut backlog = Backlog::default();
    let mut lanes: HashMap<String, LaneBacklog> = HashMap::new();
    for row in sqlx::query(sql::BACKLOG_LANES).bind(now_ms).fetch_all(pool).await? {
        let first_due_at: i64 = row.try_get("first_due_at")?;
        let counted = lanes.entry(row.try_get("lane")?).or_default();
        counted.orders += count(row.try_get("orders")?);
        counted.due += count(row.try_get("due")?);
        counted.due_for = counted.due_for.max((first_due_at <= now_ms).then(|| age(first_due_at, now_ms)));
    }
    for (lane, counted) in lanes {
        set_lane_backlog(&mut backlog, &lane, counted);
    }
    backlog.attention = count(sqlx::query_scalar(sql::BACKLOG_ATTENTION).fetch_one(pool).await?);
    for row in sqlx::query(sql::BACKLOG_SINKS).fetch_all(pool).await? {
        let pending_since: Option<i64> = row.try_get("pending_since")?;
        let sink = row.try_get::<&str, _>("name")?.into();
        let pending_for = pending_since.map(|since| age(since, now_ms));
        backlog.sinks.push(SinkBacklog::new(sink, count(row.try_get("orders")?), pending_for));
    }
    Ok(backlog)
}

fn age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or(0))
}

const STATUS_CONDITIONS: StatusConditions = StatusConditions {
    open: "order_id IN (
        SELECT order_id FROM orders
            WHERE lane IN ('execute', 'observe') AND turn_at IS NULL AND due_at IS NOT NULL
        UNION ALL SELECT order_id FROM orders WHERE lane IN ('execute', 'observe') AND turn_at IS NOT NULL
        UNION ALL SELECT order_id FROM orders WHERE attention IS NOT NULL)",
    // The index of failed orders is found by their status.
    failed: "",
};

pub(crate) fn list_statement(query: &OrderQuery) -> QueryBuilder<Sqlite> {
    let mut statement = QueryBuilder::<Sqlite>::new(sql::LIST);
    if let Some(user_id) = &query.user_id {
        statement.push(" AND user_id = ").push_bind(user_id.as_str().to_owned());
    }
    if let Some(status) = query.status {
        statement.push(STATUS_CONDITIONS.of(status));
    }
    if let Some(tag) = &query.tag {
        statement.push(" AND tag = ").push_bind(tag.as_str().to_owned());
    }
    if query.attention {
        statement.push(" AND attention IS NOT NULL");
    }
    if let Some(before) = query.before {
        statement.push(" AND order_id < ").push_bind(before.to_string());
    }
    if let Some(after) = query.after {
        statement.push(" AND order_id > ").push_bind(after.to_string());
    }
    statement.push(match query.sort {
        Sort::NewestFirst => " ORDER BY order_id DESC LIMIT +",
        Sort::OldestFirst => " ORDER BY order_id LIMIT +",
    });
    statement.push_bind(query.limit);
    statement
}

pub(crate) async fn list(
    pool: &SqlitePool,
    query: &OrderQuery,
) -> Result<Vec<Result<Order, UndecodableOrder>>, Error> {
    let found = list_statement(query).build().fetch_all(pool).await?;
    let order = |row: &SqliteRow| match rows::order(row)? {
        Ok(order) => Ok(Ok(order)),
        Err(error) => Ok(Err(UndecodableOrder { order_id: rows::order_id(row)?, error })),
    };
    found.iter().map(order).collect()
}
