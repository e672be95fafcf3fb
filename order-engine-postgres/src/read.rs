//! The operations that only read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::backend::{StatusConditions, count, encode_u64, set_lane_backlog};
use order_engine_core::{
    ClientOrderId, EventRecord, Lane, LaneBacklog, Order, OrderId, OrderQuery, SinkBacklog, Sort,
    UndecodableOrder, UserId,
};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Postgres, QueryBuilder, Row};

use crate::error::Error;
use crate::rows::{self, uuids};
use crate::session::{Operation, Session};

pub(crate) struct Now;
pub(crate) struct Load(pub(crate) OrderId);
pub(crate) struct LoadNamed<'a>(pub(crate) &'a UserId, pub(crate) &'a ClientOrderId);
pub(crate) struct Events {
    pub(crate) id: OrderId,
    pub(crate) after: u64,
    pub(crate) limit: u32,
}
pub(crate) struct LastSeqs<'a>(pub(crate) &'a [OrderId]);
pub(crate) struct List<'a>(pub(crate) &'a OrderQuery);
pub(crate) struct DueOrders {
    pub(crate) lane: Lane,
    pub(crate) limit: u32,
}
pub(crate) struct Backlog;

#[async_trait]
impl Operation for Now {
    type Output = DateTime<Utc>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.controls.now);
        let found = session.fetch(&text, |_| Ok(())).await?;
        Ok(found.first().ok_or(sqlx::Error::RowNotFound)?.try_get("now")?)
    }
}

#[async_trait]
impl Operation for Load {
    type Output = Option<Order>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.orders.load);
        let found = session.fetch(&text, |arguments| arguments.add(self.0.as_uuid())).await?;
        match found.first() {
            Some(row) => Ok(Some(rows::order(row)??)),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Operation for LoadNamed<'_> {
    type Output = Option<Order>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        // No name has what the database cannot keep, so such a name is no order's.
        if self.0.as_str().contains('\0') || self.1.as_str().contains('\0') {
            return Ok(None);
        }
        let text = Arc::clone(&session.sql.orders.load_named);
        let found = session
            .fetch(&text, |arguments| {
                arguments.add(self.0.as_str())?;
                arguments.add(self.1.as_str())
            })
            .await?;
        Ok(found.first().map(rows::order).transpose()?.transpose()?)
    }
}

#[async_trait]
impl Operation for Events {
    type Output = Vec<EventRecord>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.events.events);
        // No order has an event beyond 63 bits, so none comes after such a number.
        let after = encode_u64(self.after).unwrap_or(i64::MAX);
        let found = session
            .fetch(&text, |arguments| {
                arguments.add(self.id.as_uuid())?;
                arguments.add(after)?;
                arguments.add(i64::from(self.limit))
            })
            .await?;
        let limit = self.limit as usize;
        let mut events = Vec::new();
        for row in &found {
            if events.len() >= limit {
                break;
            }
            // The first row may have events that are not asked for as well.
            events.extend(rows::written(row)?.events?.into_iter().filter(|event| event.seq > self.after));
        }
        events.truncate(limit);
        Ok(events)
    }
}

#[async_trait]
impl Operation for LastSeqs<'_> {
    type Output = Vec<Option<u64>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.orders.last_seqs);
        let found = session.fetch(&text, |arguments| arguments.add(uuids(self.0))).await?;
        let last_seq = |row: &PgRow| Ok((rows::order_id(row)?, count(row.try_get("seq")?)));
        let found: HashMap<OrderId, u64> = found.iter().map(last_seq).collect::<Result<_, Error>>()?;
        Ok(self.0.iter().map(|id| found.get(id).copied()).collect())
    }
}

#[async_trait]
impl Operation for DueOrders {
    type Output = Vec<OrderId>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.queue.due_orders);
        let found = session
            .fetch(&text, |arguments| {
                arguments.add(self.lane.as_str())?;
                arguments.add(i64::from(self.limit))
            })
            .await?;
        Ok(found.iter().map(rows::order_id).collect::<Result<_, _>>()?)
    }
}

#[async_trait]
impl Operation for Backlog {
    type Output = order_engine_core::Backlog;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let [lanes, attention, sinks] = [
            &session.sql.queue.backlog_lanes,
            &session.sql.orders.backlog_attention,
            &session.sql.outbox.backlog_sinks,
        ]
        .map(Arc::clone);
        let mut backlog = order_engine_core::Backlog::default();
        for row in session.fetch(&lanes, |_| Ok(())).await? {
            let counted = LaneBacklog::default()
                .with_orders(count(row.try_get("orders")?))
                .with_due(count(row.try_get("due")?))
                .with_due_for(age(row.try_get("due_for_us")?));
            set_lane_backlog(&mut backlog, row.try_get("lane")?, counted);
        }
        for row in session.fetch(&attention, |_| Ok(())).await? {
            backlog.attention = count(row.try_get("orders")?);
        }
        for row in session.fetch(&sinks, |_| Ok(())).await? {
            let sink = row.try_get::<&str, _>("name")?.into();
            let orders = count(row.try_get("orders")?);
            backlog.sinks.push(SinkBacklog::new(sink, orders, age(row.try_get("pending_for_us")?)));
        }
        Ok(backlog)
    }
}

/// Returns an age; none if it is negative, because the moment is still to come.
fn age(age_us: Option<i64>) -> Option<Duration> {
    age_us.and_then(|us| u64::try_from(us).ok()).map(Duration::from_micros)
}

const STATUS_CONDITIONS: StatusConditions = StatusConditions {
    open: "(turn_at IS NOT NULL OR attention IS NOT NULL)",
    failed: "error_code IS NOT NULL",
};

pub(crate) fn list_statement(list: &str, query: &OrderQuery) -> QueryBuilder<Postgres> {
    let mut statement = QueryBuilder::<Postgres>::new(list);
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
        statement.push(" AND order_id < ").push_bind(*before.as_uuid());
    }
    if let Some(after) = query.after {
        statement.push(" AND order_id > ").push_bind(*after.as_uuid());
    }
    statement.push(match query.sort {
        Sort::NewestFirst => " ORDER BY order_id DESC LIMIT ",
        Sort::OldestFirst => " ORDER BY order_id LIMIT ",
    });
    statement.push_bind(i64::from(query.limit));
    statement
}

#[async_trait]
impl Operation for List<'_> {
    type Output = Vec<Result<Order, UndecodableOrder>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let mut statement = list_statement(&session.sql.orders.list, self.0);
        let query = statement.build().persistent(session.keeps_statements);
        let found = query.fetch_all(&mut *session.connection).await?;
        let order = |row: &PgRow| {
            let order_id = rows::order_id(row)?;
            Ok(rows::order(row)?.map_err(|error| UndecodableOrder { order_id, error }))
        };
        found.iter().map(order).collect()
    }
}
