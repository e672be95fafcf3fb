//! What is read without writing.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::{
    Backlog, EventRecord, Lane, LaneBacklog, Order, OrderId, OrderQuery, SinkBacklog, UndecodableOrder,
};

use crate::error::Error;
use crate::link::{self, Link};
use crate::rows::{self, Field, ORDER_FIELDS};
use crate::script;

/// The most events that one run of a script gives.
const EVENTS: u64 = 512;
/// The most orders that one run of a script looks at.
const SCAN: u32 = 512;

fn row_key(link: &Link, id: OrderId) -> String {
    format!("{}:order:{id}", link.options().key_prefix())
}

pub(crate) async fn now(link: &Link) -> Result<DateTime<Utc>, Error> {
    let (seconds, micros): (u64, u64) = link::only(link.send_repeatable(vec![redis::cmd("TIME")]).await?)?;
    rows::moment(seconds * 1_000_000 + micros)
}

pub(crate) async fn load(link: &Link, ids: &[OrderId]) -> Result<Vec<Option<Order>>, Error> {
    let get = |id: &OrderId| {
        let mut get = redis::cmd("HMGET");
        get.arg(row_key(link, *id)).arg(&ORDER_FIELDS);
        get
    };
    let replies = link.send_repeatable(ids.iter().map(get).collect()).await?;
    let order = |(id, reply)| {
        let fields: Vec<Field> = link::reply(reply)?;
        Ok(rows::order(id, &fields)?)
    };
    ids.iter().copied().zip(replies).map(order).collect()
}

pub(crate) async fn last_seqs(link: &Link, ids: &[OrderId]) -> Result<Vec<Option<u64>>, Error> {
    let get = |id: &OrderId| {
        let mut get = redis::cmd("HGET");
        get.arg(row_key(link, *id)).arg("seq");
        get
    };
    let replies = link.send_repeatable(ids.iter().map(get).collect()).await?;
    replies.into_iter().map(link::reply).collect()
}

pub(crate) async fn events(
    link: &Link,
    id: OrderId,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRecord>, Error> {
    let (mut events, mut after, mut left) = (Vec::new(), after, u64::from(limit));
    // No history reaches numbers that Redis could not count to.
    while left > 0 && i64::try_from(after.saturating_add(EVENTS)).is_ok() {
        let page = left.min(EVENTS);
        let mut call = link.call(&script::EVENTS);
        call.arg(id.to_string()).arg(after).arg(page);
        let texts: Vec<Vec<u8>> = link::only(link.send_repeatable(vec![call]).await?)?;
        for event in rows::events(id, after + 1, &texts) {
            events.push(event?);
        }
        let found = texts.len() as u64;
        if found < page {
            break;
        }
        (after, left) = (after + found, left - found);
    }
    Ok(events)
}

pub(crate) async fn due_orders(link: &Link, lane: Lane, limit: u32) -> Result<Vec<OrderId>, Error> {
    let mut call = link.call(&script::DUE);
    call.arg(lane.as_str()).arg(limit);
    let ids: Vec<Vec<u8>> = link::only(link.send_repeatable(vec![call]).await?)?;
    // An id that cannot be read names no order.
    Ok(ids.iter().filter_map(|id| rows::order_id(id).ok()).collect())
}

/// How many there are, how many are due, and since when in milliseconds the first one is.
type LaneReply = (u64, u64, Option<f64>);
/// The store's time in milliseconds, both lanes, how many need attention, and of each sink how many debts
/// it has and since when in milliseconds.
type BacklogReply = (u64, LaneReply, LaneReply, u64, Vec<(String, u64, Option<f64>)>);

pub(crate) async fn backlog(link: &Link) -> Result<Backlog, Error> {
    let reply = link.send_repeatable(vec![link.call(&script::BACKLOG)]).await?;
    let (now_ms, execute, observe, attention, sinks): BacklogReply = link::only(reply)?;
    let lane = |(orders, due, first): LaneReply| LaneBacklog {
        orders,
        due,
        due_for: first.filter(|_| due > 0).map(|first| age(first, now_ms)),
    };
    let sink = |(name, orders, oldest): (String, u64, Option<f64>)| SinkBacklog {
        sink: Arc::from(name),
        orders,
        pending_for: oldest.map(|oldest| age(oldest, now_ms)),
    };
    let mut sinks: Vec<SinkBacklog> = sinks.into_iter().map(sink).collect();
    sinks.sort_by(|one, other| one.sink.cmp(&other.sink));
    Ok(Backlog { execute: lane(execute), observe: lane(observe), attention, sinks })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A score is a whole number.
fn age(since_ms: f64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(since_ms.max(0.0) as u64))
}

/// Where the walk goes on, and the orders found with their fields.
type ListReply = (Option<Vec<u8>>, Vec<(Vec<u8>, Vec<Field>)>);

pub(crate) async fn list(
    link: &Link,
    query: &OrderQuery,
) -> Result<Vec<Result<Order, UndecodableOrder>>, Error> {
    let mut listed = Vec::new();
    let mut before = query.before.map_or(Vec::new(), |id| id.to_string().into_bytes());
    loop {
        let left = query.limit.saturating_sub(u32::try_from(listed.len()).unwrap_or(u32::MAX));
        if left == 0 {
            return Ok(listed);
        }
        let mut call = link.call(&script::LIST);
        call.arg(u8::from(query.user_id.is_some()));
        call.arg(query.user_id.as_ref().map_or("", |user| user.as_str()));
        call.arg(query.status.map_or("", |status| status.as_str())).arg(u8::from(query.attention));
        call.arg(&before).arg(left).arg(SCAN);
        let (next, rows): ListReply = link::only(link.send_repeatable(vec![call]).await?)?;
        listed.extend(rows.iter().filter_map(|(id, fields)| listed_order(id, fields)));
        match next {
            Some(next) => before = next,
            None => return Ok(listed),
        }
    }
}

fn listed_order(id: &[u8], fields: &[Field]) -> Option<Result<Order, UndecodableOrder>> {
    let Ok(order_id) = rows::order_id(id) else {
        tracing::error!(order.id = %String::from_utf8_lossy(id), "an order with an unreadable id is not listed");
        return None;
    };
    match rows::order(order_id, fields) {
        Ok(order) => order.map(Ok),
        Err(error) => Some(Err(UndecodableOrder { order_id, error })),
    }
}
