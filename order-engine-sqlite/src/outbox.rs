//! What durable sinks are owed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{
    DecodeError, Deliveries, Delivery, DeliveryAck, DeliveryRequest, EventRecord, Fence, Lease, OrderId,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::error::{Error, undecodable_apart};
use crate::read::id_list;
use crate::rows::{self, DeliveryAckRow, due_after, owner_text};
use crate::sql::{DUE_DEBTS, FORGET_DEBTS, LEASE_DEBTS, NEXT_DEBT_DUE, OWED_EVENTS, PAY_OFF, SETTLE};
use crate::write::{Transaction, Write};

pub(crate) struct Register(pub(crate) Vec<Arc<str>>);
pub(crate) struct Forget(pub(crate) Arc<str>, pub(crate) u32);
pub(crate) struct TakeDebts(pub(crate) DeliveryRequest);
pub(crate) struct Settle(pub(crate) Vec<DeliveryAck>);

/// A debt that was leased; its events are read after the write.
#[derive(Debug)]
pub(crate) struct Debt {
    lease: Lease,
    delivered_seq: i64,
    failures: u32,
}

#[async_trait]
impl Write for Register {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        for sink in &self.0 {
            let register = sqlx::query("INSERT INTO sinks (name) VALUES (?) ON CONFLICT DO NOTHING");
            register.bind(&**sink).execute(&mut *transaction.connection).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Write for Forget {
    type Output = u64;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<u64, Error> {
        let Self(sink, limit) = self;
        let connection = &mut *transaction.connection;
        sqlx::query("DELETE FROM sinks WHERE name = ?").bind(&**sink).execute(&mut *connection).await?;
        let forgotten = sqlx::query(FORGET_DEBTS).bind(&**sink).bind(*limit).execute(connection).await?;
        Ok(forgotten.rows_affected())
    }
}

#[async_trait]
impl Write for TakeDebts {
    type Output = (Vec<Debt>, Option<Duration>);

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Self::Output, Error> {
        let DeliveryRequest { sink, limit, owner, duration, .. } = &self.0;
        let (connection, now) = (&mut *transaction.connection, transaction.now);
        let now_ms = now.timestamp_millis();
        let due = sqlx::query(DUE_DEBTS).bind(&**sink).bind(now_ms).bind(*limit);
        let due = due.fetch_all(&mut *connection).await?;
        let debts: Vec<Debt> = due.iter().map(|row| debt(row, *owner)).collect::<Result<_, _>>()?;
        if !debts.is_empty() {
            let ids: Vec<OrderId> = debts.iter().map(|debt| debt.lease.order_id).collect();
            let lease = sqlx::query(LEASE_DEBTS).bind(owner_text(*owner)).bind(due_after(now, *duration));
            lease.bind(&**sink).bind(id_list(&ids)).execute(&mut *connection).await?;
        }
        let next = sqlx::query(NEXT_DEBT_DUE).bind(&**sink).fetch_optional(connection).await?;
        let wait = next.map(|row| row.try_get::<i64, _>(0)).transpose()?.map(|due_at| due_at - now_ms);
        Ok((debts, wait.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)))))
    }
}

#[async_trait]
impl Write for Settle {
    type Output = Vec<bool>;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Vec<bool>, Error> {
        let now = transaction.now;
        let rows: Vec<DeliveryAckRow<'_>> =
            self.0.iter().map(|settled| DeliveryAckRow(settled, now)).collect();
        let mut settled = HashSet::new();
        for statement in [&PAY_OFF, &SETTLE] {
            let returned = transaction.statements.run(transaction.connection, statement, &rows).await?;
            for row in &returned {
                settled.insert((
                    rows::order_id(row)?,
                    row.try_get::<String, _>(1)?,
                    row.try_get::<i64, _>(2)?,
                ));
            }
        }
        let is_settled = |DeliveryAck { sink, lease, .. }: &DeliveryAck| {
            let epoch = i64::try_from(lease.fence.epoch).unwrap_or(-1);
            settled.contains(&(lease.order_id, sink.to_string(), epoch))
        };
        Ok(self.0.iter().map(is_settled).collect())
    }
}

/// The lease that is about to be given on a debt that is due.
fn debt(row: &SqliteRow, owner: u128) -> Result<Debt, Error> {
    let epoch = u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or(0) + 1;
    Ok(Debt {
        lease: Lease { order_id: rows::order_id(row)?, fence: Fence { epoch, owner } },
        delivered_seq: row.try_get(1)?,
        failures: u32::try_from(row.try_get::<i64, _>(3)?).unwrap_or(u32::MAX),
    })
}

/// Reads the events that are owed first, of each debt.
pub(crate) async fn deliveries(
    pool: &SqlitePool,
    (debts, next_due_in): (Vec<Debt>, Option<Duration>),
    events_limit: u32,
) -> Result<Deliveries, Error> {
    let range = |debt: &Debt| {
        let last = debt.delivered_seq.saturating_add(i64::from(events_limit));
        format!("[\"{}\",{},{last}]", debt.lease.order_id, debt.delivered_seq)
    };
    let ranges: Vec<String> = debts.iter().map(range).collect();
    let rows = sqlx::query(OWED_EVENTS).bind(format!("[{}]", ranges.join(","))).fetch_all(pool).await?;
    let mut owed: HashMap<OrderId, Vec<Result<EventRecord, DecodeError>>> = HashMap::new();
    for row in &rows {
        owed.entry(rows::order_id(row)?).or_default().push(undecodable_apart(rows::event(row))?);
    }
    let delivery = |Debt { lease, failures, .. }: Debt| Delivery {
        lease,
        failures,
        events: Delivery::readable(owed.remove(&lease.order_id).unwrap_or_default()),
    };
    Ok(Deliveries { deliveries: debts.into_iter().map(delivery).collect(), next_due_in })
}
