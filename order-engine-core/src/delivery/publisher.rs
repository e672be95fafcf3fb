//! Publishes committed events to the subscribers of this process and to the host's sinks.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::delivery::hub::Hub;
use crate::domain::event::EventRecord;
use crate::domain::order::{Order, OrderUpdate};
use crate::ports::sink::{SinkError, StatusSink};
use crate::resilience::supervisor::Supervisor;
use crate::resilience::tasks::Tasks;
use crate::telemetry;

/// How many events may wait for one best-effort sink. What does not fit is dropped: it is only a hint.
const SINK_QUEUE: usize = 4_096;
/// How many events a best-effort sink is given at once.
const SINK_BATCH: usize = 256;

/// Publishes committed events.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) hub: Arc<Hub>,
    sinks: Vec<SinkQueue>,
    /// Changes when the outbox may have new entries.
    outbox_changes: watch::Sender<()>,
}

#[derive(Debug)]
struct SinkQueue {
    sink: Arc<dyn StatusSink>,
    updates: mpsc::Sender<OrderUpdate>,
}

/// A committed event, with its order.
pub(crate) type Committed<'a> = (&'a Order, &'a Arc<EventRecord>);

impl Publisher {
    /// Starts one task for each best-effort sink. It ends when the publisher is dropped.
    pub(crate) fn start(hub: Arc<Hub>, sinks: Vec<Arc<dyn StatusSink>>, tasks: &Tasks) -> Arc<Self> {
        let sinks = sinks.into_iter().map(|sink| {
            let (updates, queue) = mpsc::channel(SINK_QUEUE);
            let task = deliver(Arc::clone(&tasks.supervisor), Arc::clone(&sink), queue);
            tasks.runtime.spawner.spawn("sink", Box::pin(task));
            SinkQueue { sink, updates }
        });
        let sinks = sinks.collect();
        Arc::new(Self { hub, sinks, outbox_changes: watch::Sender::new(()) })
    }

    /// Returns a channel that changes when the outbox may have new entries.
    pub(crate) fn outbox_changes(&self) -> watch::Receiver<()> {
        self.outbox_changes.subscribe()
    }

    /// Publishes what this process has committed. Never waits.
    pub(crate) fn publish<'a>(&self, committed: impl Iterator<Item = Committed<'a>> + Clone) {
        self.outbox_changes.send_replace(());
        for SinkQueue { sink, updates } in &self.sinks {
            let is_dropped = |(order, event): &Committed<'_>| {
                updates.try_send(OrderUpdate::new(order.head(), Arc::clone(event))).is_err()
            };
            let dropped = committed.clone().filter(is_dropped).count();
            if dropped > 0 {
                telemetry::sink_dropped(sink.name(), dropped);
                tracing::warn!(sink.name = sink.name(), events = dropped, "a slow sink missed events");
            }
        }
        self.hub.publish(committed.map(|(_, event)| event));
    }
}

async fn deliver(
    supervisor: Arc<Supervisor>,
    sink: Arc<dyn StatusSink>,
    mut updates: mpsc::Receiver<OrderUpdate>,
) {
    let mut batch = Vec::with_capacity(SINK_BATCH);
    while updates.recv_many(&mut batch, SINK_BATCH).await > 0 {
        if let Err(error) = call_sink(&supervisor, &*sink, &batch).await {
            telemetry::sink_dropped(sink.name(), batch.len());
            tracing::warn!(sink.name = sink.name(), events = batch.len(), error = %telemetry::chain(&error), "a sink missed events");
        }
        batch.clear();
    }
}

/// Calls a sink. A panic counts as a refusal.
pub(crate) async fn call_sink(
    supervisor: &Supervisor,
    sink: &dyn StatusSink,
    updates: &[OrderUpdate],
) -> Result<(), SinkError> {
    let delivered = supervisor.guard("sink.deliver", sink.deliver(updates)).await;
    delivered.unwrap_or_else(|_| Err(SinkError::new("it panicked")))
}
