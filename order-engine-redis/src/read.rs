//! The reads, which may be repeated.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::{
    Backlog, ClientOrderId, EventRecord, Lane, LaneBacklog, Order, OrderId, OrderQuery, SinkBacklog, Sort,
    UndecodableOrder, UserId,
};

use crate::error::Error;
use crate::replies::{self, reply};
use crate::rows::{self, OrderRow, Written};
use crate::scripts;
use crate::session::Session;

/// The most events that one call returns.
const EVENTS: u64 = 512;
/// The most orders that one call looks at.
const SCAN: u32 = 512;
const MICROS_PER_SECOND: u64 = 1_000_000;

fn order_key(session: &Session, id: OrderId) -> String {
    session.key(&format!("order:{id}"))
}

reply! {
    TimeReply {
        seconds: u64,
        micros: u64,
    }
}

pub(crate) async fn now(session: &Session) -> Result<DateTime<Utc>, Error> {
    let now: TimeReply = session.read(redis::cmd("TIME")).await?;
    rows::moment(now.seconds * MICROS_PER_SECOND + now.micros)
}

pub(crate) async fn load(session: &Session, id: OrderId) -> Result<Option<Order>, Error> {
    let row = session.read(OrderRow::read(&order_key(session, id))).await?;
    Ok(rows::order(id, &row)?)
}

pub(crate) async fn load_named(
    session: &Session,
    user: &UserId,
    name: &ClientOrderId,
) -> Result<Option<Order>, Error> {
    let mut get = redis::cmd("HGET");
    get.arg(session.key(&format!("client_order_ids:{user}"))).arg(name.as_str());
    // The name of an order that is deleted meanwhile leads to none.
    match session.read::<Option<Vec<u8>>>(get).await? {
        Some(id) => load(session, rows::order_id(&id)?).await,
        None => Ok(None),
    }
}

pub(crate) async fn last_seqs(session: &Session, ids: &[OrderId]) -> Result<Vec<Option<u64>>, Error> {
    let get = |id: &OrderId| {
        let mut get = redis::cmd("HGET");
        get.arg(order_key(session, *id)).arg("summary");
        get
    };
    let replies = session.read_all(ids.iter().map(get).collect()).await?;
    let last_seq = |reply| {
        let summary: Option<String> = replies::decode(reply)?;
        Ok(summary.map(|summary| rows::last_seq(&summary)).transpose()?)
    };
    replies.into_iter().map(last_seq).collect()
}

pub(crate) async fn events(
    session: &Session,
    id: OrderId,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRecord>, Error> {
    let (mut events, mut after, mut left) = (Vec::new(), after, u64::from(limit));
    // No history reaches numbers that Redis could not count to.
    while left > 0 && i64::try_from(after.saturating_add(EVENTS)).is_ok() {
        let page = left.min(EVENTS);
        let mut call = session.script(&scripts::EVENTS);
        call.arg(id.to_string()).arg(after).arg(page);
        let writes: Vec<Written> = session.read(call).await?;
        let before = events.len();
        for event in rows::events(id, after, after + page, &writes) {
            events.push(event?);
        }
        let found = (events.len() - before) as u64;
        if found < page {
            break;
        }
        (after, left) = (after + found, left - found);
    }
    Ok(events)
}

pub(crate) async fn due_orders(session: &Session, lane: Lane, limit: u32) -> Result<Vec<OrderId>, Error> {
    let mut call = session.script(&scripts::DUE_ORDERS);
    call.arg(lane.as_str()).arg(limit);
    let ids: Vec<Vec<u8>> = session.read(call).await?;
    // An id that cannot be decoded names no order.
    Ok(ids.iter().filter_map(|id| rows::order_id(id).ok()).collect())
}

reply! {
    BacklogReply {
        now_ms: u64,
        execute: LaneReply,
        observe: LaneReply,
        attention: u64,
        sinks: Vec<SinkReply>,
    }

    LaneReply {
        orders: u64,
        due: u64,
        first_due_ms: Option<f64>,
    }

    SinkReply {
        sink: String,
        orders: u64,
        pending_since_ms: Option<f64>,
    }
}

pub(crate) async fn backlog(session: &Session) -> Result<Backlog, Error> {
    let backlog: BacklogReply = session.read(session.script(&scripts::BACKLOG)).await?;
    let lane = |lane: LaneReply| {
        let first_due_ms = lane.first_due_ms.filter(|_| lane.due > 0);
        LaneBacklog::default()
            .with_orders(lane.orders)
            .with_due(lane.due)
            .with_due_for(first_due_ms.map(|due_ms| age(due_ms, backlog.now_ms)))
    };
    let sink = |sink: SinkReply| {
        let pending_for = sink.pending_since_ms.map(|since_ms| age(since_ms, backlog.now_ms));
        SinkBacklog::new(Arc::from(sink.sink), sink.orders, pending_for)
    };
    let mut sinks: Vec<SinkBacklog> = backlog.sinks.into_iter().map(sink).collect();
    sinks.sort_by(|one, other| one.sink.cmp(&other.sink));
    Ok(Backlog::default()
        .with_execute(lane(backlog.execute))
        .with_observe(lane(backlog.observe))
        .with_attention(backlog.attention)
        .with_sinks(sinks))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A score is a whole number.
fn age(since_ms: f64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(since_ms.max(0.0) as u64))
}

reply! {
    ListReply {
        /// The id after which the walk goes on, unless it is over.
        next: Option<Vec<u8>>,
        orders: Vec<ListRow>,
    }

    /// A listed order. The row is missing if the key holds something else.
    ListRow {
        id: Vec<u8>,
        row: Option<OrderRow>,
    }
}

pub(crate) async fn list(
    session: &Session,
    query: &OrderQuery,
) -> Result<Vec<Result<Order, UndecodableOrder>>, Error> {
    let mut listed = Vec::new();
    let bound = |id: Option<OrderId>| id.map_or(Vec::new(), |id| id.to_string().into_bytes());
    let (mut before, mut after) = (bound(query.before), bound(query.after));
    loop {
        let left = query.limit.saturating_sub(u32::try_from(listed.len()).unwrap_or(u32::MAX));
        if left == 0 {
            return Ok(listed);
        }
        let mut call = session.script(&scripts::LIST);
        call.arg(u8::from(query.user_id.is_some()));
        call.arg(query.user_id.as_ref().map_or("", |user| user.as_str()));
        call.arg(query.status.map_or("", |status| status.as_str()));
        call.arg(query.tag.as_ref().map_or("", |tag| tag.as_str())).arg(u8::from(query.attention));
        call.arg(u8::from(query.sort == Sort::OldestFirst)).arg(&before).arg(&after).arg(left).arg(SCAN);
        let page: ListReply = session.read(call).await?;
        listed.extend(page.orders.iter().filter_map(listed_order));
        match (page.next, query.sort) {
            (Some(next), Sort::NewestFirst) => before = next,
            (Some(next), Sort::OldestFirst) => after = next,
            (None, _) => return Ok(listed),
        }
    }
}

fn listed_order(listed: &ListRow) -> Option<Result<Order, UndecodableOrder>> {
    let Ok(order_id) = rows::order_id(&listed.id) else {
        let id = String::from_utf8_lossy(&listed.id);
        tracing::error!(order.id = %id, "an order is not listed, because its id cannot be decoded");
        return None;
    };
    match rows::listed_order(order_id, listed.row.as_ref()) {
        Ok(order) => order.map(Ok),
        Err(error) => Some(Err(UndecodableOrder { order_id, error })),
    }
}
