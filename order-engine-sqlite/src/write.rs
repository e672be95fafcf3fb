//! The writes, each within a transaction that others share.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{
    Append, AppendError, Claim, ClaimRequest, ClaimScope, Claims, Creation, Fence, Lease, NewOrder, Order,
    OrderId, Refused, Release, Undecodable,
};
use sqlx::{Row, SqliteConnection};

use crate::error::Error;
use crate::read::id_list;
use crate::rows::{
    self, AppendRow, EventRow, FailureRow, OrderRow, ReleaseRow, RenewRow, due_after, order_columns,
    owner_text,
};
use crate::statement::{ListRow, ListStatement, Statements};

/// A transaction that is being written.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(crate) connection: &'a mut SqliteConnection,
    pub(crate) statements: &'a mut Statements,
    /// The store's time at its beginning.
    pub(crate) now: DateTime<Utc>,
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
pub(crate) struct Check;

const INSERT_ORDERS: ListStatement = ListStatement {
    before: "INSERT INTO orders (
        status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code, error_message,
        attention, updated_at, seq, state, lane,
        order_id, user_id, client_order_id, origin, order_type, input_token, input_symbol, input_decimals,
        output_token, output_symbol, output_decimals, amount, slippage_bps, expires_at, created_at, payload_version,
        request, due_at)",
    columns: OrderRow::COUNT,
    after: "ON CONFLICT DO NOTHING RETURNING order_id",
};

const INSERT_EVENTS: ListStatement = ListStatement {
    before: "INSERT INTO order_events (
        order_id, seq, at, kind, status, progress, attempt, max_attempts, message, payload_version, payload)",
    columns: EventRow::COUNT,
    after: "",
};

const INSERT_FAILURES: ListStatement = ListStatement {
    before: "INSERT INTO order_failures (order_id, seq, attempt, code, message, at)",
    columns: 6,
    after: "",
};

/// A row is updated only if it has the expected revision and, under a fence, that very lease. A
/// terminal order has no lane; it loses its lease and its due time whatever is asked.
const UPDATE_ORDERS: ListStatement = ListStatement {
    before: "WITH item (
        status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code, error_message,
        attention, updated_at, seq, state, lane,
        order_id, expected_seq, epoch, owner, revoke_due_at, release_due_at) AS (",
    columns: AppendRow::COUNT,
    after: ")
    UPDATE orders SET
        status = item.status, attempt = item.attempt, max_attempts = item.max_attempts, chosen_dex = item.chosen_dex,
        tx_hash = item.tx_hash, execution_price = item.execution_price, amount_out = item.amount_out,
        error_code = item.error_code, error_message = item.error_message, attention = item.attention,
        updated_at = item.updated_at,
        seq = item.seq, state = item.state, lane = item.lane,
        lease_epoch = lease_epoch + (item.revoke_due_at IS NOT NULL AND lease_owner IS NOT NULL),
        lease_owner = CASE
            WHEN item.lane IS NULL OR item.revoke_due_at IS NOT NULL OR item.release_due_at IS NOT NULL THEN NULL
            ELSE lease_owner END,
        due_at = CASE
            WHEN item.lane IS NULL THEN NULL
            WHEN item.release_due_at IS NOT NULL THEN item.release_due_at
            WHEN item.revoke_due_at IS NOT NULL AND lease_owner IS NOT NULL THEN item.revoke_due_at
            ELSE due_at END,
        fruitless_claims = CASE WHEN item.epoch IS NULL THEN fruitless_claims ELSE 0 END
    FROM item
    WHERE orders.order_id = item.order_id AND orders.seq = item.expected_seq
        AND (item.epoch IS NULL OR (orders.lease_epoch = item.epoch AND orders.lease_owner = item.owner))
    RETURNING order_id",
};

const RENEW: ListStatement = ListStatement {
    before: "WITH item (order_id, epoch, owner, until) AS (",
    columns: 4,
    after: ")
    UPDATE orders SET due_at = item.until
    FROM item
    WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner
    RETURNING order_id, lease_epoch, lease_owner",
};

