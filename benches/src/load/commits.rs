//! The times at which the events of each order were committed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use order_engine_core::store::Creation;
use order_engine_core::testing::{Call, Intercept, Reply};
use order_engine_core::{EventRecord, OrderId, Status, StoreError};
use tokio::sync::oneshot;

/// An interceptor of a store that records when the events of each order were committed.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    orders: Mutex<HashMap<OrderId, Recorded>>,
}

#[derive(Debug, Default)]
struct Recorded {
    life: Life,
    /// The channel of the caller that waits for the order's end.
    ended: Option<oneshot::Sender<Life>>,
}

/// The times at which the events of one order were committed.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// By the numbers of the events, from 1.
    committed: Vec<Instant>,
    end: Option<Status>,
}

impl Life {
    /// Returns when an event was committed.
    pub(crate) fn committed(&self, seq: u64) -> Option<Instant> {
        self.committed.get(usize::try_from(seq).ok()?.checked_sub(1)?).copied()
    }

    /// Returns when the last event was committed.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.committed.last().copied()
    }

    /// Returns the terminal status of the order.
    pub(crate) const fn end(&self) -> Option<Status> {
        self.end
    }

    /// Returns the number of events.
    pub(crate) fn events(&self) -> u64 {
        self.committed.len() as u64
    }
}

impl Commits {
    fn orders(&self) -> MutexGuard<'_, HashMap<OrderId, Recorded>> {
        // Nothing in here panics while the lock is held.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an order has ended, and removes its record. Returns `None` if the record is dropped
    /// before.
    pub(crate) async fn life(&self, id: OrderId) -> Option<Life> {
        let ended = {
            let mut orders = self.orders();
            let recorded = orders.entry(id).or_default();
            if recorded.life.end.is_some() {
                return orders.remove(&id).map(|recorded| recorded.life);
            }
            let (sender, receiver) = oneshot::channel();
            recorded.ended = Some(sender);
            receiver
        };
        ended.await.ok()
    }

    fn record<'a>(&self, events: impl Iterator<Item = &'a Arc<EventRecord>>) {
        let now = Instant::now();
        let mut orders = self.orders();
        for event in events {
            let mut entry = match orders.entry(event.order_id) {
                Entry::Occupied(entry) => entry,
                Entry::Vacant(entry) => entry.insert_entry(Recorded::default()),
            };
            let recorded = entry.get_mut();
            recorded.life.committed.push(now);
            if event.status.is_terminal() {
                recorded.life.end = Some(event.status);
                if let Some(ended) = recorded.ended.take() {
                    // An error says that the caller waits no longer.
                    let _ = ended.send(entry.remove().life);
                }
            }
        }
    }
}

#[async_trait]
impl Intercept for Commits {
    fn intercepts(&self, call: Call<'_>) -> bool {
        matches!(call, Call::Create(_) | Call::Append(_))
    }

    async fn after(&self, call: Call<'_>, reply: Reply<'_>) -> Result<(), StoreError> {
        match (call, reply) {
            (Call::Create(orders), Reply::Created(results)) => {
                let results = orders.iter().zip(results);
                let created = results.filter(|(_, result)| **result == Ok(Creation::Created));
                self.record(created.map(|(new, _)| &new.event));
            }
            (Call::Append(appends), Reply::Appended(results)) => {
                let written = appends.iter().zip(results).filter(|(_, result)| result.is_ok());
                self.record(written.flat_map(|(append, _)| &append.events));
            }
            _ => {}
        }
        Ok(())
    }
}
