//! The operations that write orders: one statement each, and a second one where an item was not written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::backend::{
    AppendColumns, CurrentRow, FailureColumns, NewOrderColumns, ReleaseColumns, count, count_u32,
    existing_order,
};
use order_engine_core::store::{
    AppendError, ClaimRequest, ClaimScope, Claims, CreateError, Creation, Lease, PurgeRequest, Purged,
};
use order_engine_core::{ClientOrderId, DecodeError, Fence, ItemRejected, NewOrder, Order, OrderId};
use sqlx::error::BoxDynError;
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};
use uuid::Uuid;

use crate::error::Error;
use crate::rows::{self, FirstLeaseRow, ListRow as _, bind_each, micros, owner_uuid, uuids};
use crate::session::{Operation, Session};
use crate::sql::orders::{is_first_writes, is_new_orders};
use crate::values::Values;

/// How long to wait for due orders that another process has locked, because it is about to lease or to end
/// them.
const LOCKED_RETRY: Duration = Duration::from_millis(10);

pub(crate) struct Create<'a>(pub(crate) &'a [NewOrder]);
pub(crate) struct Append<'a>(pub(crate) &'a [order_engine_core::store::Append]);
pub(crate) struct Claim<'a>(pub(crate) &'a ClaimRequest);
pub(crate) struct Renew<'a>(pub(crate) &'a [Lease], pub(crate) Duration);
pub(crate) struct RenewCurrent<'a>(pub(crate) &'a [Lease]);
pub(crate) struct Release<'a>(pub(crate) &'a [order_engine_core::store::Release]);
pub(crate) struct MakeDue(pub(crate) OrderId);
pub(crate) struct Purge<'a>(pub(crate) &'a PurgeRequest);
pub(crate) struct Check;

#[async_trait]
impl Operation for Create<'_> {
    type Output = Vec<Result<Creation, CreateError>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let encoded: Vec<Result<NewOrderColumns<'_>, ItemRejected>> =
            self.0.iter().map(NewOrderColumns::new).collect();
        let mut created = insert(session, encoded.iter().flatten().collect()).await?;
        // An id that stands twice in one call was created once, by its first item.
        let mut results = Vec::with_capacity(encoded.len());
        for row in encoded {
            results.push(match row {
                Ok(row) if created.remove(&row.order.id) => Ok(Creation::Created),
                Ok(row) => existing(session, row.order).await?,
                Err(rejected) => Err(rejected.into()),
            });
        }
        Ok(results)
    }
}

/// Inserts the orders that conflict with no existing one, and returns their ids.
async fn insert(
    session: &mut Session<'_>,
    mut rows: Vec<&NewOrderColumns<'_>>,
) -> Result<HashSet<OrderId>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    // The statement waits a moment for a name that another transaction is about to use. All transactions
    // take the names in one order, so no two wait for each other.
    rows.sort_by_key(|row| (row.request.user_id, row.request.client_order_id));
    let leases: Vec<FirstLeaseRow<'_>> = rows.iter().map(|row| FirstLeaseRow(&row.request)).collect();
    let text = Arc::clone(&session.sql.orders.create);
    let returned = session
        .fetch_briefly(&text, |arguments| {
            bind_each(arguments, &rows, |row| *row)?;
            bind_each(arguments, &leases, |lease| lease)?;
            bind_each(arguments, &rows, |row| &row.request)?;
            bind_each(arguments, &rows, |row| &row.state)?;
            bind_each(arguments, &rows, |row| &row.history)
        })
        .await?;
    Ok(returned.iter().map(rows::order_id).collect::<Result<_, _>>()?)
}

/// Creates one order within a transaction of the host.
pub(crate) async fn create_in(
    session: &mut Session<'_>,
    new: &NewOrder,
) -> Result<Result<Creation, CreateError>, Error> {
    let columns = match NewOrderColumns::new(new) {
        Ok(columns) => columns,
        Err(rejected) => return Ok(Err(rejected.into())),
    };
    let text = Arc::clone(&session.sql.orders.create_in);
    let created = session.fetch(&text, |arguments| bind_new(&columns, arguments)).await?;
    if created.is_empty() { existing(session, &new.order).await } else { Ok(Ok(Creation::Created)) }
}

/// Adds the values of the statement that creates one order.
pub(crate) fn bind_new(columns: &NewOrderColumns<'_>, values: &mut impl Values) -> Result<(), BoxDynError> {
    columns.request.bind_one(values, is_new_orders)?;
    columns.state.bind_one(values, is_new_orders)?;
    columns.history.bind_one(values, is_first_writes)?;
    columns.bind_one(values, |_| true)
}

