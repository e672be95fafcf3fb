//! The outbox of durable sinks.

use std::sync::Arc;

use order_engine_core::store::{Deliveries, Delivery, DeliveryAck, DeliveryRequest};

use crate::batch;
use crate::error::Error;
use crate::replies::{self, reply};
use crate::rows::{self, Field, Written};
use crate::scripts;
use crate::session::Session;

/// The most outbox entries that one call leases or deletes.
const ENTRIES: u32 = 64;
/// The most events of an entry that one call returns. The rest comes with the next delivery.
const EVENTS: u32 = 256;

pub(crate) async fn register_sinks(session: &Session, sinks: &[Arc<str>]) -> Result<(), Error> {
    if sinks.is_empty() {
        return Ok(());
    }
    let mut add = redis::cmd("SADD");
    add.arg(session.key("sinks"));
    for sink in sinks {
        add.arg(&**sink);
    }
    session.write_all(vec![add]).await.map(drop)
}

pub(crate) async fn unregister_sink(session: &Session, sink: &str, limit: u32) -> Result<u64, Error> {
    let mut deleted = 0;
    loop {
        let page = ENTRIES.min(limit - deleted);
        let mut call = session.script(&scripts::UNREGISTER_SINK);
        call.arg(sink).arg(page);
        let step: u32 = session.write(call).await?;
        deleted += step;
        if step < page || deleted >= limit {
            return Ok(u64::from(deleted));
        }
    }
}

reply! {
    DeliveriesReply {
        now_us: u64,
        /// When the sink's next entry is due.
        next_due_ms: Option<f64>,
        deliveries: Vec<DeliveryRow>,
    }

    DeliveryRow {
        id: Vec<u8>,
        epoch: String,
        failures: u32,
        delivered_seq: u64,
        head: Field,
        /// The number of the last event to deliver.
        last_seq: u64,
        writes: Vec<Written>,
    }
}

pub(crate) async fn claim_deliveries(
    session: &Session,
    request: &DeliveryRequest,
) -> Result<Deliveries, Error> {
    let mut call = session.script(&scripts::CLAIM_DELIVERIES);
    call.arg(&*request.sink).arg(rows::owner_text(request.owner)).arg(rows::wait_ms(request.duration));
    call.arg(request.limit.min(ENTRIES)).arg(request.events_limit.clamp(1, EVENTS));
    let reply: DeliveriesReply = session.write(call).await?;
    let delivery = |row: DeliveryRow| {
        let lease = rows::lease(&row.id, &row.epoch, request.owner)?;
        let events = rows::events(lease.order_id, row.delivered_seq, row.last_seq, &row.writes);
        let head = rows::head(lease.order_id, Some(&row.head));
        Ok(Delivery::new(lease, row.failures, Delivery::decodable(head, events)))
    };
    let deliveries = reply.deliveries.into_iter().map(delivery).collect::<Result<_, Error>>()?;
    let next_due_in = reply.next_due_ms.map(|due_ms| rows::until(reply.now_us, due_ms));
    Ok(Deliveries::new(deliveries).with_next_due_in(next_due_in))
}

pub(crate) async fn ack_deliveries(session: &Session, acks: &[DeliveryAck]) -> Result<Vec<bool>, Error> {
    let begin = || session.script(&scripts::ACK_DELIVERIES);
    replies::decode_items(session.write_all(batch::calls(acks, begin, rows::add_ack)).await?)
}
