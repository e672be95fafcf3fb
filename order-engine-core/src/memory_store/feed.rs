//! The sequence of all events, by their places in the feed.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::domain::ids::OrderId;
use crate::ports::feed::FeedCursor;

/// All events in the order of their writing. Every write is under one lock, so each event has a position of
/// its own, and none appears behind a reader.
#[derive(Debug, Default)]
pub(super) struct FeedLog {
    entries: BTreeMap<u64, FeedEntry>,
    last_position: u64,
}

/// Which event has a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeedEntry {
    pub(super) order_id: OrderId,
    pub(super) seq: u64,
}

impl FeedLog {
    /// Gives an event the next position, and returns it.
    pub(super) fn add(&mut self, order_id: OrderId, seq: u64) -> u64 {
        self.last_position += 1;
        self.entries.insert(self.last_position, FeedEntry { order_id, seq });
        self.last_position
    }

    pub(super) fn remove(&mut self, position: u64) {
        self.entries.remove(&position);
    }

    pub(super) const fn end(&self) -> FeedCursor {
        FeedCursor::end_of(self.last_position)
    }

    /// Returns the events after a place, each with the place behind it.
    pub(super) fn after(&self, cursor: FeedCursor) -> impl Iterator<Item = (FeedCursor, FeedEntry)> {
        // The position of the cursor itself is read again: the cursor may stand before that event.
        let range = (Bound::Included(cursor.position), Bound::Unbounded);
        let placed = self.entries.range(range).map(|(position, entry)| {
            let FeedEntry { order_id, seq } = *entry;
            (FeedCursor { position: *position, order_id, seq }, *entry)
        });
        placed.filter(move |(place, _)| *place > cursor)
    }
}
