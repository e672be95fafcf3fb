//! Following the events of many orders.

use std::sync::Arc;

use super::Engine;
use crate::delivery::feed::Feed;
use crate::ports::feed::{FeedCursor, FeedScope};
use crate::ports::order_store::error::StoreError;

impl Engine {
    /// Returns the events of a user's or of all orders behind a cursor, and then every further one as it
    /// commits, in whichever process. Without a cursor it begins with what commits from now on;
    /// [`FeedCursor::START`] begins with the oldest event.
    ///
    /// An order's events come in their order; between orders nothing is promised. The store is read once a
    /// process for all feeds that are live.
    pub async fn feed(&self, scope: FeedScope, after: Option<FeedCursor>) -> Result<Feed, StoreError> {
        let context = self.context();
        let after = match after {
            Some(after) => after,
            None => context.tasks.supervisor.store("store.feed_end", context.store.feed_end()).await?,
        };
        if context.tasks.shutdown.is_closing() {
            self.inner.feed_tail.close();
        }
        let (store, tail) = (Arc::clone(&context.store), Arc::clone(&self.inner.feed_tail));
        Ok(Feed::new(store, Arc::clone(&context.tasks.supervisor), tail, scope, after))
    }
}
