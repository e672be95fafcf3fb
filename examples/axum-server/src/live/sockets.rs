//! The registry of live streams: it counts and limits them, sends them notices and ends them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use order_engine_core::{FeedScope, OrderId};
use tokio::sync::{broadcast, watch};

use crate::live::frames::Frames;

/// How many streams of unknown orders there may be. Each has its answer at once, and leaves then.
const STRANGERS_MAX: usize = 32;

/// How many notices may wait for a stream. A stream that falls further behind misses the oldest.
const NOTICES_WAITING_MAX: usize = 16;

/// The limits on live streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketCaps {
    pub(crate) total: usize,
    pub(crate) per_order: usize,
}

/// All live streams of the server.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    caps: SocketCaps,
    by_subject: Mutex<HashMap<Subject, Streams>>,
    /// The number of streams, in a channel, so that a task can wait until it is zero.
    total: watch::Sender<usize>,
    /// The number of those that are being told that there is no such order. They are not in the total.
    strangers: AtomicUsize,
    notices: broadcast::Sender<Arc<str>>,
    shutdown: watch::Sender<bool>,
}

/// What a stream is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// An order.
    Order(OrderId),
    /// All orders of a user, or of everybody.
    Orders(FeedScope),
}

/// The streams of one subject.
#[derive(Debug, Default)]
struct Streams {
    count: usize,
    frames: Arc<Frames>,
}

/// The right to have one stream open. Dropping it releases the slot.
#[derive(Debug)]
#[must_use = "dropping the slot releases it"]
pub(crate) struct StreamSlot {
    shared: Arc<Shared>,
    subject: Subject,
    frames: Arc<Frames>,
}

/// The right to tell a client that there is no such order. Dropping it releases the place.
#[derive(Debug)]
#[must_use = "dropping the slot releases it"]
pub(crate) struct StrangerSlot(Arc<Shared>);

/// Why there is no slot for another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// The server has as many streams as it may have.
    Total,
    /// The order has as many streams as it may have.
    Order,
}

/// The signal that streams have to end because the server shuts down.
#[derive(Clone, Debug)]
pub(crate) struct ShutdownSignal(watch::Receiver<bool>);

impl ShutdownSignal {
    /// Waits until the server shuts down. Safe to cancel.
    pub(crate) async fn wait(&mut self) {
        // An error means that the sender, and with it the server, is gone, which is a shutdown too.
        let _ = self.0.wait_for(|is_shutting_down| *is_shutting_down).await;
    }
}

