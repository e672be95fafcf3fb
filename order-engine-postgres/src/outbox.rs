//! The outbox: the events that durable sinks still lack.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::backend::{ClaimedEntries, ClaimedEntry, Decoded, count_u32};
use order_engine_core::store::{DeliveryAck, DeliveryRequest, Lease};
use order_engine_core::{EventRecord, OrderHead, OrderId};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::error::Error;
use crate::rows::{self, AckRow, RangeRow, Written, bind_each, micros, owner_uuid};
use crate::session::{Operation, Session};
use crate::write::{is_leased, next_due_in};

pub(crate) struct RegisterSinks<'a>(pub(crate) &'a [Arc<str>]);
pub(crate) struct UnregisterSink<'a> {
    pub(crate) sink: &'a str,
    pub(crate) limit: u32,
}
pub(crate) struct ClaimDeliveries<'a>(pub(crate) &'a DeliveryRequest);
pub(crate) struct ClaimDeliveriesEvents<'a> {
    pub(crate) claimed: &'a ClaimedEntries,
    pub(crate) events_limit: u32,
}
pub(crate) struct AckDeliveries<'a>(pub(crate) &'a [DeliveryAck]);

#[async_trait]
impl Operation for RegisterSinks<'_> {
    type Output = ();

    const IS_TRANSACTION: bool = true;

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let names: Vec<&str> = self.0.iter().map(|name| &**name).collect();
        let registered = registered_sinks(session, &names).await?;
        // Each engine registers its sinks when it starts; only a new sink makes the writers wait.
        if names.iter().any(|name| !registered.contains(*name)) {
            lock_sinks(session).await?;
            let text = Arc::clone(&session.sql.outbox.register_sinks);
            session.fetch(&text, |arguments| arguments.add(&names)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Operation for UnregisterSink<'_> {
    type Output = u64;

    const IS_TRANSACTION: bool = true;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, Error> {
        let Self { sink, limit } = self;
        if !registered_sinks(session, &[sink]).await?.is_empty() {
            lock_sinks(session).await?;
            let text = Arc::clone(&session.sql.outbox.unregister_sink);
            session.fetch(&text, |arguments| arguments.add(sink)).await?;
        }
        let text = Arc::clone(&session.sql.outbox.unregister_sink_entries);
        let deleted = session
            .fetch(&text, |arguments| {
                arguments.add(sink)?;
                arguments.add(i64::from(*limit))
            })
            .await?;
        Ok(deleted.len() as u64)
    }
}

/// Returns those of the names under which a sink is registered.
async fn registered_sinks(session: &mut Session<'_>, names: &[&str]) -> Result<HashSet<String>, Error> {
    let text = Arc::clone(&session.sql.outbox.registered_sinks);
    let found = session.fetch(&text, |arguments| arguments.add(names)).await?;
    Ok(found.iter().map(|row| row.try_get("name")).collect::<Result<_, _>>()?)
}

/// Waits for the writes that are under way, and makes later ones wait.
async fn lock_sinks(session: &mut Session<'_>) -> Result<(), Error> {
    for text in [&session.sql.outbox.lock_sinks_timeout, &session.sql.outbox.lock_sinks].map(Arc::clone) {
        session.fetch(&text, |_| Ok(())).await?;
    }
    Ok(())
}

#[async_trait]
impl Operation for ClaimDeliveries<'_> {
    type Output = ClaimedEntries;

    async fn run(&self, session: &mut Session<'_>) -> Result<ClaimedEntries, Error> {
        let DeliveryRequest { sink, limit, owner, duration, .. } = self.0;
        let text = Arc::clone(&session.sql.outbox.claim_deliveries);
        let rows = session
            .fetch(&text, |arguments| {
                arguments.add(&**sink)?;
                arguments.add(i64::from(*limit))?;
                arguments.add(owner_uuid(*owner))?;
                arguments.add(micros(*duration))
            })
            .await?;
        let leased = rows.iter().filter(|row| is_leased(row));
        let entries: Vec<ClaimedEntry> = leased.map(claimed_entry).collect::<Result<_, _>>()?;
        let expiry = (!entries.is_empty()).then_some(*duration);
        let next = next_due_in(&rows)?;
        Ok(ClaimedEntries { entries, next_due_in: next.into_iter().chain(expiry).min() })
    }
}

fn claimed_entry(row: &PgRow) -> Result<ClaimedEntry, Error> {
    Ok(ClaimedEntry {
        lease: rows::lease(row)?,
        delivered_seq: row.try_get("delivered_seq")?,
        failures: count_u32(row.try_get("failures")?),
    })
}

/// The events of claimed entries, oldest first, and their orders.
#[derive(Debug, Default)]
pub(crate) struct ClaimedEvents {
    pub(crate) orders: Vec<(OrderId, Decoded<OrderHead>)>,
    pub(crate) events: Vec<(OrderId, Decoded<EventRecord>)>,
}

#[async_trait]
impl Operation for ClaimDeliveriesEvents<'_> {
    type Output = ClaimedEvents;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let range = |entry: &ClaimedEntry| RangeRow {
            order_id: entry.lease.order_id,
            after_seq: entry.delivered_seq,
            last_seq: entry.last_seq(self.events_limit),
        };
        let ranges: Vec<RangeRow> = self.claimed.entries.iter().map(range).collect();
        let text = Arc::clone(&session.sql.outbox.claim_deliveries_events);
        let found = session.fetch(&text, |arguments| bind_each(arguments, &ranges, |range| range)).await?;
        let ranges: HashMap<OrderId, RangeRow> =
            ranges.into_iter().map(|range| (range.order_id, range)).collect();
        let mut claimed = ClaimedEvents::default();
        for row in &found {
            let Written { order_id, events, .. } = rows::written(row)?;
            if row.try_get::<Option<i64>, _>("request_version")?.is_some() {
                claimed.orders.push((order_id, rows::head(row)?));
            }
            // A write may have events that the sink has already, and more than it gets at once.
            let is_asked_for =
                |event: &EventRecord| ranges.get(&order_id).is_some_and(|range| range.contains(event.seq));
            match events {
                Ok(events) => claimed
                    .events
                    .extend(events.into_iter().filter(is_asked_for).map(|event| (order_id, Ok(event)))),
                Err(error) => claimed.events.push((order_id, Err(error))),
            }
        }
        Ok(claimed)
    }
}

#[async_trait]
impl Operation for AckDeliveries<'_> {
    type Output = Vec<bool>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<bool>, Error> {
        let items: Vec<(&Lease, AckRow<'_>)> =
            self.0.iter().map(|ack| (&ack.lease, AckRow { sink: &ack.sink, columns: ack.into() })).collect();
        let text = Arc::clone(&session.sql.outbox.ack_deliveries);
        let returned = session
            .fetch_briefly(&text, |arguments| {
                bind_each(arguments, &items, |(lease, _)| *lease)?;
                bind_each(arguments, &items, |(_, row)| row)
            })
            .await?;
        let mut recorded: HashSet<(Lease, String)> = HashSet::new();
        for row in &returned {
            recorded.insert((rows::lease(row)?, row.try_get("sink")?));
        }
        Ok(self.0.iter().map(|ack| recorded.contains(&(ack.lease, ack.sink.to_string()))).collect())
    }
}
