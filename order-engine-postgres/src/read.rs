//! What is read without writing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{
    Backlog, EventRecord, Lane, LaneBacklog, Order, OrderId, OrderQuery, SinkBacklog, Status,
    UndecodableOrder,
};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Postgres, QueryBuilder, Row};

use crate::error::{Error, undecodable_apart};
use crate::rows::{self, integer, uuids};
use crate::store::{Call, Session};

pub(crate) struct Load<'a>(pub(crate) &'a [OrderId]);
pub(crate) struct Events {
    pub(crate) id: OrderId,
    pub(crate) after: u64,
    pub(crate) limit: u32,
}
pub(crate) struct LastSeqs<'a>(pub(crate) &'a [OrderId]);
pub(crate) struct Due(pub(crate) Lane, pub(crate) u32);
pub(crate) struct List<'a>(pub(crate) &'a OrderQuery);
pub(crate) struct ReadBacklog;
pub(crate) struct ReadClock;

#[async_trait]
impl Call for Load<'_> {
    type Output = Vec<Option<Order>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.load);
        let rows = session.fetch(&text, |arguments| arguments.add(uuids(self.0))).await?;
        let found: HashMap<OrderId, Order> = rows
            .iter()
            .map(|row| Ok((rows::order_id(row)?, rows::order(row)?)))
            .collect::<Result<_, Error>>()?;
        Ok(self.0.iter().map(|id| found.get(id).cloned()).collect())
    }
}

#[async_trait]
impl Call for Events {
    type Output = Vec<EventRecord>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.events);
        // Nothing is stored beyond 63 bits, so nothing comes after such a number.
        let after = integer(self.after).unwrap_or(i64::MAX);
        let rows = session
            .fetch(&text, |arguments| {
                arguments.add(self.id.as_uuid())?;
                arguments.add(after)?;
                arguments.add(i64::from(self.limit))
            })
            .await?;
        rows.iter().map(rows::event).collect()
    }
}

#[async_trait]
impl Call for LastSeqs<'_> {
    type Output = Vec<Option<u64>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.heads);
        let rows = session.fetch(&text, |arguments| arguments.add(uuids(self.0))).await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert(rows::order_id(row)?, u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0));
        }
        Ok(self.0.iter().map(|id| found.get(id).copied()).collect())
    }
}

#[async_trait]
impl Call for Due {
    type Output = Vec<OrderId>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.due);
        let rows = session
            .fetch(&text, |arguments| {
                arguments.add(self.0.as_str())?;
                arguments.add(i64::from(self.1))
            })
            .await?;
        rows.iter().map(rows::order_id).collect()
    }
}

#[async_trait]
impl Call for ReadClock {
    type Output = DateTime<Utc>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.now);
        let rows = session.fetch(&text, |_| Ok(())).await?;
        Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?)
    }
}

#[async_trait]
impl Call for ReadBacklog {
    type Output = Backlog;

    async fn run(&self, session: &mut Session<'_>) -> Result<Backlog, Error> {
        let [lanes, attention, sinks] =
            [&session.sql.backlog_lanes, &session.sql.backlog_attention, &session.sql.backlog_sinks]
                .map(Arc::clone);
        let mut backlog = Backlog::default();
        for row in session.fetch(&lanes, |_| Ok(())).await? {
            let counted =
                LaneBacklog { orders: count(&row, 1)?, due: count(&row, 2)?, due_for: age(&row, 3)? };
            match row.try_get(0)? {
                "execute" => backlog.execute = counted,
                "observe" => backlog.observe = counted,
                // A newer program's; it counts them itself.
                _ => {}
            }
        }
        for row in session.fetch(&attention, |_| Ok(())).await? {
            backlog.attention = count(&row, 0)?;
        }
        for row in session.fetch(&sinks, |_| Ok(())).await? {
            backlog.sinks.push(SinkBacklog {
                sink: row.try_get::<&str, _>(0)?.into(),
                orders: count(&row, 1)?,
                pending_for: age(&row, 2)?,
            });
        }
        Ok(backlog)
    }
}

fn count(row: &PgRow, column: usize) -> Result<u64, Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
}

/// An age in microseconds; none where nothing has come of age.
fn age(row: &PgRow, column: usize) -> Result<Option<Duration>, Error> {
    let age_us: Option<i64> = row.try_get(column)?;
    Ok(age_us.and_then(|us| u64::try_from(us).ok()).map(Duration::from_micros))
}

/// A condition that finds the orders of a status without a walk through all that ever ended. The texts
/// stand in the statement, because only so the planner sees that a partial index will do.
fn status_filter(status: Status) -> String {
    match status {
        Status::Pending | Status::Routing | Status::Building | Status::Submitted => {
            format!(" AND status = '{status}' AND (due_at IS NOT NULL OR attention IS NOT NULL)")
        }
        Status::Confirmed => " AND status = 'confirmed'".to_owned(),
        Status::Failed => " AND status = 'failed' AND error_code IS NOT NULL".to_owned(),
    }
}

pub(crate) fn list_statement(select: &str, query: &OrderQuery) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::<Postgres>::new(select);
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
        sql.push(" AND order_id < ").push_bind(*before.as_uuid());
    }
    sql.push(" ORDER BY order_id DESC LIMIT ").push_bind(i64::from(query.limit));
    sql
}

#[async_trait]
impl Call for List<'_> {
    type Output = Vec<Result<Order, UndecodableOrder>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let mut statement = list_statement(&session.sql.list, self.0);
        let rows = statement.build().persistent(session.is_ours).fetch_all(&mut *session.connection).await?;
        let order = |row: &PgRow| {
            let order_id = rows::order_id(row)?;
            let order = undecodable_apart(rows::order(row))?;
            Ok(order.map_err(|error| UndecodableOrder { order_id, error }))
        };
        rows.iter().map(order).collect()
    }
}
