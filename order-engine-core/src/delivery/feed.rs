//! A feed: the events of many orders, from any point on, without a gap.

pub(crate) mod tail;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use crate::delivery::feed::tail::{FeedListener, FeedTail, TailEnd};
use crate::domain::event::EventRecord;
use crate::domain::order::{OrderHead, OrderUpdate};
use crate::ports::feed::{FeedCursor, FeedItem, FeedRequest, FeedScope};
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::query::UndecodableOrder;
use crate::resilience::supervisor::Supervisor;

/// How many events are read at once.
const PAGE: u32 = 256;

/// The events of many orders, from a cursor on and then live, in order for each order, without gap or
/// duplicate. Made by [`Engine::feed`](crate::Engine::feed).
///
/// A slow consumer loses nothing: what no longer fits into memory is read from the store again.
#[derive(Debug)]
pub struct Feed {
    store: Arc<dyn OrderStore>,
    supervisor: Arc<Supervisor>,
    tail: Arc<FeedTail>,
    scope: FeedScope,
    cursor: FeedCursor,
    /// Items read from the store and not yet returned.
    read: VecDeque<FeedItem>,
    /// Where to read on, once what was read is returned.
    read_to: FeedCursor,
    /// Live items; none while the feed catches up.
    live: Option<FeedListener>,
    /// A listener that already listens while the feed reads what came before.
    joining: Option<FeedListener>,
    closed: bool,
}

/// An event of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedEvent {
    /// The place behind this event: where to resume.
    pub cursor: FeedCursor,
    /// What never changes of the order.
    pub order: OrderHead,
    /// What happened to it.
    pub event: Arc<EventRecord>,
}

/// Why a feed has no next event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// This program cannot decode an event, most likely because a newer one wrote it. The feed goes on behind
    /// it.
    #[error("an event of the feed cannot be decoded")]
    Undecodable {
        /// The place behind the event.
        cursor: FeedCursor,
        /// Which order's, and why.
        #[source]
        error: UndecodableOrder,
    },
    /// The store could not be read. The feed goes on; the next call tries again.
    #[error("the feed could not be read")]
    Store(#[from] StoreError),
    /// The engine shuts down; resume elsewhere or later.
    #[error("the engine shuts down; resume after {resume_after}")]
    Closed {
        /// The place behind the last event that was returned.
        resume_after: FeedCursor,
    },
}

impl Feed {
    pub(crate) fn new(
        store: Arc<dyn OrderStore>,
        supervisor: Arc<Supervisor>,
        tail: Arc<FeedTail>,
        scope: FeedScope,
        after: FeedCursor,
    ) -> Self {
        Self {
            store,
            supervisor,
            tail,
            scope,
            cursor: after,
            read: VecDeque::new(),
            read_to: after,
            live: None,
            joining: None,
            closed: false,
        }
    }

    /// Returns the place behind the last event that was returned: where to resume.
    pub const fn cursor(&self) -> FeedCursor {
        self.cursor
    }

    /// Waits for the next event. Returns nothing once the engine has closed and the error was returned.
    ///
    /// Safe to drop: no event is lost.
    ///
    /// # Errors
    /// [`FeedError::Closed`] ends the feed; the others do not.
    pub async fn next(&mut self) -> Option<Result<FeedEvent, FeedError>> {
        while !self.closed {
            if let Some(item) = self.read.pop_front() {
                return Some(self.take(item));
            }
            match &mut self.live {
                None => {
                    if let Err(error) = self.catch_up().await {
                        return Some(Err(error.into()));
                    }
                }
                Some(live) => match live.next().await {
                    Ok(item) if item.cursor > self.read_to => {
                        return Some(self.take(FeedItem::clone(&item)));
                    }
                    Ok(_) => {}
                    Err(TailEnd::Lagged) => self.live = None,
                    Err(TailEnd::Closed) => {
                        self.closed = true;
                        return Some(Err(FeedError::Closed { resume_after: self.cursor }));
                    }
                },
            }
        }
        None
    }

    /// Returns the feed as a stream.
    pub fn into_stream(self) -> BoxStream<'static, Result<FeedEvent, FeedError>> {
        stream::unfold(self, |mut feed| async move { Some((feed.next().await?, feed)) }).boxed()
    }

    fn take(&mut self, FeedItem { cursor, update }: FeedItem) -> Result<FeedEvent, FeedError> {
        self.cursor = cursor;
        self.read_to = self.read_to.max(cursor);
        match update {
            Ok(OrderUpdate { order, event, .. }) => Ok(FeedEvent { cursor, order, event }),
            Err(error) => Err(FeedError::Undecodable { cursor, error }),
        }
    }

    /// Reads the next page. The last page joins the live events, which are listened to since before it was
    /// read, so that nothing falls between the two.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.joining.is_none() {
            self.joining = Some(self.tail.listen(self.scope.clone()).await?);
        }
        let request = FeedRequest { scope: self.scope.clone(), after: self.read_to, limit: PAGE };
        let page = self.supervisor.store("store.read_feed", self.store.read_feed(&request)).await?;
        let joins_at = self.joining.as_ref().map(FeedListener::begins_after);
        let has_caught_up = page.is_last || joins_at.is_some_and(|begin| page.next >= begin);
        self.read_to = page.next;
        self.read.extend(page.items);
        if has_caught_up {
            self.live = self.joining.take();
        }
        Ok(())
    }
}
