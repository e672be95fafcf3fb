use async_trait::async_trait;

use crate::domain::event::EventRecord;
use crate::domain::order::OrderUpdate;
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};

/// Writes every event into the log, by `tracing`, under the target `order_engine::events`: failures
/// as warnings, everything else as information.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

#[async_trait]
impl StatusSink for TracingSink {
    fn name(&self) -> &'static str {
        "tracing"
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::BestEffort
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        for update in updates {
            log(&update.event);
        }
        Ok(())
    }
}

fn log(record: &EventRecord) {
    // The level of a log line is fixed where it is written, so there are two of them.
    if let Some(failure) = record.event.failure() {
        tracing::warn!(
            target: "order_engine::events",
            { order.id = %record.order_id,
            order.seq = record.seq,
            order.status = record.status.as_str(),
            order.attempt = record.attempt,
            event.kind = record.event.kind(),
            error.code = failure.code.as_str() },
            "{}", record.message()
        );
    } else {
        tracing::info!(
            target: "order_engine::events",
            { order.id = %record.order_id,
            order.seq = record.seq,
            order.status = record.status.as_str(),
            order.attempt = record.attempt,
            event.kind = record.event.kind() },
            "{}", record.message()
        );
    }
}
