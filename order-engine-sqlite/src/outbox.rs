//! The outbox: the events that durable sinks still lack.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::backend::{ClaimedEntries, ClaimedEntry, count, count_u32, encode_epoch};
use order_engine_core::store::{Deliveries, DeliveryAck, DeliveryRequest, Lease};
use order_engine_core::{Fence, OrderId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::error::Error;
use crate::rows::{self, AckRow, Heads, ListRow, due_after, id_list, owner_text, wait_until};
use crate::session::{Operation, Session};
use crate::sql;

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
            sqlx::query(sql::REGISTER_SINKS).bind(&**sink).execute(&mut *session.connection).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Operation for UnregisterSink {
    type Output = u64;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, Error> {
        let Self { sink, limit } = self;
        sqlx::query(sql::UNREGISTER_SINK).bind(&**sink).execute(&mut *session.connection).await?;
        let delete = sqlx::query(sql::UNREGISTER_SINK_ENTRIES).bind(&**sink).bind(*limit);
        Ok(delete.execute(&mut *session.connection).await?.rows_affected())
    }
}

#[async_trait]
impl Operation for ClaimDeliveries {
    type Output = ClaimedEntries;

    async fn run(&self, session: &mut Session<'_>) -> Result<ClaimedEntries, Error> {
        let DeliveryRequest { sink, limit, owner, duration, .. } = &self.0;
        let (connection, now) = (&mut *session.connection, session.now);
        let due = sqlx::query(sql::CLAIM_DELIVERIES_DUE)
            .bind(&**sink)
            .bind(now.timestamp_millis())
            .bind(*limit)
            .fetch_all(&mut *connection)
            .await?;
        let entries: Vec<ClaimedEntry> =
            due.iter().map(|row| claimed_entry(row, *owner)).collect::<Result<_, _>>()?;
        if !entries.is_empty() {
            let ids: Vec<OrderId> = entries.iter().map(|entry| entry.lease.order_id).collect();
            sqlx::query(sql::CLAIM_DELIVERIES_LEASE)
                .bind(owner_text(*owner))
                .bind(due_after(now, *duration))
                .bind(&**sink)
                .bind(id_list(&ids))
                .execute(&mut *connection)
                .await?;
        }
        let next = sqlx::query_scalar(sql::CLAIM_DELIVERIES_NEXT_DUE).bind(&**sink);
        let next: Option<i64> = next.fetch_optional(connection).await?;
        Ok(ClaimedEntries { entries, next_due_in: next.map(|due_at| wait_until(due_at, now)) })
    }
}

/// Returns the lease that is about to be given on an entry that is due.
fn claimed_entry(row: &SqliteRow, owner: u128) -> Result<ClaimedEntry, Error> {
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
        let mut recorded: HashSet<(OrderId, String, i64)> = HashSet::new();
        for statement in [&sql::ACK_DELIVERIES_DELETE, &sql::ACK_DELIVERIES_RELEASE] {
            let returned = session.run(statement, &self.0, |ack, arguments| {
                ack.lease.bind(arguments)?;
                AckRow { sink: &ack.sink, columns: ack.into(), now }.bind(arguments)
            });
            for row in returned.await? {
                recorded.insert((rows::order_id(&row)?, row.try_get("sink")?, row.try_get("lease_epoch")?));
            }
        }
        let is_recorded = |DeliveryAck { sink, lease, .. }: &DeliveryAck| {
            recorded.contains(&(lease.order_id, sink.to_string(), encode_epoch(lease.fence.epoch)))
        };
        Ok(self.0.iter().map(is_recorded).collect())
    }
}
