use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::codec::DecodeError;
use crate::domain::event::EventRecord;
use crate::domain::order::{OrderHead, OrderUpdate};
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::lease::Lease;
use crate::setters::setters;

/// Keeps the outbox: which orders have events that a durable sink does not have yet.
///
/// An entry is for one order and one sink, and stands for all events after the last one delivered. It is one
/// row, however many events that are.
///
/// # Contract
/// - **Added with the event.** A write that commits an event adds an entry for every sink that is registered
///   at that moment, in the same transaction. The registration stands in the store, so it holds for the writes
///   of all processes, whether they know the sink or not. Without a registered sink nothing is written.
/// - **In order.** An entry is leased to one relay at a time, and is delivered from its first event on.
/// - **Fenced.** An acknowledgement counts only under the lease that is current. Leases and due times are
///   measured on the store's clock.
/// - Calls end in bounded time, may be dropped, and fail as those of an [`OrderStore`](crate::OrderStore) do.
#[async_trait]
pub trait Outbox: Debug + Send + Sync + 'static {
    /// Registers sinks: every event that is committed from now on adds an entry for them. A registered sink
    /// stays as it is.
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError>;

    /// Unregisters a sink and deletes at most `limit` of its entries. Returns how many it deleted: fewer than
    /// `limit` means that none is left.
    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError>;

    /// Leases entries of a sink that are due, those first that became due first.
    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError>;

    /// Records what came of deliveries. Returns for each, in order, whether its lease was still the current
    /// one.
    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError>;
}

/// Which entries to lease, and for which owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeliveryRequest {
    /// The sink that the entries are for.
    pub sink: Arc<str>,
    /// How many entries at most.
    pub limit: u32,
    /// How many events of each at most.
    pub events_limit: u32,
    /// The owner half of the new fences.
    pub owner: u128,
    /// How long the leases last.
    pub duration: Duration,
}

impl DeliveryRequest {
    /// Returns a request for one entry of a sink, with its next event.
    pub const fn new(sink: Arc<str>, owner: u128, duration: Duration) -> Self {
        Self { sink, limit: 1, events_limit: 1, owner, duration }
    }
}

setters! {
    impl DeliveryRequest {
        with_limit sets limit: u32;
        with_events_limit sets events_limit: u32;
    }
}

/// Entries that were leased.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Deliveries {
    /// What to deliver, one for each entry.
    pub deliveries: Vec<Delivery>,
    /// When the sink's next entry becomes due, if there is one. It may be a little too early, never
    /// too late.
    pub next_due_in: Option<Duration>,
}

impl Deliveries {
    /// Returns entries that were leased.
    pub const fn new(deliveries: Vec<Delivery>) -> Self {
        Self { deliveries, next_due_in: None }
    }
}

setters! {
    impl Deliveries {
        with_next_due_in sets next_due_in: Option<Duration>;
    }
}

/// An entry that was leased, with the events to deliver.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The order and the right to deliver its events.
    pub lease: Lease,
    /// How many deliveries of the entry in a row failed.
    pub failures: u32,
    /// The first events that the sink does not have, oldest first, at least one; or why they or their order
    /// cannot be decoded.
    pub updates: Result<Vec<OrderUpdate>, DecodeError>,
}

impl Delivery {
    /// Returns a leased entry with the events to deliver: see [`decodable`](Self::decodable).
    pub const fn new(lease: Lease, failures: u32, updates: Result<Vec<OrderUpdate>, DecodeError>) -> Self {
        Self { lease, failures, updates }
    }

    /// Returns the events of an entry with their order, oldest first, up to the first that cannot be decoded
    /// or that leaves a gap.
    ///
    /// # Errors
    /// Why the order or the first event cannot be decoded.
    pub fn decodable(
        order: Result<OrderHead, DecodeError>,
        events: impl IntoIterator<Item = Result<EventRecord, DecodeError>>,
    ) -> Result<Vec<OrderUpdate>, DecodeError> {
        let order = order?;
        let mut decodable: Vec<OrderUpdate> = Vec::new();
        for event in events {
            match event {
                Ok(event) if decodable.last().is_none_or(|last| last.event.seq + 1 == event.seq) => {
                    decodable.push(OrderUpdate::new(order.clone(), Arc::new(event)));
                }
                Err(error) if decodable.is_empty() => return Err(error),
                _ => break,
            }
        }
        Ok(decodable)
    }
}

/// What came of a delivery, as the relay records it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeliveryAck {
    /// The sink.
    pub sink: Arc<str>,
    /// The lease under which it was delivered.
    pub lease: Lease,
    /// What the sink answered.
    pub outcome: DeliveryOutcome,
}

impl DeliveryAck {
    /// Returns what a sink answered to a delivery.
    pub const fn new(sink: Arc<str>, lease: Lease, outcome: DeliveryOutcome) -> Self {
        Self { sink, lease, outcome }
    }
}

/// What a sink answered to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The sink has the events up to this number. If the order has more, the entry is due at once; if
    /// not, it is deleted.
    Ack {
        /// The number of the last event delivered.
        seq: u64,
    },
    /// The sink did not take the events. The entry is due again after a while.
    Nack {
        /// From now, on the store's clock.
        retry_in: Duration,
    },
}
