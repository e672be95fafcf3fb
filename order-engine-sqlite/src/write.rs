//! The writes, each within a transaction that others share.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{
    Append, AppendError, Claim, ClaimRequest, ClaimScope, Claims, CreateError, Creation, DecodeError, Fence,
    ItemRejected, Lane, Lease, NewOrder, Order, OrderId, PurgeRequest, Purged, Release,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::error::{Error, undecodable_apart};
use crate::read::id_list;
use crate::rows::{
    self, AppendRow, DebtRow, EventRow, FailureRow, OrderRow, ReleaseRow, RenewRow, due_after, owner_text,
    time_text,
};
use crate::sql::{
    DUE, DUE_OF_IDS, EXISTING, FENCE, GIVE_BACK, INSERT_EVENTS, INSERT_FAILURES, INSERT_ORDERS, LEASE,
    MAKE_DUE, NEXT_DUE, OWE, PURGE, PURGEABLE, RENEW, UPDATE_ORDERS,
};
use crate::statement::{ListRow, ListStatement, Statements};

/// A transaction that is being written.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(crate) connection: &'a mut SqliteConnection,
    pub(crate) statements: &'a mut Statements,
    /// The store's time at its beginning.
    pub(crate) now: DateTime<Utc>,
    /// How a write's items are written.
    pub(crate) pace: Pace,
}

/// How the items of a write are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// With few statements. What SQLite refuses of one item, it refuses of all.
    AllAtOnce,
    /// Each in a savepoint of its own, after that happened.
    OneByOne,
}

/// A write. It may be run again in another transaction if the first was rolled back.
#[async_trait]
pub(crate) trait Write: Send + Sync + 'static {
    type Output: Send + Sync + 'static;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Self::Output, Error>;
}

pub(crate) struct Create(pub(crate) Vec<NewOrder>);
pub(crate) struct TakeDue(pub(crate) ClaimRequest);
pub(crate) struct Renew(pub(crate) Vec<Lease>, pub(crate) Duration);
pub(crate) struct GiveBack(pub(crate) Vec<Release>);
pub(crate) struct Record(pub(crate) Vec<Append>);
pub(crate) struct MakeDue(pub(crate) Vec<OrderId>);
pub(crate) struct Purge(pub(crate) PurgeRequest);
pub(crate) struct Check;

/// What became of a list of orders.
struct Written {
    /// Those that were written.
    orders: HashSet<OrderId>,
    /// Whether sinks are to be owed their events.
    has_sinks: bool,
}

#[async_trait]
impl Write for Create {
    type Output = Vec<Result<Creation, CreateError>>;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Self::Output, Error> {
        if transaction.pace == Pace::OneByOne {
            return transaction.one_by_one(&self.0, |new| Self(vec![new.clone()])).await;
        }
        let now = transaction.now;
        let encoded: Vec<Result<OrderRow, ItemRejected>> =
            self.0.iter().map(|new| OrderRow::new(new, now)).collect();
        let rows: Vec<&OrderRow> = encoded.iter().flatten().collect();
        let Written { orders: mut created, has_sinks } = transaction.write(&INSERT_ORDERS, &rows).await?;
        let new: Vec<&OrderRow> = rows.into_iter().filter(|row| created.contains(&row.order.id)).collect();
        let events: Vec<&EventRow> = new.iter().map(|row| &row.event).collect();
        transaction.insert_events(&events).await?;
        if has_sinks {
            transaction.owe(new.iter().map(|row| (row.order.id, 0))).await?;
        }
        // An id that stands twice in one call was created once, by its first item.
        let mut results = Vec::with_capacity(encoded.len());
        for row in encoded {
            results.push(match row {
                Ok(row) if created.remove(&row.order.id) => Ok(Creation::Created),
                Ok(row) => transaction.existing(&row.order).await?,
                Err(refused) => Err(refused.into()),
            });
        }
        Ok(results)
    }
}

