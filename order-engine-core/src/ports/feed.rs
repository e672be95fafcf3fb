//! The events of many orders in one sequence that can be resumed.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use crate::domain::ids::{OrderId, UserId};
use crate::domain::order::OrderUpdate;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::query::UndecodableOrder;

/// Reads the events of many orders in the order of their cursors.
///
/// # Contract
/// - Every committed event has one cursor, in every scope the same. Along the cursors an order's events stand in
///   their own order; between orders nothing is promised.
/// - **No gap.** Once a page has returned a cursor, no event appears at or before it any more, also while other
///   transactions are under way: an event that may yet have predecessors is not returned.
/// - Every event is returned some time after its commit. It may take as long as the transactions last that
///   were under way at the commit.
/// - The events of a purged order are gone.
/// - Calls end in bounded time, may be dropped, and fail as those of an [`OrderStore`](crate::OrderStore) do.
#[async_trait]
pub trait EventFeed: fmt::Debug + Send + Sync + 'static {
    /// Returns a cursor behind every event that could be read now. What is committed from now on comes after it.
    async fn feed_end(&self) -> Result<FeedCursor, StoreError>;

    /// Returns the events after a cursor, at most `limit` of them. The page may be empty although more follow.
    async fn read_feed(&self, request: &FeedRequest) -> Result<FeedPage, StoreError>;
}

/// Whose events a feed has. A store must never return more than was asked for, so a new scope has to break the
/// build of every store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FeedScope {
    /// Everybody's.
    All,
    /// Those of one user's orders.
    User(UserId),
}

impl FeedScope {
    /// Returns the only user of the scope; nothing for everybody's.
    pub const fn user(&self) -> Option<&UserId> {
        match self {
            Self::All => None,
            Self::User(user) => Some(user),
        }
    }
}

/// A place in a feed: behind one event, and before the next. It is valid for every scope, in every process on
/// the same store, and does not expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedCursor {
    /// Grows with the commits. Events may share it.
    pub position: u64,
    /// The order of the event.
    pub order_id: OrderId,
    /// The number of the event.
    pub seq: u64,
}

impl FeedCursor {
    /// The place before all events.
    pub const START: Self = Self { position: 0, order_id: OrderId::from_bytes([0; 16]), seq: 0 };

    /// Returns the place behind everything with this position.
    pub const fn end_of(position: u64) -> Self {
        Self { position, order_id: OrderId::from_bytes([u8::MAX; 16]), seq: u64::MAX }
    }
}

/// The text of a cursor. Callers keep it and hand it back; its form may change.
impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}-{:x}", self.position, self.order_id.as_uuid().simple(), self.seq)
    }
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor of a feed")]
pub struct InvalidCursor;

impl FromStr for FeedCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut parts = text.splitn(3, '-');
        let mut next = || parts.next().ok_or(InvalidCursor);
        let (position, order_id, seq) = (next()?, next()?, next()?);
        let number = |hex: &str| u64::from_str_radix(hex, 16).map_err(|_| InvalidCursor);
        Ok(Self {
            position: number(position)?,
            order_id: order_id.parse().map_err(|_| InvalidCursor)?,
            seq: number(seq)?,
        })
    }
}

/// Which events to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedRequest {
    /// Whose events.
    pub scope: FeedScope,
    /// Only those after this place.
    pub after: FeedCursor,
    /// How many at most.
    pub limit: u32,
}

/// A part of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedPage {
    /// The events, by their cursors.
    pub items: Vec<FeedItem>,
    /// Where the next page goes on. It may be behind the last item, if only others' events stand in between.
    pub next: FeedCursor,
    /// Whether nothing more could be read behind this page.
    pub is_last: bool,
}

/// An event of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedItem {
    /// The place behind the event.
    pub cursor: FeedCursor,
    /// The event with its order, or why it cannot be decoded.
    pub update: Result<OrderUpdate, UndecodableOrder>,
}

impl FeedRequest {
    /// Returns a request for the events of a scope after a place, at most `limit` of them.
    pub const fn new(scope: FeedScope, after: FeedCursor, limit: u32) -> Self {
        Self { scope, after, limit }
    }
}

impl FeedPage {
    /// Returns a page with these events, where the next one goes on, and whether nothing more could be read.
    pub const fn new(items: Vec<FeedItem>, next: FeedCursor, is_last: bool) -> Self {
        Self { items, next, is_last }
    }
}

impl FeedItem {
    /// Returns an event with the place behind it.
    pub const fn new(cursor: FeedCursor, update: Result<OrderUpdate, UndecodableOrder>) -> Self {
        Self { cursor, update }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        let cursor = FeedCursor { position: 4_711, order_id: OrderId::from_bytes([7; 16]), seq: 12 };
        for cursor in [cursor, FeedCursor::START, FeedCursor::end_of(u64::MAX)] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in
            ["", "1", "1-2-3", "x-00000000000000000000000000000000-1", "1-00000000000000000000000000000000-"]
        {
            assert_eq!(text.parse::<FeedCursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
