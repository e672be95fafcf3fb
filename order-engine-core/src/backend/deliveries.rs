//! Outbox entries that were leased, and the events that are read for them.

use std::collections::HashMap;
use std::time::Duration;

use crate::backend::decode::Decoded;
use crate::domain::codec::DecodeError;
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::domain::order::OrderHead;
use crate::ports::order_store::lease::Lease;
use crate::ports::outbox::{Deliveries, Delivery};

/// An outbox entry that was leased; its events are read after that write.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedEntry {
    /// The order and the right to deliver its events.
    pub lease: Lease,
    /// The number of the last event that the sink has.
    pub delivered_seq: i64,
    /// How many deliveries of the entry in a row failed.
    pub failures: u32,
}

impl ClaimedEntry {
    /// Returns the number of the last event to deliver, if that many exist.
    pub fn last_seq(&self, events_limit: u32) -> i64 {
        self.delivered_seq.saturating_add(i64::from(events_limit))
    }
}

/// The outbox entries that one claim leased.
#[derive(Clone, Debug, Default)]
pub struct ClaimedEntries {
    /// The entries.
    pub entries: Vec<ClaimedEntry>,
    /// When the sink's next entry becomes due, if there is one.
    pub next_due_in: Option<Duration>,
}

impl ClaimedEntries {
    /// Returns the deliveries, given the entries' orders, and their events, oldest first.
    pub fn with_events(
        self,
        orders: impl IntoIterator<Item = (OrderId, Decoded<OrderHead>)>,
        events: impl IntoIterator<Item = (OrderId, Decoded<EventRecord>)>,
    ) -> Deliveries {
        let mut found: HashMap<OrderId, Vec<Decoded<EventRecord>>> = HashMap::new();
        for (order_id, event) in events {
            found.entry(order_id).or_default().push(event);
        }
        let mut orders: HashMap<OrderId, Decoded<OrderHead>> = orders.into_iter().collect();
        let delivery = |ClaimedEntry { lease, failures, .. }: ClaimedEntry| {
            let gone = || Err(DecodeError { message: "the order is gone".to_owned() });
            let order = orders.remove(&lease.order_id).unwrap_or_else(gone);
            let events = found.remove(&lease.order_id).unwrap_or_default();
            Delivery { lease, failures, updates: Delivery::decodable(order, events) }
        };
        Deliveries {
            deliveries: self.entries.into_iter().map(delivery).collect(),
            next_due_in: self.next_due_in,
        }
    }
}
