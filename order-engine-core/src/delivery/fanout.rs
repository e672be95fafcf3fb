//! A fan-out between processes over a message broker: each process publishes what it committed, and listens
//! to what the others publish.
//!
//! [`BrokerFanout`] does all of it but the talking to one particular broker, which a [`Broker`] does. Every
//! fan-out between processes therefore connects again, reports losses, skips its own messages and is silent where no
//! other process listens.

mod broker;
mod listener;
mod outgoing;
mod presence;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

pub use crate::delivery::fanout::broker::{Broker, MessageStream};
use crate::delivery::fanout::listener::Listener;
use crate::delivery::fanout::outgoing::Outgoing;
use crate::domain::order::OrderUpdate;
use crate::ports::order_store::error::StoreError;
use crate::ports::runtime::Runtime;
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};
use crate::ports::source::{Hint, StatusSource};

/// The most hints that wait for the engine. When the queue is full, hints are dropped and a resync takes
/// their place.
const QUEUE: usize = 4_096;

/// A fan-out over a [`Broker`]: a best-effort [`StatusSink`] and a [`StatusSource`].
///
/// Cheap to clone. Clones, sinks and sources share one task that listens, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct BrokerFanout {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    outgoing: Arc<Outgoing>,
    /// The task that listens ends when this is dropped.
    hints: Mutex<mpsc::Receiver<Hint>>,
    listener: Arc<Listener>,
}

impl BrokerFanout {
    /// Makes a fan-out that connects when it is first used. The source's first hint is a
    /// [resync](Hint::Resync), since the others may have published before.
    pub fn new(broker: Arc<dyn Broker>, runtime: Runtime) -> Self {
        let sender = runtime.entropy.next_u128();
        let outgoing = Arc::new(Outgoing::new(broker, Arc::clone(&runtime.clock), sender));
        let (queue, hints) = mpsc::channel(QUEUE);
        let listener = Arc::new(Listener::new(Arc::clone(&outgoing), runtime, queue));
        let inner = Inner { outgoing, hints: Mutex::new(hints), listener };
        Self { inner: Arc::new(inner) }
    }

    /// Makes a fan-out that is connected: its source has everything that others publish after this.
    ///
    /// # Errors
    /// If the broker cannot be reached.
    pub async fn open(broker: Arc<dyn Broker>, runtime: Runtime) -> Result<Self, StoreError> {
        let fanout = Self::new(broker, runtime);
        let stream = fanout.inner.listener.subscribe().await?;
        fanout.inner.listener.start(Some(stream));
        Ok(fanout)
    }

    /// Returns the sink that publishes this engine's events.
    pub fn sink(&self) -> Arc<dyn StatusSink> {
        Arc::new(BrokerSink(Arc::clone(&self.inner)))
    }

    /// Returns the source of hints from the other processes, for one engine.
    pub fn source(&self) -> Arc<dyn StatusSource> {
        Arc::new(BrokerSource(Arc::clone(&self.inner)))
    }
}

#[derive(Debug)]
struct BrokerSink(Arc<Inner>);

#[async_trait]
impl StatusSink for BrokerSink {
    fn name(&self) -> &str {
        self.0.outgoing.broker.name()
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::BestEffort
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        let events: Vec<_> = updates.iter().map(|update| Arc::clone(&update.event)).collect();
        let delivered = self.0.outgoing.deliver(&events).await;
        delivered.map_err(|error| SinkError::new("the messages were not taken").with_source(error))
    }
}

#[derive(Debug)]
struct BrokerSource(Arc<Inner>);

#[async_trait]
impl StatusSource for BrokerSource {
    async fn next(&self) -> Hint {
        let Inner { hints, listener, .. } = &*self.0;
        listener.start(None);
        let mut hints = hints.lock().await;
        if listener.has_dropped.swap(false, Ordering::AcqRel) {
            return Hint::Resync;
        }
        match hints.recv().await {
            Some(hint) => hint,
            // The listener holds the other end of the queue, so the queue is never closed.
            None => std::future::pending().await,
        }
    }

    fn is_connected(&self) -> bool {
        self.0.listener.is_connected.load(Ordering::Acquire)
    }
}
