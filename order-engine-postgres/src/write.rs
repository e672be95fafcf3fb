//! The writes: one statement each, and a second one where the answer of the first leaves a question.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{
    Append, AppendError, Claim, ClaimRequest, ClaimScope, Claims, ClientOrderId, CreateError, Creation,
    DecodeError, ItemRejected, Lease, NewOrder, Order, OrderId, PurgeRequest, Purged, Release,
};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};
use uuid::Uuid;

use crate::error::{Error, undecodable_apart};
use crate::rows::{
    self, AppendRow, EventRow, GuardRow, LeaseRow, NewRow, ORDER_WIDTH, ReleaseRow, micros, owner_uuid, uuids,
};
use crate::statement::bind_each;
use crate::store::{Call, Session};

/// How long to wait for due orders that another process has its hands on: it leases or ends them.
const LOCKED_RETRY: Duration = Duration::from_millis(10);

pub(crate) struct Create<'a> {
    pub(crate) orders: &'a [NewOrder],
}
pub(crate) struct Record<'a>(pub(crate) &'a [Append]);
pub(crate) struct TakeDue<'a>(pub(crate) &'a ClaimRequest);
pub(crate) struct Renew<'a>(pub(crate) &'a [Lease], pub(crate) Duration);
pub(crate) struct Current<'a>(pub(crate) &'a [Lease]);
pub(crate) struct GiveBack<'a>(pub(crate) &'a [Release]);
pub(crate) struct MakeDue<'a>(pub(crate) &'a [OrderId]);
pub(crate) struct Purge<'a>(pub(crate) &'a PurgeRequest);
pub(crate) struct Check;

/// What became of a lease that was to be prolonged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    Renewed,
    NotCurrent,
    /// Another transaction holds its order.
    Locked,
}

#[async_trait]
impl Call for Create<'_> {
    type Output = Vec<Result<Creation, CreateError>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let encoded: Vec<Result<NewRow<'_>, ItemRejected>> = self.orders.iter().map(NewRow::new).collect();
        let mut created = insert(session, encoded.iter().flatten().collect()).await?;
        // An id that stands twice in one call was created once, by its first item.
        let mut results = Vec::with_capacity(encoded.len());
        for row in encoded {
            results.push(match row {
                Ok(row) if created.remove(&row.order.id) => Ok(Creation::Created),
                Ok(row) => existing(session, row.order).await?,
                Err(refused) => Err(refused.into()),
            });
        }
        Ok(results)
    }
}

/// Inserts those that nothing stands in the way of.
async fn insert(session: &mut Session<'_>, mut rows: Vec<&NewRow<'_>>) -> Result<HashSet<OrderId>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    // A name that another transaction is about to use is waited for, a moment. Whoever waits in the order
    // of the names is waited for by nobody in turn.
    rows.sort_by_key(|row| (row.request.user_id, row.request.client_order_id));
    let text = Arc::clone(&session.sql.create);
    let returned = session
        .fetch_briefly(&text, |arguments| {
            bind_each(arguments, &rows, |row| &row.request)?;
            bind_each(arguments, &rows, |row| &row.state)?;
            bind_each(arguments, &rows, |row| &row.event)
        })
        .await?;
    returned.iter().map(rows::order_id).collect()
}

/// The order that stands in the way of a new one.
async fn existing(session: &mut Session<'_>, order: &Order) -> Result<Result<Creation, CreateError>, Error> {
    let text = Arc::clone(&session.sql.existing);
    let found = session
        .fetch(&text, |arguments| {
            arguments.add(order.id.as_uuid())?;
            arguments.add(order.request.user_id.as_str())?;
            arguments.add(order.request.client_order_id.as_ref().map(ClientOrderId::as_str))
        })
        .await?;
    let Some(row) = found.first() else {
        // It was purged between the two statements; asking again creates the order.
        return Err(sqlx::Error::RowNotFound.into());
    };
    // An order that this program cannot read fails its own item only.
    let existing = undecodable_apart(rows::order(row))?;
    Ok(existing
        .map(|order| Creation::Existing(Box::new(order)))
        .map_err(|error| ItemRejected { message: error.to_string() }.into()))
}