/// Returns the result for a new order that conflicts with an existing one.
async fn existing(session: &mut Session<'_>, order: &Order) -> Result<Result<Creation, CreateError>, Error> {
    let text = Arc::clone(&session.sql.orders.create_existing);
    let found = session
        .fetch(&text, |arguments| {
            arguments.add(order.id.as_uuid())?;
            arguments.add(order.request.user_id.as_str())?;
            arguments.add(order.request.client_order_id.as_ref().map(ClientOrderId::as_str))
        })
        .await?;
    // It may have been purged between the two statements; another try creates the order.
    let row = found.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(existing_order(rows::order(row)?))
}

#[async_trait]
impl Operation for Append<'_> {
    type Output = Vec<Result<(), AppendError>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let encoded: Vec<Result<AppendColumns<'_>, ItemRejected>> =
            self.0.iter().map(AppendColumns::new).collect();
        let mut rows: Vec<&AppendColumns<'_>> = encoded.iter().flatten().collect();
        // Writers that lock the same orders in one order cannot deadlock.
        rows.sort_by_key(|row| row.order_id);
        let written = update(session, &rows).await?;
        rows.retain(|row| !written.contains(&row.order_id));
        let mut refusals = refusals(session, &rows).await?;
        let result = |row: Result<AppendColumns<'_>, ItemRejected>| match row {
            Ok(row) => refusals.remove(&row.order_id).map_or(Ok(()), Err),
            Err(rejected) => Err(rejected.into()),
        };
        Ok(encoded.into_iter().map(result).collect())
    }
}

/// Updates the orders whose guards permit it, writes their events, and returns their ids.
async fn update(session: &mut Session<'_>, rows: &[&AppendColumns<'_>]) -> Result<HashSet<OrderId>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let text = Arc::clone(&session.sql.orders.append);
    let failures: Vec<&FailureColumns<'_>> = rows.iter().flat_map(|row| &row.history.failures).collect();
    let returned = session
        .fetch_briefly(&text, |arguments| {
            bind_each(arguments, rows, |row| *row)?;
            bind_each(arguments, rows, |row| &row.state)?;
            bind_each(arguments, rows, |row| &row.history)?;
            bind_each(arguments, &failures, |failure| *failure)
        })
        .await?;
    Ok(returned.iter().map(rows::order_id).collect::<Result<_, _>>()?)
}

/// Returns why appends were not written.
async fn refusals(
    session: &mut Session<'_>,
    rows: &[&AppendColumns<'_>],
) -> Result<HashMap<OrderId, AppendError>, Error> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = uuids(rows.iter().map(|row| &row.order_id));
    let text = Arc::clone(&session.sql.orders.append_refusals);
    let found = session.fetch(&text, |arguments| arguments.add(ids)).await?;
    let current = |row: &PgRow| Ok((rows::order_id(row)?, rows::current(row)?));
    let found: HashMap<OrderId, CurrentRow> =
        found.iter().map(current).collect::<Result<_, sqlx::Error>>()?;
    let refusal =
        |row: &&AppendColumns<'_>| (row.order_id, row.guard.refusal(found.get(&row.order_id).copied()));
    Ok(rows.iter().map(refusal).collect())
}

#[async_trait]
impl Operation for Claim<'_> {
    type Output = Claims;

    async fn run(&self, session: &mut Session<'_>) -> Result<Claims, Error> {
        let ClaimRequest { lane, scope, limit, owner, duration, .. } = self.0;
        let (text, id) = match scope {
            ClaimScope::Any => (Arc::clone(&session.sql.queue.claim), None),
            ClaimScope::Order(id) => (Arc::clone(&session.sql.queue.claim_order), Some(id)),
        };
        let rows = session
            .fetch(&text, |arguments| {
                arguments.add(lane.as_str())?;
                arguments.add(i64::from(*limit))?;
                arguments.add(owner_uuid(*owner))?;
                arguments.add(micros(*duration))?;
                id.map_or(Ok(()), |id| arguments.add(id.as_uuid()))
            })
            .await?;
        let leased = rows.iter().filter(|row| is_leased(row));
        let claims: Vec<order_engine_core::store::Claim> = leased.map(claim).collect::<Result<_, _>>()?;
        let may_be_locked = matches!(scope, ClaimScope::Any) && claims.len() < *limit as usize;
        let floor = if may_be_locked { LOCKED_RETRY } else { Duration::ZERO };
        let next = next_due_in(&rows)?.map(|wait| wait.max(floor));
        let expiry = (!claims.is_empty()).then_some(*duration);
        let as_of = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("as_of")?;
        Ok(Claims::new(claims, as_of).with_next_due_in(next.into_iter().chain(expiry).min()))
    }
}