#[async_trait]
impl Write for Record {
    type Output = Vec<Result<(), AppendError>>;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Self::Output, Error> {
        if transaction.pace == Pace::OneByOne {
            return transaction.one_by_one(&self.0, |append| Self(vec![append.clone()])).await;
        }
        let now = transaction.now;
        let encoded: Vec<Result<AppendRow, ItemRejected>> =
            self.0.iter().map(|append| AppendRow::new(append, now)).collect();
        let rows: Vec<&AppendRow> = encoded.iter().flatten().collect();
        let Written { orders: updated, has_sinks } = transaction.write(&UPDATE_ORDERS, &rows).await?;
        let written = |append: &Append| updated.contains(&append.order.id);
        let events: Vec<&EventRow> = self
            .0
            .iter()
            .zip(&encoded)
            .filter(|(append, _)| written(append))
            .flat_map(|(_, row)| row.iter().flat_map(|row| &row.events))
            .collect();
        transaction.insert_events(&events).await?;
        if has_sinks {
            let appends = self.0.iter().filter(|append| written(append));
            transaction.owe(appends.map(|append| (append.order.id, append.expected_seq))).await?;
        }
        let mut results = Vec::with_capacity(encoded.len());
        for (append, row) in self.0.iter().zip(encoded) {
            results.push(match row {
                Ok(_) if written(append) => Ok(()),
                Ok(row) => Err(transaction.why_not(&row).await?),
                Err(refused) => Err(refused.into()),
            });
        }
        Ok(results)
    }
}

#[async_trait]
impl Write for TakeDue {
    type Output = Claims;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Claims, Error> {
        let request = &self.0;
        let due = transaction.due_rows(request).await?;
        if !due.is_empty() {
            let rowids: Vec<String> = due.iter().map(|(rowid, _)| rowid.to_string()).collect();
            sqlx::query(LEASE)
                .bind(owner_text(request.owner))
                .bind(due_after(transaction.now, request.duration))
                .bind(format!("[{}]", rowids.join(",")))
                .execute(&mut *transaction.connection)
                .await?;
        }
        let claims = due.into_iter().filter_map(|(_, claim)| claim).collect();
        let next_due_in = transaction.next_due_in(request.lane).await?;
        Ok(Claims { claims, as_of: transaction.now, next_due_in })
    }
}

#[async_trait]
impl Write for Renew {
    type Output = Vec<bool>;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Vec<bool>, Error> {
        let Self(leases, duration) = self;
        let until = due_after(transaction.now, *duration);
        let rows: Vec<RenewRow> = leases.iter().map(|lease| RenewRow(*lease, until)).collect();
        let renewed = transaction.statements.run(transaction.connection, &RENEW, &rows).await?;
        // One call may ask for an order's former leases too, and only the current one is renewed.
        let renewed: HashSet<Lease> = renewed.iter().map(rows::lease).collect::<Result<_, _>>()?;
        Ok(leases.iter().map(|lease| renewed.contains(lease)).collect())
    }
}

#[async_trait]
impl Write for GiveBack {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        let now = transaction.now;
        let rows: Vec<ReleaseRow> = self.0.iter().map(|release| ReleaseRow(*release, now)).collect();
        transaction.run(&GIVE_BACK, &rows).await?;
        Ok(())
    }
}

#[async_trait]
impl Write for MakeDue {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        let now_ms = transaction.now.timestamp_millis();
        let make_due = sqlx::query(MAKE_DUE).bind(now_ms).bind(id_list(&self.0));
        make_due.execute(&mut *transaction.connection).await?;
        Ok(())
    }
}