#[async_trait]
impl Call for Record<'_> {
    type Output = Vec<Result<(), AppendError>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let encoded: Vec<Result<AppendRow<'_>, ItemRejected>> = self.0.iter().map(AppendRow::new).collect();
        let mut rows: Vec<&AppendRow<'_>> = encoded.iter().flatten().collect();
        // Two writers that lock the same orders in the same order cannot lock each other out.
        rows.sort_by_key(|row| row.guard.order_id);
        let written = update(session, &rows).await?;
        rows.retain(|row| !written.contains(&row.guard.order_id));
        let mut reasons = why_not(session, &rows).await?;
        let result = |row: Result<AppendRow<'_>, ItemRejected>| match row {
            Ok(row) => reasons.remove(&row.guard.order_id).map_or(Ok(()), Err),
            Err(refused) => Err(refused.into()),
        };
        Ok(encoded.into_iter().map(result).collect())
    }
}

/// Updates those rows whose guards admit it, and writes their events.
async fn update(session: &mut Session<'_>, rows: &[&AppendRow<'_>]) -> Result<HashSet<Uuid>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let text = Arc::clone(&session.sql.append);
    let events: Vec<&EventRow<'_>> = rows.iter().flat_map(|row| &row.events).collect();
    let returned = session
        .fetch_briefly(&text, |arguments| {
            bind_each(arguments, rows, |row| &row.guard)?;
            bind_each(arguments, rows, |row| &row.state)?;
            bind_each(arguments, &events, |event| *event)
        })
        .await?;
    Ok(returned.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Why appends changed nothing.
async fn why_not(
    session: &mut Session<'_>,
    rows: &[&AppendRow<'_>],
) -> Result<HashMap<Uuid, AppendError>, Error> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.guard.order_id).collect();
    let text = Arc::clone(&session.sql.fences);
    let found = session.fetch(&text, |arguments| arguments.add(ids)).await?;
    let found: HashMap<Uuid, &PgRow> =
        found.iter().map(|row| Ok((row.try_get(0)?, row))).collect::<Result<_, sqlx::Error>>()?;
    rows.iter()
        .map(|row| {
            let guard = &row.guard;
            Ok((
                guard.order_id,
                found.get(&guard.order_id).map_or(Ok(AppendError::NotFound), |row| refusal(guard, row))?,
            ))
        })
        .collect()
}

fn refusal(guard: &GuardRow, row: &PgRow) -> Result<AppendError, Error> {
    let (seq, epoch): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    Ok(if !guard.admits(epoch, row.try_get(3)?) {
        AppendError::StaleFence
    } else if seq == guard.expected_seq && guard.not_after.is_some() {
        AppendError::TooLate
    } else {
        AppendError::StaleRevision { actual: u64::try_from(seq).unwrap_or(0) }
    })
}

#[async_trait]
impl Call for TakeDue<'_> {
    type Output = Claims;

    async fn run(&self, session: &mut Session<'_>) -> Result<Claims, Error> {
        let ClaimRequest { lane, scope, limit, owner, duration } = self.0;
        let (text, ids) = match scope {
            ClaimScope::Any => (Arc::clone(&session.sql.claim), None),
            ClaimScope::Order(id) => {
                (Arc::clone(&session.sql.claim_ids), Some(uuids(std::slice::from_ref(id))))
            }
        };
        let rows = session
            .fetch(&text, |arguments| {
                arguments.add(lane.as_str())?;
                arguments.add(i64::from(*limit))?;
                arguments.add(owner_uuid(*owner))?;
                arguments.add(micros(*duration))?;
                ids.map_or(Ok(()), |ids| arguments.add(ids))
            })
            .await?;
        let leased = || rows.iter().filter(|row| !is_empty(row));
        let claims: Vec<Claim> = leased().map(claim).collect::<Result<_, _>>()?;
        let waits_for_others = matches!(scope, ClaimScope::Any) && claims.len() < *limit as usize;
        let floor = if waits_for_others { LOCKED_RETRY } else { Duration::ZERO };
        let next = next_due_in(&rows, ORDER_WIDTH + 4)?.map(|wait| wait.max(floor));
        let expiry = (!claims.is_empty()).then_some(*duration);
        let as_of = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(ORDER_WIDTH + 5)?;
        Ok(Claims { claims, as_of, next_due_in: next.into_iter().chain(expiry).min() })
    }
}

/// Whether a row only tells when the next one is due.
pub(crate) fn is_empty(row: &PgRow) -> bool {
    matches!(row.try_get::<Option<Uuid>, _>(0), Ok(None))
}

