use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::codec::DecodeError;
use crate::domain::event::EventRecord;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::lease::Lease;

/// Keeps what durable sinks are owed.
///
/// A debt is an order of which a sink is owed events: all those after the last one delivered. It is
/// one row, however many events it grows to.
///
/// # Contract
/// - **Owed with the event.** A write that commits an event makes every sink that is registered at
///   that moment its creditor, in the same transaction. The registration stands in the store, so it
///   holds for the writes of all processes, whether they know the sink or not. Without a registered
///   sink nothing is written.
/// - **In order.** A debt is leased to one relay at a time, and is paid from its first event on.
/// - **Fenced.** A ack counts only under the lease that is current. Leases and due times are
///   measured on the store's clock.
/// - Calls end in bounded time and may be dropped, as those of an [`OrderStore`](crate::ports::order_store::OrderStore).
#[async_trait]
pub trait Outbox: Debug + Send + Sync + 'static {
    /// Registers sinks: they are owed every event that is committed from now on. One that is
    /// registered stays as it is.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError>;

    /// Ends the registration of a sink and forgets at most `limit` of its debts: how many it forgot.
    /// Fewer than `limit` says that none is left.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError>;

    /// Leases debts of a sink that are due, those that became due first, first.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError>;

    /// Records what was delivered: for each, in order, whether its lease was still the current one.
    ///
    /// # Errors
    /// If the store cannot answer.
    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError>;
}

/// Which debts to lease, and to whom.
#[derive(Clone, Debug)]
pub struct DeliveryRequest {
    /// The sink whose debts they are.
    pub sink: Arc<str>,
    /// How many debts at most.
    pub limit: u32,
    /// How many events of each at most.
    pub events_limit: u32,
    /// The owner half of the new fences.
    pub owner: u128,
    /// How long the leases last.
    pub duration: Duration,
}

/// Debts that were leased.
#[derive(Clone, Debug, Default)]
pub struct Deliveries {
    /// The debts.
    pub deliveries: Vec<Delivery>,
    /// When the sink's next debt becomes due, if there is one. It may be a little too early, never
    /// too late.
    pub next_due_in: Option<Duration>,
}

/// A debt that was leased.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The order and the right to deliver its events.
    pub lease: Lease,
    /// How many deliveries of it in a row failed.
    pub failures: u32,
    /// The events that are owed first, oldest first, at least one; or why they cannot be read.
    pub events: Result<Vec<Arc<EventRecord>>, DecodeError>,
}

impl Delivery {
    /// The events of a debt, of those that a store has read, oldest first: as far as they can be read,
    /// without a gap.
    ///
    /// # Errors
    /// Why the first one cannot be read.
    pub fn readable(
        events: impl IntoIterator<Item = Result<EventRecord, DecodeError>>,
    ) -> Result<Vec<Arc<EventRecord>>, DecodeError> {
        let mut readable: Vec<Arc<EventRecord>> = Vec::new();
        for event in events {
            match event {
                Ok(event) if readable.last().is_none_or(|last| last.seq + 1 == event.seq) => {
                    readable.push(Arc::new(event));
                }
                Err(error) if readable.is_empty() => return Err(error),
                _ => break,
            }
        }
        Ok(readable)
    }
}

/// What became of a delivery.
#[derive(Clone, Debug)]
pub struct DeliveryAck {
    /// The sink.
    pub sink: Arc<str>,
    /// The lease under which it was delivered.
    pub lease: Lease,
    /// What came of it.
    pub outcome: DeliveryOutcome,
}

/// What came of a delivery.
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
