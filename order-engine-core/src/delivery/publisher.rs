//! Who is told of committed events: the listeners of this process, and the host's sinks.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::commit::store_clock::StoreClock;
use crate::delivery::outbox_relay;
use crate::delivery::subscribers::Hub;
use crate::domain::event::EventRecord;
use crate::ports::runtime::Runtime;
use crate::ports::sink::StatusSink;
use crate::resilience::supervisor::Supervisor;
use crate::telemetry;

/// How many events may wait for one sink. What does not fit is dropped: it is only a hint.
const SINK_QUEUE: usize = 4_096;
/// How many events a sink is given at once.
const SINK_BATCH: usize = 256;

/// Tells of committed events.
#[derive(Debug)]
pub(crate) struct Fanout {
    pub(crate) hub: Arc<Hub>,
    sinks: Vec<SinkQueue>,
    /// Changes when durable sinks may be owed something new.
    owed: watch::Sender<()>,
    /// By which events are stamped.
    clock: Arc<StoreClock>,
}

#[derive(Debug)]
struct SinkQueue {
    sink: Arc<dyn StatusSink>,
    events: mpsc::Sender<Arc<EventRecord>>,
}

impl Fanout {
    /// Starts one task a best-effort sink.
    pub(crate) fn start(
        hub: Arc<Hub>,
        sinks: Vec<Arc<dyn StatusSink>>,
        runtime: &Runtime,
        supervisor: &Arc<Supervisor>,
        clock: Arc<StoreClock>,
    ) -> Arc<Self> {
        let sinks = sinks.into_iter().map(|sink| {
            let (queue, events) = mpsc::channel(SINK_QUEUE);
            let task = deliver(Arc::clone(supervisor), Arc::clone(&sink), events);
            runtime.spawner.spawn("sink", Box::pin(task));
            SinkQueue { sink, events: queue }
        });
        let sinks = sinks.collect();
        Arc::new(Self { hub, sinks, owed: watch::Sender::new(()), clock })
    }

    /// Changes when durable sinks may be owed something new.
    pub(crate) fn owed(&self) -> watch::Receiver<()> {
        self.owed.subscribe()
    }

    /// Tells everybody what this process has committed. Never waits.
    pub(crate) fn publish<'a>(&self, events: impl IntoIterator<Item = &'a Arc<EventRecord>> + Clone) {
        let now = self.clock.now();
        for event in events.clone() {
            telemetry::committed(event, now);
        }
        self.owed.send_replace(());
        for SinkQueue { sink, events: queue } in &self.sinks {
            let dropped =
                events.clone().into_iter().filter(|event| queue.try_send(Arc::clone(event)).is_err()).count();
            if dropped > 0 {
                telemetry::sink_dropped(sink.name(), dropped);
                tracing::warn!(sink.name = sink.name(), events = dropped, "a slow sink missed events");
            }
        }
        self.hub.publish(events);
    }
}

async fn deliver(
    supervisor: Arc<Supervisor>,
    sink: Arc<dyn StatusSink>,
    mut events: mpsc::Receiver<Arc<EventRecord>>,
) {
    let mut batch = Vec::with_capacity(SINK_BATCH);
    while events.recv_many(&mut batch, SINK_BATCH).await > 0 {
        if let Err(error) = outbox_relay::call(&supervisor, &*sink, &batch).await {
            telemetry::sink_dropped(sink.name(), batch.len());
            tracing::warn!(sink.name = sink.name(), events = batch.len(), %error, "a sink missed events");
        }
        batch.clear();
    }
}
