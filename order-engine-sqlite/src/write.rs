//! The operations that write orders. Several share one transaction.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::backend::{count, count_u32, existing_order};
use order_engine_core::store::{
    AppendError, ClaimRequest, ClaimScope, Claims, CreateError, Creation, Lease, PurgeRequest, Purged,
};
use order_engine_core::telemetry::chain;
use order_engine_core::{ClientOrderId, DecodeError, Fence, Lane, Order, OrderId};

use crate::error::Error;
use crate::items::{AppendItem, Encoded, HistoryItem, NewItem};
use crate::nonces;
use crate::rows::{self, ItemRow, ReleaseRow, due_after, id_list, owner_text, time_text, wait_until};
use crate::session::{Operation, Pace, Session};
use crate::sql;
use crate::values::{Arguments, Row, StoredRow};

pub(crate) struct Claim(pub(crate) ClaimRequest);
pub(crate) struct Renew(pub(crate) Vec<Lease>, pub(crate) Duration);
pub(crate) struct Release(pub(crate) Vec<order_engine_core::store::Release>);
pub(crate) struct MakeDue(pub(crate) OrderId);
pub(crate) struct Purge(pub(crate) PurgeRequest);
pub(crate) struct Check;

/// Creates orders.
#[async_trait]
impl Operation for [Encoded<NewItem>] {
    type Output = Vec<Result<Creation, CreateError>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        if session.pace == Pace::OneByOne {
            return session.one_by_one(self).await;
        }
        let now = session.now;
        let items: Vec<&NewItem> = self.iter().flatten().collect();
        let rows = items.iter().map(|item| item.row_at(now)).collect();
        let created = session.run(&sql::CREATE, rows).await?;
        let histories = where_true(&items, &created).map(|item| &item.history).collect();
        insert_events(session, histories).await?;
        let mut created = created.into_iter();
        let mut results = Vec::with_capacity(self.len());
        for item in self {
            results.push(match item {
                Ok(_) if created.next() == Some(true) => Ok(Creation::Created),
                Ok(item) => existing(session, &item.order).await?,
                Err(rejected) => Err(rejected.clone().into()),
            });
        }
        Ok(results)
    }
}

/// Returns the items for which a statement changed a row.
fn where_true<'a, T>(items: &[&'a T], changed: &[bool]) -> impl Iterator<Item = &'a T> {
    items.iter().zip(changed).filter_map(|(item, changed)| changed.then_some(*item))
}

/// Returns the result for a new order that conflicts with an existing one.
async fn existing(session: &mut Session<'_>, order: &Order) -> Result<Result<Creation, CreateError>, Error> {
    let names = Arguments::default()
        .with(order.id.to_string())
        .with(order.request.user_id.as_str())
        .with(order.request.client_order_id.as_ref().map(ClientOrderId::as_str));
    let row = session.database.one_row(sql::CREATE_EXISTING, names).await?;
    Ok(existing_order(rows::order(&row)?))
}

/// Appends events to orders.
#[async_trait]
impl Operation for [Encoded<AppendItem>] {
    type Output = Vec<Result<(), AppendError>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        if session.pace == Pace::OneByOne {
            return session.one_by_one(self).await;
        }
        if self.iter().flatten().all(|item| item.reservation.is_none()) {
            return append(session, self).await;
        }
        session.execute("SAVEPOINT reservations").await?;
        let results = match append(session, self).await {
            Err(Error::NotAppended(taken)) => {
                session.execute("ROLLBACK TO reservations").await?;
                match self.len() {
                    1 => vec![Err(taken)],
                    _ => session.one_by_one(self).await?,
                }
            }
            results => results?,
        };
        session.execute("RELEASE reservations").await?;
        Ok(results)
    }
}