/// How long it is until the moment in a column, which is the same in every row.
pub(crate) fn next_due_in(rows: &[PgRow], column: usize) -> Result<Option<Duration>, Error> {
    let next_us: Option<i64> = rows.first().map(|row| row.try_get(column)).transpose()?.flatten();
    Ok(next_us.map(|wait_us| Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))))
}

fn claim(row: &PgRow) -> Result<Claim, Error> {
    let order_id = rows::order_id(row)?;
    let epoch = row.try_get::<i64, _>(ORDER_WIDTH)?;
    let fruitless: i64 = row.try_get(ORDER_WIDTH + 1)?;
    let owner = row.try_get::<Uuid, _>(ORDER_WIDTH + 2)?.as_u128();
    let fence = order_engine_core::Fence { epoch: u64::try_from(epoch).unwrap_or(0), owner };
    Ok(Claim {
        lease: Lease { order_id, fence },
        claims_without_progress: u32::try_from(fruitless).unwrap_or(u32::MAX),
        order: rows::order(row).map(Arc::new).map_err(|error| DecodeError { message: error.to_string() }),
    })
}

#[async_trait]
impl Call for Renew<'_> {
    type Output = Vec<Renewal>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let Self(leases, duration) = self;
        let text = Arc::clone(&session.sql.renew);
        let mut items: Vec<LeaseRow> = leases.iter().map(LeaseRow::from).collect();
        items.sort_by_key(|row| row.order_id);
        let renewed = session
            .fetch_briefly(&text, |arguments| {
                arguments.add(micros(*duration))?;
                bind_each(arguments, &items, |row| row)
            })
            .await?;
        // One call may ask for an order's former leases too, and only the current one is renewed.
        let renewed: HashSet<Lease> = renewed.iter().map(rows::lease).collect::<Result<_, _>>()?;
        let renewal = |lease| if renewed.contains(lease) { Renewal::Renewed } else { Renewal::NotCurrent };
        Ok(leases.iter().map(renewal).collect())
    }
}

#[async_trait]
impl Call for Current<'_> {
    type Output = HashSet<Lease>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.leases);
        let ids: Vec<OrderId> = self.0.iter().map(|lease| lease.order_id).collect();
        let found = session.fetch(&text, |arguments| arguments.add(uuids(&ids))).await?;
        found.iter().map(rows::lease).collect()
    }
}

#[async_trait]
impl Call for GiveBack<'_> {
    type Output = Vec<Result<(), Error>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.give_back);
        let mut items: Vec<(LeaseRow, ReleaseRow)> = self
            .0
            .iter()
            .map(|release| (LeaseRow::from(&release.lease), ReleaseRow::from(release)))
            .collect();
        items.sort_by_key(|(lease, _)| lease.order_id);
        session
            .fetch_briefly(&text, |arguments| {
                bind_each(arguments, &items, |(lease, _)| lease)?;
                bind_each(arguments, &items, |(_, release)| release)
            })
            .await?;
        Ok(self.0.iter().map(|_| Ok(())).collect())
    }
}

#[async_trait]
impl Call for MakeDue<'_> {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let text = Arc::clone(&session.sql.make_due);
        session.fetch(&text, |arguments| arguments.add(uuids(self.0))).await?;
        Ok(())
    }
}

#[async_trait]
impl Call for Purge<'_> {
    type Output = Purged;

    async fn run(&self, session: &mut Session<'_>) -> Result<Purged, Error> {
        let PurgeRequest { ended_before, named_ended_before, after, limit } = self.0;
        let text = Arc::clone(&session.sql.purge);
        let page = session
            .fetch(&text, |arguments| {
                arguments.add(ended_before)?;
                arguments.add(named_ended_before)?;
                arguments.add(after.map_or(Uuid::nil(), |id| *id.as_uuid()))?;
                arguments.add(i64::from(*limit))
            })
            .await?;
        let mut orders = 0;
        for row in &page {
            orders += u64::from(row.try_get::<bool, _>(1)?);
        }
        let last = page.last().filter(|_| page.len() >= *limit as usize);
        Ok(Purged { orders, next: last.map(rows::order_id).transpose()? })
    }
}

#[async_trait]
impl Call for Check {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let text = Arc::clone(&session.sql.check);
        session.fetch(&text, |_| Ok(())).await?;
        Ok(())
    }
}