const GIVE_BACK: ListStatement = ListStatement {
    before: "WITH item (order_id, epoch, owner, due_at, innocent) AS (",
    columns: 5,
    after: ")
    UPDATE orders SET
        due_at = item.due_at, lease_owner = NULL, fruitless_claims = max(0, fruitless_claims - item.innocent)
    FROM item
    WHERE orders.order_id = item.order_id AND lease_epoch = item.epoch AND lease_owner = item.owner
    RETURNING order_id",
};

#[async_trait]
impl Write for Create {
    type Output = Vec<Result<Creation, Refused>>;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Self::Output, Error> {
        let now = transaction.now;
        let encoded: Vec<Result<OrderRow, Refused>> =
            self.0.iter().map(|new| OrderRow::new(new, now)).collect();
        let rows: Vec<&OrderRow> = encoded.iter().flatten().collect();
        let created = transaction.run(&INSERT_ORDERS, &rows).await?;
        let events: Vec<&EventRow> =
            rows.iter().filter(|row| created.contains(&row.order.id)).map(|row| &row.event).collect();
        transaction.insert_events(&events).await?;
        // An id that stands twice in one call was created once, by its first item.
        let mut created = created;
        let mut results = Vec::with_capacity(encoded.len());
        for row in encoded {
            results.push(match row {
                Ok(row) if created.remove(&row.order.id) => Ok(Creation::Created),
                Ok(row) => transaction.existing(&row.order).await?,
                Err(refused) => Err(refused),
            });
        }
        Ok(results)
    }
}