/// Writes appends and their reservations. Fails as not appended if one of the nonces is not the account's next one;
/// all that this has written is to be undone then.
async fn append(
    session: &mut Session<'_>,
    appends: &[Encoded<AppendItem>],
) -> Result<Vec<Result<(), AppendError>>, Error> {
    let now = session.now;
    let items: Vec<&AppendItem> = appends.iter().flatten().collect();
    let rows = items.iter().map(|item| item.row_at(now)).collect();
    let updated = session.run(&sql::APPEND, rows).await?;
    let written: Vec<&AppendItem> = where_true(&items, &updated).collect();
    nonces::reserve(session, &written).await?;
    insert_events(session, written.iter().map(|item| &item.history).collect()).await?;
    let mut updated = updated.into_iter();
    let mut results = Vec::with_capacity(appends.len());
    for item in appends {
        results.push(match item {
            Ok(_) if updated.next() == Some(true) => Ok(()),
            Ok(item) => Err(refusal(session, item).await?),
            Err(rejected) => Err(rejected.clone().into()),
        });
    }
    Ok(results)
}

/// Returns why an append was not written.
async fn refusal(session: &mut Session<'_>, item: &AppendItem) -> Result<AppendError, Error> {
    let id = Arguments::default().with(item.order_id.to_string());
    let found = session.database.row(sql::APPEND_REFUSAL, id).await?;
    Ok(item.guard.refusal(found.as_ref().map(rows::current).transpose()?))
}

/// Writes the events of orders that were created or appended to, and the outbox entries for them.
async fn insert_events(session: &mut Session<'_>, histories: Vec<&HistoryItem>) -> Result<(), Error> {
    if histories.is_empty() {
        return Ok(());
    }
    let events = histories.iter().map(|history| history.row.and_others()).collect();
    session.run(&sql::INSERT_EVENTS, events).await?;
    let failures = histories.iter().flat_map(|history| &history.failures);
    session.run(&sql::INSERT_FAILURES, failures.map(Arguments::and_others).collect()).await?;
    // One look at the sinks saves a statement for each order where there are none.
    if session.database.one_row(sql::HAS_SINKS, Arguments::default()).await?.only()? {
        let now = session.now;
        let entries = histories.iter().map(|history| history.outbox_at(now)).collect();
        session.run(&sql::INSERT_OUTBOX_ENTRIES, entries).await?;
    }
    Ok(())
}

#[async_trait]
impl Operation for Claim {
    type Output = ClaimedRows;

    async fn run(&self, session: &mut Session<'_>) -> Result<ClaimedRows, Error> {
        let Self(request) = self;
        let due = due_orders(session, request).await?;
        let lease = Arguments::default()
            .with(owner_text(request.owner))
            .with(due_after(session.now, request.duration));
        let mut leases = Vec::with_capacity(due.len());
        for row in &due {
            leases.push(lease.and_others().with(row.try_get::<i64>("row_id")?));
        }
        session.run(sql::CLAIM_LEASE, leases).await?;
        let next_due_in = next_due_in(session, request.lane).await?;
        Ok(ClaimedRows { rows: due, owner: request.owner, as_of: session.now, next_due_in })
    }
}

/// Returns the due orders that a claim takes.
async fn due_orders(session: &mut Session<'_>, request: &ClaimRequest) -> Result<Vec<Row>, Error> {
    let sql = match request.scope {
        ClaimScope::Any => sql::CLAIM_DUE,
        ClaimScope::Order(_) => sql::CLAIM_ORDER,
    };
    let mut arguments = Arguments::default()
        .with(request.lane.as_str())
        .with(session.now.timestamp_millis())
        .with(request.limit);
    if let ClaimScope::Order(id) = request.scope {
        arguments.add(id.to_string());
    }
    session.database.rows(sql, arguments).await
}

/// The orders that were leased, as their rows were before. The caller decodes them, not the thread that writes.
#[derive(Debug)]
pub(crate) struct ClaimedRows {
    rows: Vec<Row>,
    owner: u128,
    as_of: DateTime<Utc>,
    next_due_in: Option<Duration>,
}

