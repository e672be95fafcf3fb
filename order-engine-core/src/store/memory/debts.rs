//! What durable sinks are owed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::queue::{DueKey, Queue};
use super::{after, until};
use crate::planted::planted;
use crate::{
    Deliveries, Delivery, DeliveryOutcome, DeliveryRequest, EventRecord, Fence, Lease, OrderId, Settlement,
    SinkBacklog,
};

/// The registered sinks and their debts.
#[derive(Debug, Default)]
pub(super) struct Debts {
    sinks: BTreeSet<Arc<str>>,
    rows: BTreeMap<(OrderId, Arc<str>), Debt>,
    queue: Queue<Arc<str>, OrderId>,
}

#[derive(Debug)]
struct Debt {
    /// The number of the last event that the sink has.
    delivered_seq: u64,
    owed_since: DateTime<Utc>,
    due: Option<DueKey<Arc<str>>>,
    epoch: u64,
    owner: Option<u128>,
    failures: u32,
}

impl Debts {
    pub(super) fn register(&mut self, sinks: &[Arc<str>]) {
        self.sinks.extend(sinks.iter().cloned());
    }

    pub(super) fn forget(&mut self, sink: &str, limit: usize) -> u64 {
        self.sinks.remove(sink);
        let of_sink = self.rows.keys().filter(|(_, name)| &**name == sink);
        let forgotten: Vec<_> = of_sink.take(limit).cloned().collect();
        for key in &forgotten {
            self.remove(key);
        }
        forgotten.len() as u64
    }

    /// Every registered sink is owed the events of an order after this one.
    pub(super) fn owe(&mut self, id: OrderId, after_seq: u64, now: DateTime<Utc>) {
        for sink in &self.sinks {
            self.rows.entry((id, Arc::clone(sink))).or_insert_with(|| {
                let mut due = None;
                self.queue.set(&mut due, id, Some((Arc::clone(sink), now)));
                Debt { delivered_seq: after_seq, owed_since: now, due, epoch: 0, owner: None, failures: 0 }
            });
        }
    }

    /// Whether a sink is owed something of an order.
    pub(super) fn has_any(&self, id: OrderId) -> bool {
        let first = (id, Arc::from(""));
        self.rows.range(first..).next().is_some_and(|((owed, _), _)| *owed == id)
    }

    pub(super) fn claim<'a>(
        &mut self,
        request: &DeliveryRequest,
        now: DateTime<Utc>,
        events: impl Fn(OrderId) -> &'a [Arc<EventRecord>],
    ) -> Deliveries {
        let due: Vec<OrderId> = self.queue.due(&request.sink, now).take(request.limit as usize).collect();
        let deliveries = due.into_iter().filter_map(|id| self.lease(id, request, now, events(id))).collect();
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
        events: &[Arc<EventRecord>],
    ) -> Option<Delivery> {
        let debt = self.rows.get_mut(&(id, Arc::clone(&request.sink)))?;
        debt.epoch += 1;
        debt.owner = Some(request.owner);
        self.queue.set(&mut debt.due, id, Some((Arc::clone(&request.sink), after(now, request.duration))));
        let delivered = usize::try_from(debt.delivered_seq).unwrap_or(usize::MAX).min(events.len());
        let owed = events[delivered..].iter().take(request.events_limit as usize).cloned().collect();
        let fence = Fence { epoch: debt.epoch, owner: request.owner };
        Some(Delivery { lease: Lease { order_id: id, fence }, failures: debt.failures, events: Ok(owed) })
    }

    /// Settles a delivery of an order whose last event has this number.
    pub(super) fn settle(&mut self, settlement: &Settlement, head: u64, now: DateTime<Utc>) -> bool {
        let Lease { order_id, fence } = settlement.lease;
        let key = (order_id, Arc::clone(&settlement.sink));
        let Some(debt) = self.rows.get_mut(&key) else { return false };
        if (debt.epoch, debt.owner) != (fence.epoch, Some(fence.owner)) {
            return false;
        }
        let due_at = match settlement.outcome {
            DeliveryOutcome::Delivered { seq } if seq >= head || planted!(DeliveryPaysForLater) => {
                self.remove(&key);
                return true;
            }
            DeliveryOutcome::Delivered { seq } => {
                debt.delivered_seq = debt.delivered_seq.max(seq);
                debt.owed_since = now;
                debt.failures = 0;
                now
            }
            DeliveryOutcome::Failed { due_in } => {
                debt.failures = debt.failures.saturating_add(1);
                after(now, due_in)
            }
        };
        debt.owner = None;
        self.queue.set(&mut debt.due, order_id, Some((key.1, due_at)));
        true
    }

    fn remove(&mut self, key: &(OrderId, Arc<str>)) {
        if let Some(mut debt) = self.rows.remove(key) {
            self.queue.set(&mut debt.due, key.0, None);
        }
    }

    pub(super) fn backlog(&self, now: DateTime<Utc>) -> Vec<SinkBacklog> {
        let backlog = |sink: &Arc<str>| {
            let owed =
                self.rows.iter().filter(|((_, name), _)| name == sink).map(|(_, debt)| debt.owed_since);
            let oldest = owed.clone().min();
            SinkBacklog {
                sink: Arc::clone(sink),
                orders: owed.count() as u64,
                owed_for: oldest.map(|since| until(since, now)),
            }
        };
        self.sinks.iter().map(backlog).collect()
    }
}