#[async_trait]
impl Write for Purge {
    type Output = Purged;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Purged, Error> {
        let request = &self.0;
        let page = sqlx::query(PURGEABLE)
            .bind(time_text(request.ended_before))
            .bind(time_text(request.named_ended_before))
            .bind(request.after.map_or(String::new(), |id| id.to_string()))
            .bind(request.limit)
            .fetch_all(&mut *transaction.connection)
            .await?;
        let mut gone = Vec::new();
        for row in &page {
            if row.try_get(1)? {
                gone.push(rows::order_id(row)?);
            }
        }
        if !gone.is_empty() {
            for statement in PURGE {
                sqlx::query(statement).bind(id_list(&gone)).execute(&mut *transaction.connection).await?;
            }
        }
        // An id that cannot be read ends the walk: nothing this program wrote comes after it.
        let last = page.last().filter(|_| page.len() >= request.limit as usize);
        Ok(Purged { orders: gone.len() as u64, next: last.and_then(|row| rows::order_id(row).ok()) })
    }
}

#[async_trait]
impl Write for Check {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        sqlx::query("INSERT OR REPLACE INTO writable (id, checked_at) VALUES (1, ?)")
            .bind(transaction.now.timestamp_millis())
            .execute(&mut *transaction.connection)
            .await?;
        Ok(())
    }
}