impl ClaimedRows {
    /// Returns the claims.
    ///
    /// A row whose very id cannot be decoded is leased, but given to no worker: unleased, it would be in the way
    /// of every claim.
    pub(crate) fn decode(&self) -> Result<Claims, Error> {
        let mut claims = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            match rows::order_id(row) {
                Ok(order_id) => claims.push(claim(row, order_id, self.owner)?),
                Err(error) => {
                    tracing::error!(error = %chain(&error), "an order whose id cannot be decoded is left alone");
                }
            }
        }
        Ok(Claims::new(claims, self.as_of).with_next_due_in(self.next_due_in))
    }
}

/// Returns the claim on an order whose row was as this one before.
fn claim(row: &Row, order_id: OrderId, owner: u128) -> Result<order_engine_core::store::Claim, Error> {
    let epoch = count(row.try_get("lease_epoch")?) + 1;
    let claims_without_progress = count_u32(row.try_get("claims_without_progress")?).saturating_add(1);
    let order = rows::order(row)
        .unwrap_or_else(|error| Err(DecodeError { message: Error::from(error).to_string() }))
        .map(Arc::new);
    let lease = Lease::new(order_id, Fence { epoch, owner });
    Ok(order_engine_core::store::Claim::new(lease, claims_without_progress, order))
}

async fn next_due_in(session: &mut Session<'_>, lane: Lane) -> Result<Option<Duration>, Error> {
    let lane = Arguments::default().with(lane.as_str());
    let next: Option<i64> = session.database.one_row(sql::CLAIM_NEXT_DUE, lane).await?.only()?;
    Ok(next.map(|due_at| wait_until(due_at, session.now)))
}

#[async_trait]
impl Operation for Renew {
    type Output = Vec<bool>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<bool>, Error> {
        let Self(leases, duration) = self;
        let until = due_after(session.now, *duration);
        let leases = leases.iter().map(|lease| lease.encode().with(until)).collect();
        session.run(&sql::RENEW, leases).await
    }
}

#[async_trait]
impl Operation for Release {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let now = session.now;
        let releases = self.0.iter().map(|release| {
            let mut arguments = release.lease.encode();
            ReleaseRow { columns: release.into(), now }.bind(&mut arguments);
            arguments
        });
        session.run(&sql::RELEASE, releases.collect()).await?;
        Ok(())
    }
}

#[async_trait]
impl Operation for MakeDue {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let Self(id) = self;
        let due = Arguments::default().with(session.now.timestamp_millis()).with(id.to_string());
        session.database.execute(sql::MAKE_DUE, due).await?;
        Ok(())
    }
}

#[async_trait]
impl Operation for Purge {
    type Output = Purged;

    async fn run(&self, session: &mut Session<'_>) -> Result<Purged, Error> {
        let Self(request) = self;
        let page = Arguments::default()
            .with(time_text(request.ended_before))
            .with(time_text(request.named_ended_before))
            .with(request.after.map_or(String::new(), |id| id.to_string()))
            .with(request.limit);
        let page = session.database.rows(sql::PURGE_PAGE, page).await?;
        let mut purgeable = Vec::new();
        for row in &page {
            if row.try_get("is_purgeable")? {
                purgeable.push(rows::order_id(row)?);
            }
        }
        if !purgeable.is_empty() {
            for statement in sql::PURGE {
                let ids = Arguments::default().with(id_list(&purgeable));
                session.database.execute(statement, ids).await?;
            }
        }
        // An id that cannot be decoded ends the walk: no id that this program wrote comes after it.
        let last = page.last().filter(|_| page.len() >= request.limit as usize);
        let next = last.and_then(|row| rows::order_id(row).ok());
        Ok(Purged::new(purgeable.len() as u64, next))
    }
}

#[async_trait]
impl Operation for Check {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let now_ms = Arguments::default().with(session.now.timestamp_millis());
        session.database.execute(sql::CHECK, now_ms).await?;
        Ok(())
    }
}
