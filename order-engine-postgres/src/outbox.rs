//! What durable sinks are owed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{
    DecodeError, Deliveries, Delivery, DeliveryAck, DeliveryRequest, EventRecord, Lease, OrderId,
};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::error::{Error, undecodable_apart};
use crate::rows::{self, DeliveryAckRow, LeaseRow, RangeRow, micros, owner_uuid};
use crate::statement::bind_each;
use crate::store::{Call, Session};
use crate::write::{is_empty, next_due_in};

pub(crate) struct Register<'a>(pub(crate) &'a [Arc<str>]);
pub(crate) struct Forget<'a> {
    pub(crate) sink: &'a str,
    pub(crate) limit: u32,
}
pub(crate) struct TakeDebts<'a>(pub(crate) &'a DeliveryRequest);
pub(crate) struct OwedEvents<'a> {
    pub(crate) debts: &'a [Debt],
    pub(crate) next_due_in: Option<Duration>,
    pub(crate) limit: u32,
}
pub(crate) struct Settle<'a>(pub(crate) &'a [DeliveryAck]);

/// A debt that was leased; its events are read after the write.
#[derive(Debug)]
pub(crate) struct Debt {
    lease: Lease,
    delivered_seq: i64,
    failures: u32,
}

#[async_trait]
impl Call for Register<'_> {
    type Output = ();

    const IS_TRANSACTION: bool = true;

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let names: Vec<&str> = self.0.iter().map(|name| &**name).collect();
        let [registered, register] = [&session.sql.registered, &session.sql.register].map(Arc::clone);
        let known = session.fetch(&registered, |arguments| arguments.add(&names)).await?;
        let known: HashSet<&str> = known.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        // Each engine registers its sinks when it starts; only a new one makes the writers wait.
        if names.iter().any(|name| !known.contains(name)) {
            lock_sinks(session).await?;
            session.fetch(&register, |arguments| arguments.add(&names)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Call for Forget<'_> {
    type Output = u64;

    const IS_TRANSACTION: bool = true;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, Error> {
        let [registered, unregister, forget] =
            [&session.sql.registered, &session.sql.unregister, &session.sql.forget_debts].map(Arc::clone);
        let known = session.fetch(&registered, |arguments| arguments.add([self.sink])).await?;
        if !known.is_empty() {
            lock_sinks(session).await?;
            session.fetch(&unregister, |arguments| arguments.add(self.sink)).await?;
        }
        let forgotten = session
            .fetch(&forget, |arguments| {
                arguments.add(self.sink)?;
                arguments.add(i64::from(self.limit))
            })
            .await?;
        Ok(forgotten.len() as u64)
    }
}

/// Waits for the writes that are under way, and lets the later ones wait.
async fn lock_sinks(session: &mut Session<'_>) -> Result<(), Error> {
    for text in [&session.sql.bound_lock, &session.sql.lock_sinks].map(Arc::clone) {
        session.fetch(&text, |_| Ok(())).await?;
    }
    Ok(())
}

#[async_trait]
impl Call for TakeDebts<'_> {
    type Output = (Vec<Debt>, Option<Duration>);

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let DeliveryRequest { sink, limit, owner, duration, .. } = self.0;
        let text = Arc::clone(&session.sql.claim_debts);
        let rows = session
            .fetch(&text, |arguments| {
                arguments.add(&**sink)?;
                arguments.add(i64::from(*limit))?;
                arguments.add(owner_uuid(*owner))?;
                arguments.add(micros(*duration))
            })
            .await?;
        let debts: Vec<Debt> =
            rows.iter().filter(|row| !is_empty(row)).map(debt).collect::<Result<_, _>>()?;
        let expiry = (!debts.is_empty()).then_some(*duration);
        let next = next_due_in(&rows, 6)?;
        Ok((debts, next.into_iter().chain(expiry).min()))
    }
}

fn debt(row: &PgRow) -> Result<Debt, Error> {
    Ok(Debt {
        lease: rows::lease(row)?,
        delivered_seq: row.try_get(3)?,
        failures: u32::try_from(row.try_get::<i64, _>(4)?).unwrap_or(u32::MAX),
    })
}

#[async_trait]
impl Call for OwedEvents<'_> {
    type Output = Deliveries;

    async fn run(&self, session: &mut Session<'_>) -> Result<Deliveries, Error> {
        let range = |debt: &Debt| RangeRow {
            order_id: *debt.lease.order_id.as_uuid(),
            after_seq: debt.delivered_seq,
            last_seq: debt.delivered_seq.saturating_add(i64::from(self.limit)),
        };
        let ranges: Vec<RangeRow> = self.debts.iter().map(range).collect();
        let text = Arc::clone(&session.sql.owed_events);
        let rows = session.fetch(&text, |arguments| bind_each(arguments, &ranges, |range| range)).await?;
        let mut owed: HashMap<OrderId, Vec<Result<EventRecord, DecodeError>>> = HashMap::new();
        for row in &rows {
            owed.entry(rows::order_id(row)?).or_default().push(undecodable_apart(rows::event(row))?);
        }
        let delivery = |Debt { lease, failures, .. }: &Debt| Delivery {
            lease: *lease,
            failures: *failures,
            events: Delivery::readable(owed.remove(&lease.order_id).unwrap_or_default()),
        };
        Ok(Deliveries {
            deliveries: self.debts.iter().map(delivery).collect(),
            next_due_in: self.next_due_in,
        })
    }
}

#[async_trait]
impl Call for Settle<'_> {
    type Output = Vec<bool>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<bool>, Error> {
        let items: Vec<(LeaseRow, DeliveryAckRow<'_>)> =
            self.0.iter().map(|ack| (LeaseRow::from(&ack.lease), DeliveryAckRow::new(ack))).collect();
        let text = Arc::clone(&session.sql.settle);
        let rows = session
            .fetch_briefly(&text, |arguments| {
                bind_each(arguments, &items, |(lease, _)| lease)?;
                bind_each(arguments, &items, |(_, ack)| ack)
            })
            .await?;
        let mut settled = HashSet::new();
        for row in &rows {
            settled.insert((rows::lease(row)?, row.try_get::<String, _>(3)?));
        }
        Ok(self.0.iter().map(|ack| settled.contains(&(ack.lease, ack.sink.to_string()))).collect())
    }
}
