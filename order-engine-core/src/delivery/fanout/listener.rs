//! The task that listens to a broker.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::delivery::fanout::broker::MessageStream;
use crate::delivery::fanout::outgoing::Outgoing;
use crate::delivery::fanout::presence::ANNOUNCEMENT_INTERVAL;
use crate::delivery::hints;
use crate::domain::retry_policy::Backoff;
use crate::ports::order_store::error::StoreError;
use crate::ports::runtime::Runtime;
use crate::ports::source::Hint;
use crate::telemetry;

/// How often the connection is checked. Without a check, a connection that was cut without notice looks like
/// one on which nothing is published.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Receives messages, and connects again when the connection fails.
#[derive(Debug)]
pub(super) struct Listener {
    outgoing: Arc<Outgoing>,
    runtime: Runtime,
    has_started: AtomicBool,
    queue: mpsc::Sender<Hint>,
    pub(super) is_connected: AtomicBool,
    /// Whether hints were dropped because the queue was full.
    pub(super) has_dropped: AtomicBool,
}

impl Listener {
    pub(super) fn new(outgoing: Arc<Outgoing>, runtime: Runtime, queue: mpsc::Sender<Hint>) -> Self {
        let [has_started, is_connected, has_dropped] = [false; 3].map(AtomicBool::new);
        Self { outgoing, runtime, has_started, queue, is_connected, has_dropped }
    }

    /// Starts the task that listens, unless it was started before: first on this stream, if there is one.
    pub(super) fn start(self: &Arc<Self>, first: Option<Box<dyn MessageStream>>) {
        if self.has_started.swap(true, Ordering::AcqRel) {
            return;
        }
        let listener = Arc::clone(self);
        let task = async move {
            tokio::select! {
                biased;
                () = listener.queue.closed() => {}
                () = listener.run(first) => {}
            }
        };
        self.runtime.spawner.spawn("fan-out", Box::pin(task));
    }

    /// Connects and subscribes, and tells the others, which publish nothing as long as they are alone.
    pub(super) async fn subscribe(&self) -> Result<Box<dyn MessageStream>, StoreError> {
        let stream = self.outgoing.broker.subscribe().await?;
        self.outgoing.announce().await?;
        self.outgoing.presence.connected(self.runtime.clock.now());
        self.is_connected.store(true, Ordering::Release);
        Ok(stream)
    }

    async fn run(&self, first: Option<Box<dyn MessageStream>>) {
        let mut next = first;
        loop {
            let mut stream = match next.take() {
                Some(stream) => stream,
                None => self.resubscribe().await,
            };
            let Err(error) = tokio::select! {
                failed = self.listen(&mut *stream) => failed,
                failed = self.keep_announcing() => failed,
            };
            self.is_connected.store(false, Ordering::Release);
            self.outgoing.presence.disconnected();
            tracing::warn!(broker = self.outgoing.broker.name(), error = %telemetry::chain(&error), "the fan-out lost its connection and connects again");
        }
    }

    async fn resubscribe(&self) -> Box<dyn MessageStream> {
        let mut failures = 0;
        loop {
            match self.subscribe().await {
                Ok(stream) => {
                    // What was published in the meantime is lost.
                    self.push(Hint::Resync);
                    return stream;
                }
                Err(error) if failures == 0 => {
                    tracing::warn!(broker = self.outgoing.broker.name(), error = %telemetry::chain(&error), "the fan-out cannot connect");
                }
                Err(error) => {
                    tracing::debug!(broker = self.outgoing.broker.name(), error = %telemetry::chain(&error), "the fan-out cannot connect yet");
                }
            }
            failures += 1;
            self.runtime.clock.sleep(Backoff::RECONNECT.delay(failures, 0)).await;
        }
    }

    /// Receives messages until the connection fails.
    async fn listen(&self, stream: &mut dyn MessageStream) -> Result<Infallible, StoreError> {
        let mut next_ping = self.runtime.clock.sleep(PING_INTERVAL);
        loop {
            tokio::select! {
                // First, so that a busy stream does not keep it.
                biased;
                () = &mut next_ping => {
                    stream.ping().await?;
                    next_ping = self.runtime.clock.sleep(PING_INTERVAL);
                }
                message = stream.next() => self.receive(&message?),
            }
        }
    }

    /// Tells the others again and again that this process is there, and newcomers at once what they missed.
    async fn keep_announcing(&self) -> Result<Infallible, StoreError> {
        loop {
            tokio::select! {
                () = self.runtime.clock.sleep(ANNOUNCEMENT_INTERVAL) => {}
                () = self.outgoing.presence.newcomer() => {}
            }
            self.outgoing.announce().await?;
        }
    }

    fn receive(&self, message: &str) {
        let unpacked = hints::unpack(message, self.outgoing.sender);
        if matches!(unpacked, Ok(None)) {
            return;
        }
        self.outgoing.presence.heard(self.runtime.clock.now());
        match unpacked {
            Ok(hints) => hints.into_iter().flatten().for_each(|hint| self.push(hint)),
            Err(error) => {
                // A newer version of this software may have sent it. It is news in any case.
                tracing::debug!(broker = self.outgoing.broker.name(), %error, "a message cannot be decoded");
                self.push(Hint::Resync);
            }
        }
    }

    fn push(&self, hint: Hint) {
        if self.queue.try_send(hint).is_err() {
            self.has_dropped.store(true, Ordering::Release);
        }
    }
}
