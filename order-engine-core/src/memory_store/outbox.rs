//! The entries of the outbox: for which sinks an order has events that are not delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::queue::{DueKey, Queue};
use super::{after, until};
use crate::domain::codec::DecodeError;
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::domain::order::{OrderHead, OrderUpdate};
use crate::planted::planted;
use crate::ports::order_store::lease::{Fence, Lease};
use crate::ports::order_store::query::SinkBacklog;
use crate::ports::outbox::{Deliveries, Delivery, DeliveryAck, DeliveryOutcome, DeliveryRequest};

/// The registered sinks and their entries.
#[derive(Debug, Default)]
pub(super) struct OutboxEntries {
    sinks: BTreeSet<Arc<str>>,
    rows: BTreeMap<(OrderId, Arc<str>), Entry>,
    queue: Queue<Arc<str>, OrderId>,
}

#[derive(Debug)]
struct Entry {
    /// The number of the last event that the sink has.
    delivered_seq: u64,
    pending_since: DateTime<Utc>,
    due: Option<DueKey<Arc<str>>>,
    epoch: u64,
    owner: Option<u128>,
    failures: u32,
}

impl OutboxEntries {
    pub(super) fn register(&mut self, sinks: &[Arc<str>]) {
        self.sinks.extend(sinks.iter().cloned());
    }

    pub(super) fn unregister(&mut self, sink: &str, limit: usize) -> u64 {
        self.sinks.remove(sink);
        let of_sink = self.rows.keys().filter(|(_, name)| &**name == sink);
        let deleted: Vec<_> = of_sink.take(limit).cloned().collect();
        for key in &deleted {
            self.remove(key);
        }
        deleted.len() as u64
    }

    /// Adds an entry for every registered sink, for the events of an order after this one.
    pub(super) fn add(&mut self, id: OrderId, after_seq: u64, now: DateTime<Utc>) {
        for sink in &self.sinks {
            self.rows.entry((id, Arc::clone(sink))).or_insert_with(|| {
                let mut due = None;
                self.queue.set(&mut due, id, Some((Arc::clone(sink), now)));
                Entry {
                    delivered_seq: after_seq,
                    pending_since: now,
                    due,
                    epoch: 0,
                    owner: None,
                    failures: 0,
                }
            });
        }
    }

    /// Whether the order has an entry.
    pub(super) fn has_any(&self, id: OrderId) -> bool {
        let first = (id, Arc::from(""));
        self.rows.range(first..).next().is_some_and(|((order_id, _), _)| *order_id == id)
    }

    pub(super) fn claim<'a>(
        &mut self,
        request: &DeliveryRequest,
        now: DateTime<Utc>,
        order: impl Fn(OrderId) -> Option<(OrderHead, &'a [Arc<EventRecord>])>,
    ) -> Deliveries {
        let due: Vec<OrderId> = self.queue.due(&request.sink, now).take(request.limit as usize).collect();
        let deliveries = due.into_iter().filter_map(|id| self.lease(id, request, now, order(id))).collect();
        Deliveries {
            deliveries,
            next_due_in: self.queue.first(&request.sink).map(|due_at| until(now, due_at)),
        }
    }

    fn lease(
        &mut self,
        id: OrderId,
        request: &DeliveryRequest,
        now: DateTime<Utc>,
        order: Option<(OrderHead, &[Arc<EventRecord>])>,
    ) -> Option<Delivery> {
        let entry = self.rows.get_mut(&(id, Arc::clone(&request.sink)))?;
        entry.epoch += 1;
        entry.owner = Some(request.owner);
        self.queue.set(&mut entry.due, id, Some((Arc::clone(&request.sink), after(now, request.duration))));
        let updates = order.map(|(head, events)| {
            let delivered = usize::try_from(entry.delivered_seq).unwrap_or(usize::MAX).min(events.len());
            let events = events[delivered..].iter().take(request.events_limit as usize);
            events.map(|event| OrderUpdate::new(head.clone(), Arc::clone(event))).collect()
        });
        let updates = updates.ok_or_else(|| DecodeError { message: "the order is gone".to_owned() });
        let fence = Fence { epoch: entry.epoch, owner: request.owner };
        Some(Delivery { lease: Lease { order_id: id, fence }, failures: entry.failures, updates })
    }

    /// Records what came of a delivery of an order whose last event has this number.
    pub(super) fn ack(&mut self, ack: &DeliveryAck, last_seq: u64, now: DateTime<Utc>) -> bool {
        let Lease { order_id, fence } = ack.lease;
        let key = (order_id, Arc::clone(&ack.sink));
        let Some(entry) = self.rows.get_mut(&key) else { return false };
        if (entry.epoch, entry.owner) != (fence.epoch, Some(fence.owner)) {
            return false;
        }
        let due_at = match ack.outcome {
            DeliveryOutcome::Ack { seq } if seq >= last_seq || planted!(DeliveryPaysForLater) => {
                self.remove(&key);
                return true;
            }
            DeliveryOutcome::Ack { seq } => {
                entry.delivered_seq = entry.delivered_seq.max(seq);
                entry.pending_since = now;
                entry.failures = 0;
                now
            }
            DeliveryOutcome::Nack { retry_in } => {
                entry.failures = entry.failures.saturating_add(1);
                after(now, retry_in)
            }
        };
        entry.owner = None;
        self.queue.set(&mut entry.due, order_id, Some((key.1, due_at)));
        true
    }

    fn remove(&mut self, key: &(OrderId, Arc<str>)) {
        if let Some(mut entry) = self.rows.remove(key) {
            self.queue.set(&mut entry.due, key.0, None);
        }
    }

    pub(super) fn backlog(&self, now: DateTime<Utc>) -> Vec<SinkBacklog> {
        let backlog = |sink: &Arc<str>| {
            let pending =
                self.rows.iter().filter(|((_, name), _)| name == sink).map(|(_, entry)| entry.pending_since);
            let oldest = pending.clone().min();
            SinkBacklog {
                sink: Arc::clone(sink),
                orders: pending.count() as u64,
                pending_for: oldest.map(|since| until(since, now)),
            }
        };
        self.sinks.iter().map(backlog).collect()
    }
}
