use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::event::EventRecord;

/// Is told of committed events: a fan-out to other processes, a socket registry, a webhook, a log.
///
/// # Contract
/// - Called after the commit, oldest event first, never with events of one order at the same time.
///   A slow, failing or panicking sink delays no order and no other sink.
/// - A [best-effort](SinkGuarantee::BestEffort) sink is called by one task. Its queue is bounded, and
///   what does not fit is dropped; a call may also be missing after a crash. What it is told is a
///   hint; the store has the truth.
/// - A [durable](SinkGuarantee::Durable) sink is told every event at least once and in order for each
///   order, also after a crash: one call has events of one order, and several orders are delivered
///   at a time. An event may come twice, rarely also late after its successors, when a relay was
///   slow and another one took over; the receiver tells by `(order_id, seq)`.
/// - Safe to drop at every await.
#[async_trait]
pub trait StatusSink: Debug + Send + Sync + 'static {
    /// A stable name, for logs and metrics. What a durable sink is owed is kept under it.
    fn name(&self) -> &str;

    /// What the sink asks for.
    fn guarantee(&self) -> SinkGuarantee;

    /// Tells of events, oldest first.
    ///
    /// # Errors
    /// If the sink could not take them. A best-effort sink misses them; to a durable one they are
    /// delivered again, after a growing wait.
    async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), SinkError>;
}

/// What a sink asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SinkGuarantee {
    /// Each event once as a rule; some may be missing, and one may come twice where the store's reply
    /// was lost: the receiver tells by `(order_id, seq)`. It costs no write.
    BestEffort,
    /// Each event at least once, in order for each order. It costs a row for each order of which
    /// events wait to be delivered.
    Durable,
}

/// A sink that could not take events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sink refused: {message}")]
pub struct SinkError {
    /// Why, in words.
    pub message: String,
}

impl SinkError {
    /// A sink that refused, for this reason.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