#[async_trait]
impl Write for Record {
    type Output = Vec<Result<(), AppendError>>;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Self::Output, Error> {
        let now = transaction.now;
        let encoded: Vec<Result<AppendRow, Refused>> =
            self.0.iter().map(|append| AppendRow::new(append, now)).collect();
        let rows: Vec<&AppendRow> = encoded.iter().flatten().collect();
        let updated = transaction.run(&UPDATE_ORDERS, &rows).await?;
        let written = |append: &Append| updated.contains(&append.order.id);
        let events: Vec<&EventRow> = self
            .0
            .iter()
            .zip(&encoded)
            .filter(|(append, _)| written(append))
            .flat_map(|(_, row)| row.iter().flat_map(|row| &row.events))
            .collect();
        transaction.insert_events(&events).await?;
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
        let is_drained = due.len() < request.limit as usize;
        let rowids: Vec<String> = due.iter().map(|(rowid, _)| rowid.to_string()).collect();
        if !rowids.is_empty() {
            sqlx::query(
                "UPDATE orders SET lease_epoch = lease_epoch + 1, lease_owner = ?, due_at = ?,
                    fruitless_claims = fruitless_claims + 1
                WHERE rowid IN (SELECT value FROM json_each(?))",
            )
            .bind(owner_text(request.owner))
            .bind(due_after(transaction.now, request.duration))
            .bind(format!("[{}]", rowids.join(",")))
            .execute(&mut *transaction.connection)
            .await?;
        }
        let claims = due.into_iter().map(|(_, claim)| claim).collect();
        // Whoever got all that was asked for asks again at once.
        let next_due_in =
            if is_drained { transaction.next_due_in(request).await? } else { Some(Duration::ZERO) };
        Ok(Claims { claims, next_due_in })
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
    /// Runs a statement over rows and gives the ids that it returns.
    async fn run<R: ListRow + Sync>(
        &mut self,
        statement: &ListStatement,
        rows: &[R],
    ) -> Result<HashSet<OrderId>, Error> {
        let returned = self.statements.run(self.connection, statement, rows).await?;
        returned.iter().map(rows::order_id).collect()
    }

    async fn insert_events(&mut self, events: &[&EventRow]) -> Result<(), Error> {
        self.statements.run(self.connection, &INSERT_EVENTS, events).await?;
        let failures: Vec<FailureRow<'_>> =
            events.iter().filter(|event| event.is_failure()).map(|event| FailureRow(event)).collect();
        self.statements.run(self.connection, &INSERT_FAILURES, &failures).await?;
        Ok(())
    }

    /// The order that stands in the way of a new one.
    async fn existing(&mut self, order: &Arc<Order>) -> Result<Result<Creation, Refused>, Error> {
        let sql = concat!(
            "SELECT ",
            order_columns!(),
            " FROM orders WHERE order_id = ? OR (user_id = ? AND client_order_id = ?)"
        );
        let row = sqlx::query(sql)
            .bind(order.id.to_string())
            .bind(order.request.user_id.as_str())
            .bind(order.request.client_order_id.as_ref().map(order_engine_core::ClientOrderId::as_str))
            .fetch_one(&mut *self.connection)
            .await?;
        // An order that this program cannot read fails its own item only.
        Ok(match rows::order(&row) {
            Ok(order) => Ok(Creation::Existing(Box::new(order))),
            Err(Error::Undecodable(error)) => Err(Refused { message: error.to_string() }),
            Err(error) => return Err(error),
        })
    }

    /// Why an append changed nothing.
    async fn why_not(&mut self, row: &AppendRow) -> Result<AppendError, Error> {
        let found = sqlx::query("SELECT seq, lease_epoch, lease_owner FROM orders WHERE order_id = ?")
            .bind(&row.order_id)
            .fetch_optional(&mut *self.connection)
            .await?;
        let Some(found) = found else { return Ok(AppendError::NotFound) };
        let (seq, epoch): (i64, i64) = (found.try_get(0)?, found.try_get(1)?);
        let owner: Option<String> = found.try_get(2)?;
        let is_current =
            row.fence.as_ref().is_none_or(|fence| fence.0 == epoch && Some(&fence.1) == owner.as_ref());
        Ok(if is_current {
            AppendError::StaleRevision { actual: u64::try_from(seq).unwrap_or(0) }
        } else {
            AppendError::StaleFence
        })
    }

    /// The due orders that a claim takes, with the leases that it is about to give.
    async fn due_rows(&mut self, request: &ClaimRequest) -> Result<Vec<(i64, Claim)>, Error> {
        let any = concat!(
            "SELECT ",
            order_columns!(),
            ", rowid, lease_epoch, fruitless_claims FROM orders
            WHERE lane = ? AND due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?"
        );
        let some = concat!(
            "SELECT ",
            order_columns!(),
            ", rowid, lease_epoch, fruitless_claims FROM orders
            WHERE lane = ? AND due_at IS NOT NULL AND due_at <= ? AND order_id IN (SELECT value FROM json_each(?))
            ORDER BY due_at LIMIT ?"
        );
        let query = match &request.scope {
            ClaimScope::Any => sqlx::query(any).bind(request.lane.as_str()).bind(self.now.timestamp_millis()),
            ClaimScope::Ids(ids) => sqlx::query(some)
                .bind(request.lane.as_str())
                .bind(self.now.timestamp_millis())
                .bind(id_list(ids)),
        };
        let rows = query.bind(request.limit).fetch_all(&mut *self.connection).await?;
        rows.iter()
            .map(|row| {
                let epoch = u64::try_from(row.try_get::<i64, _>(9)?).unwrap_or(0) + 1;
                let lease =
                    Lease { order_id: rows::order_id(row)?, fence: Fence { epoch, owner: request.owner } };
                let order = match rows::order(row) {
                    Ok(order) => Ok(Arc::new(order)),
                    Err(error) => Err(Undecodable { message: error.to_string() }),
                };
                let fruitless = u32::try_from(row.try_get::<i64, _>(10)?).unwrap_or(u32::MAX);
                let claim = Claim { lease, fruitless_claims: fruitless.saturating_add(1), order };
                Ok((row.try_get(8)?, claim))
            })
            .collect()
    }

    async fn next_due_in(&mut self, request: &ClaimRequest) -> Result<Option<Duration>, Error> {
        let next = sqlx::query(
            "SELECT due_at FROM orders WHERE lane = ? AND due_at IS NOT NULL ORDER BY due_at LIMIT 1",
        )
        .bind(request.lane.as_str())
        .fetch_optional(&mut *self.connection)
        .await?;
        let Some(row) = next else { return Ok(None) };
        let wait_ms = row.try_get::<i64, _>(0)?.saturating_sub(self.now.timestamp_millis());
        Ok(Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))))
    }
}
