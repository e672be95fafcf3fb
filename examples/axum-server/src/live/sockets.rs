//! The registry of live streams: it counts them, bounds them, speaks to them and ends them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use order_engine_core::OrderId;
use tokio::sync::{broadcast, watch};

use crate::live::frames::Frames;

/// How many notices may wait for a stream; one that sleeps through more misses the oldest.
const NOTICES_WAITING_MAX: usize = 16;

/// How many live streams there may be.
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
    by_order: Mutex<HashMap<OrderId, Streams>>,
    /// The number of streams; kept apart so that it can be waited upon.
    total: watch::Sender<usize>,
    notices: broadcast::Sender<Arc<str>>,
    closing: watch::Sender<bool>,
}

/// The streams of one order.
#[derive(Debug, Default)]
struct Streams {
    count: usize,
    frames: Arc<Frames>,
}

/// The place of one stream. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    order_id: Option<OrderId>,
    frames: Arc<Frames>,
}

/// There is no place for another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The server has as many as it may.
    Total,
    /// The order has as many as it may.
    Order,
}

/// Tells a stream to end.
#[derive(Clone, Debug)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Waits until the server closes. Safe to drop.
    pub(crate) async fn wait(&mut self) {
        // Without a sender the server is gone, which is an end too.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}

impl Sockets {
    pub(crate) fn new(caps: SocketCaps) -> Self {
        let shared = Shared {
            caps,
            by_order: Mutex::new(HashMap::new()),
            total: watch::Sender::new(0),
            notices: broadcast::Sender::new(NOTICES_WAITING_MAX),
            closing: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a place for a stream of an order; even a request for none takes one for a moment.
    pub(crate) fn admit(&self, order_id: Option<OrderId>) -> Result<Place, NoPlace> {
        let shared = &self.shared;
        let mut by_order = shared.by_order();
        if *shared.total.borrow() >= shared.caps.total {
            return Err(NoPlace::Total);
        }
        let frames = match order_id {
            Some(order_id) => by_order.entry(order_id).or_default().admit(shared.caps.per_order)?,
            None => Arc::default(),
        };
        shared.total.send_modify(|total| *total += 1);
        Ok(Place { shared: Arc::clone(shared), order_id, frames })
    }

    /// How many streams there are.
    pub(crate) fn total(&self) -> usize {
        *self.shared.total.borrow()
    }

    /// How many streams an order has.
    pub(crate) fn of_order(&self, order_id: OrderId) -> usize {
        self.shared.by_order().get(&order_id).map_or(0, |streams| streams.count)
    }

    /// Sends a frame to every stream.
    pub(crate) fn notify(&self, frame: &str) {
        // An error says that nobody listens.
        let _ = self.shared.notices.send(frame.into());
    }

    pub(crate) fn notices(&self) -> broadcast::Receiver<Arc<str>> {
        self.shared.notices.subscribe()
    }

    /// Tells every stream, also the ones to come, to end.
    pub(crate) fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Whether streams are told to end.
    pub(crate) fn is_closing(&self) -> bool {
        *self.shared.closing.borrow()
    }

    pub(crate) fn closing(&self) -> Closing {
        Closing(self.shared.closing.subscribe())
    }

    /// Waits until there is no stream.
    pub(crate) async fn drained(&self) {
        // The sender is alive as long as this registry is.
        let _ = self.shared.total.subscribe().wait_for(|total| *total == 0).await;
    }
}

impl Shared {
    fn by_order(&self) -> MutexGuard<'_, HashMap<OrderId, Streams>> {
        self.by_order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Counts another stream, and gives what it shares with the others.
    fn admit(&mut self, cap: usize) -> Result<Arc<Frames>, NoPlace> {
        if self.count >= cap {
            return Err(NoPlace::Order);
        }
        self.count += 1;
        if self.count > 1 {
            self.frames.share();
        }
        Ok(Arc::clone(&self.frames))
    }
}

impl Place {
    /// What the streams of the order share.
    pub(crate) fn frames(&self) -> Arc<Frames> {
        Arc::clone(&self.frames)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_order = self.shared.by_order();
        if let Some(Entry::Occupied(mut streams)) = self.order_id.map(|id| by_order.entry(id)) {
            streams.get_mut().count -= 1;
            if streams.get().count == 0 {
                streams.remove();
            }
        }
        self.shared.total.send_modify(|total| *total -= 1);
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
    fn places_are_counted_bounded_and_given_back() {
        let sockets = Sockets::new(SocketCaps { total: 3, per_order: 2 });
        let (a, b) = (order(1), order(2));
        let first = sockets.admit(Some(a)).unwrap();
        let second = sockets.admit(Some(a)).unwrap();
        assert_eq!(sockets.admit(Some(a)).unwrap_err(), NoPlace::Order);
        let third = sockets.admit(Some(b)).unwrap();
        assert_eq!(sockets.admit(Some(b)).unwrap_err(), NoPlace::Total);
        assert_eq!((sockets.total(), sockets.of_order(a), sockets.of_order(b)), (3, 2, 1));
        drop(first);
        assert_eq!((sockets.total(), sockets.of_order(a)), (2, 1));
        drop((second, third));
        assert_eq!((sockets.total(), sockets.of_order(a), sockets.of_order(b)), (0, 0, 0));
    }

    #[tokio::test]
    async fn the_last_place_given_back_ends_the_drain() {
        let sockets = Sockets::new(SocketCaps { total: 1, per_order: 1 });
        let place = sockets.admit(Some(order(1))).unwrap();
        let drained = tokio::spawn({
            let sockets = sockets.clone();
            async move { sockets.drained().await }
        });
        drop(place);
        drained.await.unwrap();
    }
}
