//! What durable sinks are owed.

use std::sync::Arc;

use order_engine_core::{Deliveries, Delivery, DeliveryAck, DeliveryRequest};

use crate::error::Error;
use crate::link::{self, Link};
use crate::rows;
use crate::script;
use crate::write;

/// The most debts that one run of a script leases or forgets.
const DEBTS: u32 = 64;
/// The most events of a debt that one run gives. The rest is owed next.
const EVENTS: u32 = 256;

pub(crate) async fn register(link: &Link, sinks: &[Arc<str>]) -> Result<(), Error> {
    if sinks.is_empty() {
        return Ok(());
    }
    let mut add = redis::cmd("SADD");
    add.arg(format!("{}:sinks", link.options().key_prefix()));
    for sink in sinks {
        add.arg(&**sink);
    }
    link.send(vec![add]).await.map(drop)
}

pub(crate) async fn forget(link: &Link, sink: &str, limit: u32) -> Result<u64, Error> {
    let mut forgotten = 0;
    loop {
        let page = DEBTS.min(limit - forgotten);
        let mut call = link.call(&script::UNREGISTER_SINK);
        call.arg(sink).arg(page);
        let step: u32 = link::only(link.send(vec![call]).await?)?;
        forgotten += step;
        if step < page || forgotten >= limit {
            return Ok(u64::from(forgotten));
        }
    }
}

/// A leased debt: the order, the epoch, the failures, the last event delivered, and the next ones.
type DebtRow = (Vec<u8>, String, u32, u64, Vec<Vec<u8>>);
/// The store's time in microseconds, when the next debt is due in milliseconds, and the leased ones.
type DebtsReply = (u64, Option<f64>, Vec<DebtRow>);

pub(crate) async fn claim(link: &Link, request: &DeliveryRequest) -> Result<Deliveries, Error> {
    let mut call = link.call(&script::CLAIM_DEBTS);
    call.arg(&*request.sink).arg(rows::owner_text(request.owner)).arg(rows::wait_ms(request.duration));
    call.arg(request.limit.min(DEBTS)).arg(request.events_limit.clamp(1, EVENTS));
    let (now_us, next_ms, debts): DebtsReply = link::only(link.send(vec![call]).await?)?;
    let mut deliveries = Vec::with_capacity(debts.len());
    for (id, epoch, failures, delivered_seq, texts) in debts {
        let lease = rows::lease(&id, &epoch, request.owner)?;
        let events = rows::owed_events(lease.order_id, delivered_seq, &texts);
        deliveries.push(Delivery { lease, failures, events });
    }
    Ok(Deliveries { deliveries, next_due_in: next_ms.map(|next_ms| rows::until(now_us, next_ms)) })
}

pub(crate) async fn settle(link: &Link, acks: &[DeliveryAck]) -> Result<Vec<bool>, Error> {
    let calls = write::calls(acks, || link.call(&script::SETTLE), rows::add_ack);
    link::items(link.send(calls).await?)
}
