//! What this process tells the others: its events, or at least that it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::delivery::fanout::broker::Broker;
use crate::delivery::fanout::presence::Presence;
use crate::delivery::hints;
use crate::domain::event::EventRecord;
use crate::ports::order_store::error::StoreError;
use crate::ports::runtime::Clock;

/// Publishes for this process.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) clock: Arc<dyn Clock>,
    /// The name of this process in messages, by which it skips its own.
    pub(super) sender: u128,
    pub(super) presence: Presence,
    /// Whether hints could not be published, so that the next message must be a resync.
    has_lost: AtomicBool,
}

impl Outgoing {
    pub(super) fn new(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>, sender: u128) -> Self {
        Self { broker, clock, sender, presence: Presence::default(), has_lost: AtomicBool::new(false) }
    }

    /// Publishes committed events, unless nobody listens.
    pub(super) async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), StoreError> {
        if self.presence.skips(self.clock.now()) {
            return Ok(());
        }
        let mut messages = hints::pack(events, self.sender, self.broker.max_message_bytes());
        if self.take_missed() {
            messages.insert(0, hints::resync(self.sender));
        }
        self.publish_hints(messages).await
    }

    /// Tells the others that this process is there, or that they have missed hints, if they have.
    pub(super) async fn announce(&self) -> Result<(), StoreError> {
        if self.take_missed() {
            return self.publish_hints(vec![hints::resync(self.sender)]).await;
        }
        self.broker.publish(vec![hints::presence(self.sender)]).await
    }

    /// Returns whether the others have missed hints. The caller tells them.
    fn take_missed(&self) -> bool {
        let has_skipped = self.presence.take_skipped(self.clock.now());
        self.has_lost.swap(false, Ordering::AcqRel) || has_skipped
    }

    async fn publish_hints(&self, messages: Vec<String>) -> Result<(), StoreError> {
        let unpublished = Unpublished(&self.has_lost);
        self.broker.publish(messages).await?;
        std::mem::forget(unpublished);
        Ok(())
    }
}

/// Hints that the broker has not taken. Dropping this counts them as lost, also where a call is dropped.
struct Unpublished<'a>(&'a AtomicBool);

impl Drop for Unpublished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
