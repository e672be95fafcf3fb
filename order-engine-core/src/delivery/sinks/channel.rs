use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::domain::order::OrderUpdate;
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};

/// Sends every event into a channel of this process: for a host's own socket registry, for instance.
///
/// It is best effort: a receiver that falls behind by more than the engine's queue and the channel's
/// capacity misses events, and reads them from the store if it needs them.
#[derive(Clone, Debug)]
pub struct ChannelSink {
    name: Arc<str>,
    updates: mpsc::Sender<OrderUpdate>,
}

impl ChannelSink {
    /// Returns a sink, and the receiver of its events, which buffers at most `capacity` of them (at least
    /// one).
    pub fn new(name: &str, capacity: usize) -> (Self, mpsc::Receiver<OrderUpdate>) {
        let (updates, receiver) = mpsc::channel(capacity.max(1));
        (Self { name: name.into(), updates }, receiver)
    }
}

#[async_trait]
impl StatusSink for ChannelSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::BestEffort
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        for update in updates {
            let sent = self.updates.send(update.clone()).await;
            sent.map_err(|_| SinkError::new("the receiver is gone"))?;
        }
        Ok(())
    }
}
