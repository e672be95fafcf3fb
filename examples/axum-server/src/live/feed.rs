//! An order's events as rendered frames, which every kind of live stream sends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use order_engine_core::{Engine, FeedCursor, OrderId, SubscribeError, Subscription};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::live::frames::Frames;
use crate::live::known::KnownOrders;
use crate::store_watch::{Part, StoreFailure, StoreWatch};
use crate::wire::frame::{frame, to_json};
use crate::wire::quotes::Decimals;

/// How long a feed waits before it reads the store again after a failure.
pub(crate) const STORE_RETRY: Duration = Duration::from_secs(1);

/// A frame with the number of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) seq: u64,
    /// The place behind the event, among the events of many orders.
    pub(crate) cursor: Option<FeedCursor>,
    pub(crate) frame: Utf8Bytes,
}

impl Item {
    /// Returns what a client hands back to resume behind the item.
    pub(crate) fn id(&self) -> String {
        self.cursor.map_or_else(|| self.seq.to_string(), |cursor| cursor.to_string())
    }
}

/// Why a feed ends before its order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedEnd {
    /// The client did not keep up.
    Lagged,
    /// The engine shuts down.
    Closed,
}

/// The feed of one order.
#[derive(Debug)]
pub(crate) struct Feed {
    subscription: Subscription,
    decimals: Decimals,
    frames: Arc<Frames>,
    store: Arc<StoreWatch>,
}

impl Feed {
    /// Returns the feed of an order after the event numbered `after`, or `None` if there is no such order.
    pub(crate) async fn open(
        engine: &Engine,
        known: &KnownOrders,
        store: &Arc<StoreWatch>,
        id: OrderId,
        after: u64,
        frames: Arc<Frames>,
    ) -> Result<Option<Self>, StoreFailure> {
        let opening = async {
            let (decimals, after) = match known.decimals(id).filter(|_| after == 0) {
                // What never changes is known, so the order need not be read first.
                Some(decimals) => (decimals, 0),
                None => {
                    let Some(order) = engine.order(id).await? else { return Ok(None) };
                    (Decimals::of(&order.request), after.min(order.seq))
                }
            };
            let subscription = engine.subscribe(id, after).await?;
            Ok(subscription.map(|subscription| (subscription, decimals)))
        };
        let opened = store.in_time(Part::Reads, opening).await?;
        Ok(opened.map(|(subscription, decimals)| Self {
            subscription,
            decimals,
            frames,
            store: Arc::clone(store),
        }))
    }

    /// Returns the number of the order's last event at the time when the feed was opened.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.subscription.last_seq()
    }

    /// Returns the frames. They end after the terminal event, or with the reason why they end earlier.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Item, FeedEnd>> + Send {
        unfold(self, |mut feed| async move { feed.next().await.map(|item| (item, feed)) })
    }

    async fn next(&mut self) -> Option<Result<Item, FeedEnd>> {
        loop {
            match self.subscription.next().await? {
                Ok(record) => {
                    let render = || to_json(&frame(self.decimals, &record));
                    let frame = self.frames.get_or_render(record.seq, render);
                    return Some(Ok(Item { seq: record.seq, cursor: None, frame }));
                }
                Err(SubscribeError::Lagged { .. }) => return Some(Err(FeedEnd::Lagged)),
                Err(SubscribeError::Store(error)) => {
                    self.store.failed(Part::Reads, &error);
                    tokio::time::sleep(STORE_RETRY).await;
                }
                Err(_) => return Some(Err(FeedEnd::Closed)),
            }
        }
    }
}
