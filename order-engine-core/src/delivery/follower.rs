//! Follows what other processes commit, by hints and by polling, for the subscribers and claimers of this
//! process.

use std::sync::Arc;

use crate::delivery::hub::Hub;
use crate::delivery::wakers::LaneWakers;
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::source::{Hint, StatusSource};
use crate::resilience::shutdown::Shutdown;
use crate::telemetry;

/// How many orders are asked about, or events read, in one call.
const PAGE: u32 = 512;

/// Publishes to the hub what other processes have committed.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) store: Arc<dyn OrderStore>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) wakers: Arc<LaneWakers>,
    pub(crate) shutdown: Arc<Shutdown>,
}

impl Follower {
    /// Takes the hints of a source until the engine closes.
    pub(crate) async fn follow(self: Arc<Self>, source: Arc<dyn StatusSource>) {
        let mut closing = self.shutdown.closing();
        loop {
            tokio::select! {
                biased;
                () = closing.wait() => return,
                hint = source.next() => self.take(hint).await,
            }
        }
    }

    async fn take(&self, hint: Hint) {
        self.hub.note_commit();
        match hint {
            Hint::Event(event) => self.hub.publish([&event]),
            Hint::Advanced { order_id, seq } => {
                self.hub.forget_before(order_id, seq);
                self.publish_up_to(order_id, seq).await;
            }
            Hint::Due(lane) => self.wakers.wake(lane),
            Hint::Resync => {
                self.hub.forget();
                self.wakers.wake_all();
                self.poll().await;
            }
        }
    }

    /// Publishes what the subscribers of this process have missed: hints may be lost, and other processes
    /// may write without giving any.
    pub(crate) async fn poll(&self) {
        let topics = self.hub.topics();
        for ids in topics.chunks(PAGE as usize) {
            match self.store.last_seqs(ids).await {
                Ok(last_seqs) => {
                    for (id, last_seq) in ids.iter().copied().zip(last_seqs) {
                        self.publish_up_to(id, last_seq.unwrap_or(0)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(orders = ids.len(), error = %telemetry::chain(&error), "subscribed orders could not be polled");
                    return;
                }
            }
        }
    }

    /// Publishes an order's events up to this one, as far as a subscriber has missed them.
    async fn publish_up_to(&self, id: OrderId, seq: u64) {
        while let Some(published) = self.hub.last_published_seq(id).filter(|published| *published < seq) {
            match self.read_page(id, published).await {
                Ok(events) if events.is_empty() => return,
                Ok(events) => self.hub.publish(&events),
                Err(error) => {
                    tracing::warn!(order.id = %id, error = %telemetry::chain(&error), "events could not be read for their subscribers");
                    return;
                }
            }
        }
    }

    async fn read_page(&self, id: OrderId, after: u64) -> Result<Vec<Arc<EventRecord>>, StoreError> {
        let events = self.store.events(id, after, PAGE).await?;
        Ok(events.into_iter().map(Arc::new).collect())
    }
}