impl Transaction<'_> {
    /// Writes items each for itself, so that one that SQLite refuses harms no other.
    async fn one_by_one<I, W, T, E>(
        &mut self,
        items: &[I],
        alone: impl Fn(&I) -> W + Send + Sync,
    ) -> Result<Vec<Result<T, E>>, Error>
    where
        I: Sync,
        W: Write<Output = Vec<Result<T, E>>>,
        T: Send,
        E: From<ItemRejected> + Send,
    {
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            self.execute("SAVEPOINT item").await?;
            let mut transaction = Transaction {
                connection: self.connection,
                statements: self.statements,
                now: self.now,
                pace: Pace::AllAtOnce,
            };
            match alone(item).run(&mut transaction).await {
                Ok(result) => results.extend(result),
                Err(error) if error.may_be_an_items_fault() => {
                    self.execute("ROLLBACK TO item").await?;
                    results.push(Err(ItemRejected { message: error.to_string() }.into()));
                }
                Err(error) => return Err(error),
            }
            self.execute("RELEASE item").await?;
        }
        Ok(results)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), Error> {
        sqlx::query(sql).execute(&mut *self.connection).await?;
        Ok(())
    }

    /// Runs a statement over rows and gives the ids that it returns.
    async fn run<R: ListRow + Sync>(
        &mut self,
        statement: &ListStatement,
        rows: &[R],
    ) -> Result<HashSet<OrderId>, Error> {
        let returned = self.statements.run(self.connection, statement, rows).await?;
        returned.iter().map(rows::order_id).collect()
    }

    /// Runs a statement that writes orders.
    async fn write<R: ListRow + Sync>(
        &mut self,
        statement: &ListStatement,
        rows: &[R],
    ) -> Result<Written, Error> {
        let returned = self.statements.run(self.connection, statement, rows).await?;
        Ok(Written {
            orders: returned.iter().map(rows::order_id).collect::<Result<_, _>>()?,
            has_sinks: returned.first().is_some_and(|row| row.try_get(1).unwrap_or(false)),
        })
    }

    /// Makes the sinks creditors of orders, from the event after this one on.
    async fn owe(&mut self, orders: impl Iterator<Item = (OrderId, u64)> + Send) -> Result<(), Error> {
        let now = self.now;
        let rows: Vec<DebtRow> = orders.map(|(id, after_seq)| DebtRow(id, after_seq, now)).collect();
        self.statements.run(self.connection, &OWE, &rows).await?;
        Ok(())
    }

    async fn insert_events(&mut self, events: &[&EventRow]) -> Result<(), Error> {
        self.statements.run(self.connection, &INSERT_EVENTS, events).await?;
        let failures: Vec<FailureRow<'_>> =
            events.iter().filter(|event| event.is_failure()).map(|event| FailureRow(event)).collect();
        self.statements.run(self.connection, &INSERT_FAILURES, &failures).await?;
        Ok(())
    }

    /// The order that stands in the way of a new one.
    async fn existing(&mut self, order: &Arc<Order>) -> Result<Result<Creation, CreateError>, Error> {
        let row = sqlx::query(EXISTING)
            .bind(order.id.to_string())
            .bind(order.request.user_id.as_str())
            .bind(order.request.client_order_id.as_ref().map(order_engine_core::ClientOrderId::as_str))
            .fetch_one(&mut *self.connection)
            .await?;
        // An order that this program cannot read fails its own item only.
        let existing = undecodable_apart(rows::order(&row))?;
        Ok(existing
            .map(|order| Creation::Existing(Box::new(order)))
            .map_err(|error| ItemRejected { message: error.to_string() }.into()))
    }

    /// Why an append changed nothing.
    async fn why_not(&mut self, row: &AppendRow) -> Result<AppendError, Error> {
        let found = sqlx::query(FENCE).bind(&row.order_id).fetch_optional(&mut *self.connection).await?;
        let Some(found) = found else { return Ok(AppendError::NotFound) };
        let (seq, epoch): (i64, i64) = (found.try_get(0)?, found.try_get(1)?);
        let owner: Option<String> = found.try_get(2)?;
        let is_current =
            row.fence.as_ref().is_none_or(|fence| fence.0 == epoch && Some(&fence.1) == owner.as_ref());
        Ok(if !is_current {
            AppendError::StaleFence
        } else if seq == row.expected_seq {
            AppendError::TooLate
        } else {
            AppendError::StaleRevision { actual: u64::try_from(seq).unwrap_or(0) }
        })
    }

    /// The due orders that a claim takes, by their rowids, with the leases that it is about to give.
    ///
    /// A row whose very id cannot be read is leased to nobody, or it would be in every claim's way.
    async fn due_rows(&mut self, request: &ClaimRequest) -> Result<Vec<(i64, Option<Claim>)>, Error> {
        let (lane, now_ms) = (request.lane.as_str(), self.now.timestamp_millis());
        let query = match &request.scope {
            ClaimScope::Any => sqlx::query(DUE).bind(lane).bind(now_ms),
            ClaimScope::Order(id) => {
                sqlx::query(DUE_OF_IDS).bind(lane).bind(now_ms).bind(id_list(std::slice::from_ref(id)))
            }
        };
        let rows = query.bind(request.limit).fetch_all(&mut *self.connection).await?;
        let claim = |row: &SqliteRow| match rows::order_id(row) {
            Ok(order_id) => claim(row, order_id, request.owner).map(Some),
            Err(error) => {
                tracing::error!(%error, "an order with an unreadable id is left alone");
                Ok(None)
            }
        };
        rows.iter().map(|row| Ok((row.try_get(9)?, claim(row)?))).collect()
    }

    async fn next_due_in(&mut self, lane: Lane) -> Result<Option<Duration>, Error> {
        let next = sqlx::query(NEXT_DUE).bind(lane.as_str()).fetch_optional(&mut *self.connection).await?;
        let Some(row) = next else { return Ok(None) };
        let wait_ms = row.try_get::<i64, _>(0)?.saturating_sub(self.now.timestamp_millis());
        Ok(Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))))
    }
}

/// The claim that is about to be given on a due row.
fn claim(row: &SqliteRow, order_id: OrderId, owner: u128) -> Result<Claim, Error> {
    let epoch = u64::try_from(row.try_get::<i64, _>(10)?).unwrap_or(0) + 1;
    let fruitless = u32::try_from(row.try_get::<i64, _>(11)?).unwrap_or(u32::MAX);
    Ok(Claim {
        lease: Lease { order_id, fence: Fence { epoch, owner } },
        claims_without_progress: fruitless.saturating_add(1),
        order: rows::order(row).map(Arc::new).map_err(|error| DecodeError { message: error.to_string() }),
    })
}
