use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;

/// Gives hints that something new may be in the store: the receiving end of a fan-out between processes.
///
/// # Contract
/// - Hints may be lost, doubled and reordered. The engine reads the store where a hint does not fit, and polls
///   slowly behind them all.
/// - One upstream connection a process, however many subscribers there are.
/// - A source that lost its connection reconnects by itself and then gives [`Hint::Resync`].
#[async_trait]
pub trait StatusSource: Debug + Send + Sync + 'static {
    /// Waits for the next hint. One task calls this.
    async fn next(&self) -> Hint;

    /// Whether the source is connected, so that it would give hints now.
    fn is_connected(&self) -> bool;
}

/// What may be new.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// The order has events up to this number.
    Advanced {
        /// The order.
        order_id: OrderId,
        /// The number of its last event.
        seq: u64,
    },
    /// This event was committed.
    Event(Arc<EventRecord>),
    /// Orders became due in this lane.
    Due(Lane),
    /// Anything may have happened: hints were lost.
    Resync,
}