impl Sockets {
    pub(crate) fn new(caps: SocketCaps) -> Self {
        let shared = Shared {
            caps,
            by_subject: Mutex::new(HashMap::new()),
            total: watch::Sender::new(0),
            strangers: AtomicUsize::new(0),
            notices: broadcast::Sender::new(NOTICES_WAITING_MAX),
            shutdown: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a slot for a stream of an order.
    pub(crate) fn admit(&self, order_id: OrderId) -> Result<StreamSlot, NoSlot> {
        self.admit_to(Subject::Order(order_id))
    }

    /// Takes a slot for a stream about a subject. One subject has as many as one order.
    pub(crate) fn admit_to(&self, subject: Subject) -> Result<StreamSlot, NoSlot> {
        let shared = &self.shared;
        let mut by_subject = shared.by_subject();
        if *shared.total.borrow() >= shared.caps.total {
            return Err(NoSlot::Total);
        }
        let frames = by_subject.entry(subject.clone()).or_default().admit(shared.caps.per_order)?;
        shared.total.send_modify(|total| *total += 1);
        Ok(StreamSlot { shared: Arc::clone(shared), subject, frames })
    }

    /// Takes a place for a stream that follows no order, until it is told so. These have a small number of places of their
    /// own, so that they keep nobody from following an order.
    pub(crate) fn admit_stranger(&self) -> Result<StrangerSlot, NoSlot> {
        let admit = |count| (count < STRANGERS_MAX).then_some(count + 1);
        let strangers = &self.shared.strangers;
        strangers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).map_err(|_| NoSlot::Total)?;
        Ok(StrangerSlot(Arc::clone(&self.shared)))
    }

    /// Returns how many streams there are.
    pub(crate) fn total(&self) -> usize {
        *self.shared.total.borrow()
    }

    /// Returns how many streams an order has.
    pub(crate) fn of_order(&self, order_id: OrderId) -> usize {
        self.shared.by_subject().get(&Subject::Order(order_id)).map_or(0, |streams| streams.count)
    }

    /// Sends a frame to every stream.
    pub(crate) fn notify(&self, frame: &str) {
        // An error means that there is no stream.
        let _ = self.shared.notices.send(frame.into());
    }

    /// Returns a receiver of the notices that are sent from now on.
    pub(crate) fn notices(&self) -> broadcast::Receiver<Arc<str>> {
        self.shared.notices.subscribe()
    }

    /// Ends every stream, and every stream that opens later.
    pub(crate) fn shut_down(&self) {
        self.shared.shutdown.send_replace(true);
    }

    /// Returns whether the streams are being ended.
    pub(crate) fn is_shutting_down(&self) -> bool {
        *self.shared.shutdown.borrow()
    }

    /// Returns the signal on which a stream has to end.
    pub(crate) fn shutdown_signal(&self) -> ShutdownSignal {
        ShutdownSignal(self.shared.shutdown.subscribe())
    }

    /// Waits until there is no stream.
    pub(crate) async fn drained(&self) {
        // This cannot fail: the sender lives as long as this registry.
        let _ = self.shared.total.subscribe().wait_for(|total| *total == 0).await;
    }
}

impl Shared {
    fn by_subject(&self) -> MutexGuard<'_, HashMap<Subject, Streams>> {
        self.by_subject.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Counts another stream, and returns the frames that it shares with the others.
    fn admit(&mut self, cap: usize) -> Result<Arc<Frames>, NoSlot> {
        if self.count >= cap {
            return Err(NoSlot::Order);
        }
        self.count += 1;
        if self.count > 1 {
            self.frames.share();
        }
        Ok(Arc::clone(&self.frames))
    }
}

impl StreamSlot {
    /// Returns the frames that the streams of the order share.
    pub(crate) fn frames(&self) -> Arc<Frames> {
        Arc::clone(&self.frames)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut by_subject = self.shared.by_subject();
        if let Entry::Occupied(mut streams) = by_subject.entry(self.subject.clone()) {
            streams.get_mut().count -= 1;
            if streams.get().count == 0 {
                streams.remove();
            }
        }
        self.shared.total.send_modify(|total| *total -= 1);
    }
}

impl Drop for StrangerSlot {
    fn drop(&mut self) {
        self.0.strangers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn order(n: u128) -> OrderId {
        OrderId::new(DateTime::UNIX_EPOCH, n << 64)
    }

    #[test]
    fn slots_are_counted_limited_and_released() {
        let sockets = Sockets::new(SocketCaps { total: 3, per_order: 2 });
        let (a, b) = (order(1), order(2));
        let first = sockets.admit(a).unwrap();
        let second = sockets.admit(a).unwrap();
        assert_eq!(sockets.admit(a).unwrap_err(), NoSlot::Order);
        let third = sockets.admit(b).unwrap();
        assert_eq!(sockets.admit(b).unwrap_err(), NoSlot::Total);
        assert_eq!((sockets.total(), sockets.of_order(a), sockets.of_order(b)), (3, 2, 1));
        drop(first);
        assert_eq!((sockets.total(), sockets.of_order(a)), (2, 1));
        drop((second, third));
        assert_eq!((sockets.total(), sockets.of_order(a), sockets.of_order(b)), (0, 0, 0));
    }

    #[test]
    fn streams_of_unknown_orders_have_a_few_places_of_their_own() {
        let sockets = Sockets::new(SocketCaps { total: 1, per_order: 1 });
        let strangers: Vec<_> = (0..40).map_while(|_| sockets.admit_stranger().ok()).collect();
        assert_eq!((strangers.len(), sockets.total()), (STRANGERS_MAX, 0));
        assert!(sockets.admit(order(1)).is_ok());
        drop(strangers);
        assert!(sockets.admit_stranger().is_ok());
    }

    #[tokio::test]
    async fn the_release_of_the_last_slot_ends_the_drain() {
        let sockets = Sockets::new(SocketCaps { total: 1, per_order: 1 });
        let slot = sockets.admit(order(1)).unwrap();
        let drained = tokio::spawn({
            let sockets = sockets.clone();
            async move { sockets.drained().await }
        });
        drop(slot);
        drained.await.unwrap();
    }
}