/// Returns whether a row of a claim has a leased order. If nothing is leased, the one row says only when the
/// next order is due.
pub(crate) fn is_leased(row: &PgRow) -> bool {
    !matches!(row.try_get::<Option<Uuid>, _>("order_id"), Ok(None))
}

/// Returns the time until the next order or outbox entry is due, which is the same in every row of a claim.
pub(crate) fn next_due_in(rows: &[PgRow]) -> Result<Option<Duration>, Error> {
    let next_us: Option<i64> = rows.first().map(|row| row.try_get("next_us")).transpose()?.flatten();
    Ok(next_us.map(|wait_us| Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))))
}

fn claim(row: &PgRow) -> Result<order_engine_core::store::Claim, Error> {
    let epoch = count(row.try_get("lease_epoch")?);
    let owner = row.try_get::<Uuid, _>("lease_owner")?.as_u128();
    let order = rows::order(row)
        .unwrap_or_else(|error| Err(DecodeError { message: Error::from(error).to_string() }))
        .map(Arc::new);
    let lease = Lease::new(rows::order_id(row)?, Fence { epoch, owner });
    let claims_without_progress = count_u32(row.try_get("claims_without_progress")?);
    Ok(order_engine_core::store::Claim::new(lease, claims_without_progress, order))
}

/// What became of a lease that was to be prolonged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    Renewed,
    NotCurrent,
    /// Another transaction holds its order.
    Locked,
}

#[async_trait]
impl Operation for Renew<'_> {
    type Output = Vec<Renewal>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let Self(leases, duration) = self;
        let text = Arc::clone(&session.sql.queue.renew);
        let mut items: Vec<&Lease> = leases.iter().collect();
        items.sort_by_key(|lease| lease.order_id);
        let renewed = session
            .fetch_briefly(&text, |arguments| {
                arguments.add(micros(*duration))?;
                bind_each(arguments, &items, |lease| *lease)
            })
            .await?;
        // One call may name an order's former leases too, and only the current one is renewed.
        let renewed: HashSet<Lease> = renewed.iter().map(rows::lease).collect::<Result<_, _>>()?;
        let renewal = |lease| if renewed.contains(lease) { Renewal::Renewed } else { Renewal::NotCurrent };
        Ok(leases.iter().map(renewal).collect())
    }
}

#[async_trait]
impl Operation for RenewCurrent<'_> {
    type Output = HashSet<Lease>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.queue.renew_current);
        let ids = uuids(self.0.iter().map(|lease| &lease.order_id));
        let found = session.fetch(&text, |arguments| arguments.add(ids)).await?;
        found.iter().map(rows::lease).collect()
    }
}

#[async_trait]
impl Operation for Release<'_> {
    type Output = Vec<Result<(), Error>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.queue.release);
        let mut items: Vec<(&Lease, ReleaseColumns)> =
            self.0.iter().map(|release| (&release.lease, release.into())).collect();
        items.sort_by_key(|(lease, _)| lease.order_id);
        session
            .fetch_briefly(&text, |arguments| {
                bind_each(arguments, &items, |(lease, _)| *lease)?;
                bind_each(arguments, &items, |(_, columns)| columns)
            })
            .await?;
        Ok(self.0.iter().map(|_| Ok(())).collect())
    }
}

#[async_trait]
impl Operation for MakeDue {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let text = Arc::clone(&session.sql.queue.make_due);
        session.fetch(&text, |arguments| arguments.add(self.0.as_uuid())).await?;
        Ok(())
    }
}

#[async_trait]
impl Operation for Purge<'_> {
    type Output = Purged;

    async fn run(&self, session: &mut Session<'_>) -> Result<Purged, Error> {
        let PurgeRequest { ended_before, named_ended_before, after, limit, .. } = self.0;
        let text = Arc::clone(&session.sql.orders.purge);
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
            orders += u64::from(row.try_get::<bool, _>("is_purged")?);
        }
        let last = page.last().filter(|_| page.len() >= *limit as usize);
        Ok(Purged::new(orders, last.map(rows::order_id).transpose()?))
    }
}

#[async_trait]
impl Operation for Check {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let text = Arc::clone(&session.sql.controls.check);
        session.fetch(&text, |_| Ok(())).await?;
        Ok(())
    }
}
