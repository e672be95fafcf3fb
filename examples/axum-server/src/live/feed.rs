//! An order's events as rendered frames: what every kind of live stream sends.

use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use order_engine_core::{Engine, OrderId, StoreError, SubscribeError, Subscription};

use crate::wire::frame::{OrderFacts, frame, to_json};

/// How long to wait before the store is read again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// One frame with the number of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) seq: u64,
    pub(crate) json: String,
}

/// Why a feed stops before its order is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedEnd {
    /// The client was too slow.
    Lagged,
    /// The engine shuts down.
    Closed,
}

/// The feed of one order.
#[derive(Debug)]
pub(crate) struct Feed {
    subscription: Subscription,
    facts: OrderFacts,
}

impl Feed {
    /// Follows an order after the event numbered `after`. Nothing for an unknown order.
    pub(crate) async fn open(engine: &Engine, id: OrderId, after: u64) -> Result<Option<Self>, StoreError> {
        let Some(order) = engine.order(id).await? else { return Ok(None) };
        // Events that are newer than the facts come with the subscription and are observed there.
        let facts = OrderFacts::new(&order);
        let subscription = engine.subscribe(id, after.min(order.seq)).await?;
        Ok(subscription.map(|subscription| Self { subscription, facts }))
    }

    /// The number of the order's last event when the feed began.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.subscription.last_seq()
    }

    /// The frames: they end after the terminal event, or with the reason why they end early.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Item, FeedEnd>> + Send {
        unfold(self, |mut feed| async move { feed.next().await.map(|item| (item, feed)) })
    }

    async fn next(&mut self) -> Option<Result<Item, FeedEnd>> {
        loop {
            match self.subscription.next().await? {
                Ok(record) => {
                    self.facts.observe(&record.event);
                    let json = to_json(&frame(&self.facts, &record));
                    return Some(Ok(Item { seq: record.seq, json }));
                }
                Err(SubscribeError::Lagged { .. }) => return Some(Err(FeedEnd::Lagged)),
                Err(SubscribeError::Store(error)) => {
                    tracing::warn!(%error, "a subscription could not read its order; it will try again");
                    tokio::time::sleep(STORE_RETRY).await;
                }
                Err(_) => return Some(Err(FeedEnd::Closed)),
            }
        }
    }
}
