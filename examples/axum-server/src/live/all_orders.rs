//! The events of all orders of a user, or of everybody, as rendered frames.

use std::sync::Arc;

use chrono::Utc;
use futures_util::Stream;
use futures_util::stream::unfold;
use order_engine_core::telemetry::chain;
use order_engine_core::{Engine, Feed, FeedCursor, FeedError, FeedEvent, FeedScope};

use crate::live::feed::{FeedEnd, Item, STORE_RETRY};
use crate::store_watch::{Part, StoreFailure, StoreWatch};
use crate::wire::frame::{ControlFrame, PlacedFrame, frame, to_json};
use crate::wire::quotes::Decimals;

/// The feed of many orders.
#[derive(Debug)]
pub(crate) struct AllOrders {
    feed: Feed,
    store: Arc<StoreWatch>,
}

impl AllOrders {
    /// Returns the events behind a place, or without one those that commit from now on.
    pub(crate) async fn open(
        engine: &Engine,
        store: &Arc<StoreWatch>,
        scope: FeedScope,
        after: Option<FeedCursor>,
    ) -> Result<Self, StoreFailure> {
        let feed = store.in_time(Part::Reads, engine.feed(scope, after)).await?;
        Ok(Self { feed, store: Arc::clone(store) })
    }

    /// Returns the place behind which the feed begins.
    pub(crate) const fn cursor(&self) -> FeedCursor {
        self.feed.cursor()
    }

    /// Returns the frames. They end only with the engine, and no client is too slow for them: what it has not taken yet is read from
    /// the store again.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Item, FeedEnd>> + Send {
        unfold(self, |mut feed| async move { feed.next().await.map(|item| (item, feed)) })
    }

    async fn next(&mut self) -> Option<Result<Item, FeedEnd>> {
        loop {
            match self.feed.next().await? {
                Ok(event) => return Some(Ok(item(&event))),
                Err(FeedError::Undecodable { cursor, error }) => {
                    tracing::error!(order.id = %error.order_id, error = %chain(&error), "an event of a stream is unreadable");
                    let frame = to_json(&ControlFrame::unreadable(error.order_id, cursor, Utc::now())).into();
                    return Some(Ok(Item { seq: cursor.seq, cursor: Some(cursor), frame }));
                }
                Err(FeedError::Store(error)) => {
                    self.store.failed(Part::Reads, &error);
                    tokio::time::sleep(STORE_RETRY).await;
                }
                Err(_) => return Some(Err(FeedEnd::Closed)),
            }
        }
    }
}

fn item(FeedEvent { cursor, order, event, .. }: &FeedEvent) -> Item {
    let frame = frame(Decimals::of(&order.request), event);
    let json = to_json(&PlacedFrame { frame, cursor: cursor.to_string() });
    Item { seq: event.seq, cursor: Some(*cursor), frame: json.into() }
}
