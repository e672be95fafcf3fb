//! What an endpoint is being sent: some of its events, those of an order one after the other.

use order_engine_core::{FeedCursor, OrderId};

use crate::webhooks::message::Message;

/// Events that are delivered together. Several orders' events may be under way, and only one of an order.
#[derive(Debug)]
pub(crate) struct Round {
    /// Everything before the round is delivered.
    begin: FeedCursor,
    items: Vec<Item>,
    /// How far the feed was read: behind the items, and behind what nobody wants.
    end: FeedCursor,
}

#[derive(Debug)]
struct Item {
    order_id: OrderId,
    cursor: FeedCursor,
    message: Message,
    is_delivered: bool,
}

impl Round {
    /// Begins behind a place of the feed.
    pub(crate) const fn after(cursor: FeedCursor) -> Self {
        Self { begin: cursor, items: Vec::new(), end: cursor }
    }

    /// Adds an event to be delivered.
    pub(crate) fn push(&mut self, order_id: OrderId, cursor: FeedCursor, message: Message) {
        self.items.push(Item { order_id, cursor, message, is_delivered: false });
        self.end = cursor;
    }

    /// Passes an event that is not wanted.
    pub(crate) const fn skip(&mut self, cursor: FeedCursor) {
        self.end = cursor;
    }

    pub(crate) const fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the places in the round of what is not delivered: for each order a list of its own, in its order.
    pub(crate) fn lanes(&self) -> Vec<Vec<usize>> {
        let mut lanes: Vec<(OrderId, Vec<usize>)> = Vec::new();
        let undelivered = self.items.iter().enumerate().filter(|(_, item)| !item.is_delivered);
        for (place, item) in undelivered {
            match lanes.iter_mut().find(|(order_id, _)| *order_id == item.order_id) {
                Some((_, lane)) => lane.push(place),
                None => lanes.push((item.order_id, vec![place])),
            }
        }
        lanes.into_iter().map(|(_, lane)| lane).collect()
    }

    /// Returns how far the feed was read for the round.
    pub(crate) const fn end(&self) -> FeedCursor {
        self.end
    }

    pub(crate) fn message(&self, place: usize) -> &Message {
        &self.items[place].message
    }

    pub(crate) fn deliver(&mut self, place: usize) {
        self.items[place].is_delivered = true;
    }

    /// Returns whether nothing is left to deliver.
    pub(crate) fn is_done(&self) -> bool {
        self.items.iter().all(|item| item.is_delivered)
    }

    /// Returns the place of the feed up to which everything is delivered.
    pub(crate) fn cursor(&self) -> FeedCursor {
        let before = |left: usize| left.checked_sub(1).map_or(self.begin, |last| self.items[last].cursor);
        let left = self.items.iter().position(|item| !item.is_delivered);
        left.map_or(self.end, before)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    fn cursor(position: u64) -> FeedCursor {
        FeedCursor::end_of(position)
    }

    /// Returns a round with events of these orders at the positions from 1.
    fn round(orders: &[u8]) -> Round {
        let mut round = Round::after(cursor(0));
        for (order, position) in orders.iter().zip(1..) {
            let message =
                Message { id: position.to_string(), kind: String::new(), event: None, body: Bytes::new() };
            round.push(OrderId::from_bytes([*order; 16]), cursor(position), message);
        }
        round
    }

    #[test]
    fn an_orders_events_are_one_lane() {
        let mut round = round(&[1, 2, 1, 3, 2]);
        assert_eq!(round.lanes(), [vec![0, 2], vec![1, 4], vec![3]]);
        round.deliver(0);
        round.deliver(3);
        assert_eq!(round.lanes(), [vec![1, 4], vec![2]]);
    }

    #[test]
    fn the_cursor_stays_before_what_is_not_delivered() {
        let mut round = round(&[1, 2, 1]);
        round.skip(cursor(9));
        assert_eq!(round.cursor(), cursor(0));
        round.deliver(1);
        assert_eq!((round.cursor(), round.is_done()), (cursor(0), false));
        round.deliver(0);
        assert_eq!(round.cursor(), cursor(2));
        round.deliver(2);
        assert_eq!((round.cursor(), round.is_done()), (cursor(9), true), "and passes what nobody wants");
    }
}
