use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::EventRecord;

/// Is told of committed events: a fan-out to other processes, a socket registry, a log.
///
/// # Contract
/// - Called after the commit, in order for each order, by one task a sink: a slow sink delays no
///   order and no other sink, but its queue is bounded, and what does not fit is dropped.
/// - Best effort: a call may be missing, after a crash for instance. What is told is a hint; the
///   store has the truth.
#[async_trait]
pub trait StatusSink: Debug + Send + Sync + 'static {
    /// A stable name, for logs and metrics.
    fn name(&self) -> &str;

    /// Tells of events, oldest first.
    ///
    /// # Errors
    /// If the sink could not take them. The engine logs it and goes on.
    async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), SinkError>;
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
