//! The outbox: the events that durable sinks still lack.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::backend::{ClaimedEntries, ClaimedEntry, count, count_u32};
use order_engine_core::store::{Deliveries, DeliveryAck, DeliveryRequest, Lease};
use order_engine_core::{Fence, OrderId};
use sqlx::SqlitePool;

use crate::error::Error;
use crate::rows::{self, AckRow, Heads, ItemRow, RetryRow, due_after, id_list, owner_text, wait_until};
use crate::session::{Operation, Session};
use crate::sql;
use crate::values::{Arguments, Row, StoredRow};

pub(crate) struct RegisterSinks(pub(crate) Vec<Arc<str>>);
pub(crate) struct UnregisterSink {
    pub(crate) sink: Arc<str>,
    pub(crate) limit: u32,
}
pub(crate) struct ClaimDeliveries(pub(crate) DeliveryRequest);
pub(crate) struct AckDeliveries(pub(crate) Vec<DeliveryAck>);

#[async_trait]
impl Operation for RegisterSinks {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        for sink in &self.0 {
            let sink = Arguments::default().with(&**sink);
            session.database.execute(sql::REGISTER_SINKS, sink).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Operation for UnregisterSink {
    type Output = u64;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, Error> {
        let Self { sink, limit } = self;
        session.database.execute(sql::UNREGISTER_SINK, Arguments::default().with(&**sink)).await?;
        let entries = Arguments::default().with(&**sink).with(*limit);
        session.database.execute(sql::UNREGISTER_SINK_ENTRIES, entries).await
    }
}

#[async_trait]
impl Operation for ClaimDeliveries {
    type Output = ClaimedEntries;

    async fn run(&self, session: &mut Session<'_>) -> Result<ClaimedEntries, Error> {
        let DeliveryRequest { sink, limit, owner, duration, .. } = &self.0;
        let (database, now) = (&mut session.database, session.now);
        let due = Arguments::default().with(&**sink).with(now.timestamp_millis()).with(*limit);
        let due = database.rows(sql::CLAIM_DELIVERIES_DUE, due).await?;
        let entries: Vec<ClaimedEntry> =
            due.iter().map(|row| claimed_entry(row, *owner)).collect::<Result<_, _>>()?;
        if !entries.is_empty() {
            let ids: Vec<OrderId> = entries.iter().map(|entry| entry.lease.order_id).collect();
            let lease = Arguments::default()
                .with(owner_text(*owner))
                .with(due_after(now, *duration))
                .with(&**sink)
                .with(id_list(&ids));
            database.execute(sql::CLAIM_DELIVERIES_LEASE, lease).await?;
        }
        let sink = Arguments::default().with(&**sink);
        let next = database.row(sql::CLAIM_DELIVERIES_NEXT_DUE, sink).await?;
        let next = next.as_ref().map(Row::only::<i64>).transpose()?;
        Ok(ClaimedEntries { entries, next_due_in: next.map(|due_at| wait_until(due_at, now)) })
    }
}

/// Returns the lease that is about to be given on an entry that is due.
fn claimed_entry(row: &Row, owner: u128) -> Result<ClaimedEntry, Error> {
    let epoch = count(row.try_get("lease_epoch")?) + 1;
    Ok(ClaimedEntry {
        lease: Lease::new(rows::order_id(row)?, Fence { epoch, owner }),
        delivered_seq: row.try_get("delivered_seq")?,
        failures: count_u32(row.try_get("failures")?),
    })
}

/// Returns the deliveries of entries that were claimed: each with its first events.
pub(crate) async fn claim_deliveries_events(
    pool: &SqlitePool,
    claimed: ClaimedEntries,
    events_limit: u32,
) -> Result<Deliveries, Error> {
    let range = |entry: &ClaimedEntry| {
        let ClaimedEntry { lease, delivered_seq, .. } = entry;
        let first_seq = delivered_seq.saturating_add(1);
        format!("[\"{}\",{first_seq},{}]", lease.order_id, entry.last_seq(events_limit))
    };
    let ranges: Vec<String> = claimed.entries.iter().map(range).collect();
    let events = sqlx::query(sql::CLAIM_DELIVERIES_EVENTS).bind(format!("[{}]", ranges.join(",")));
    let events = events.fetch_all(pool).await?;
    let (mut heads, mut found) = (Heads::default(), Vec::new());
    for row in &events {
        let order_id = rows::order_id(row)?;
        heads.of(order_id, row)?;
        let wanted = count(row.try_get("wanted_from")?)..=count(row.try_get("wanted_to")?);
        found.extend(rows::events(row, wanted)?.map(|(_, event)| (order_id, event)));
    }
    Ok(claimed.with_events(heads, found))
}

#[async_trait]
impl Operation for AckDeliveries {
    type Output = Vec<bool>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<bool>, Error> {
        let now = session.now;
        let acks: Vec<Arguments<'_>> = self.0.iter().map(ack_arguments).collect();
        let delete = acks.iter().map(Arguments::and_others).collect();
        let deleted = session.run(&sql::ACK_DELIVERIES_DELETE, delete).await?;
        let release = self.0.iter().zip(&acks).map(|(ack, arguments)| {
            let mut arguments = arguments.and_others();
            RetryRow { columns: ack.into(), now }.bind(&mut arguments);
            arguments
        });
        let released = session.run(&sql::ACK_DELIVERIES_RELEASE, release.collect()).await?;
        let recorded = deleted.into_iter().zip(released);
        Ok(recorded.map(|(is_deleted, is_released)| is_deleted || is_released).collect())
    }
}

/// Returns what both statements of an acknowledgement are run with.
fn ack_arguments(ack: &DeliveryAck) -> Arguments<'static> {
    let mut arguments = ack.lease.encode();
    AckRow { sink: &ack.sink, columns: ack.into() }.bind(&mut arguments);
    arguments
}
