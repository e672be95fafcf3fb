//! The events of one order.

use crate::client::Client;
use crate::error::Error;
use crate::event::Event;
use crate::follow::control::Control;
use crate::follow::follower::{Follower, Place, Taken};
use crate::follow::item::Item;
use crate::path::segment;
use crate::sse::Message;

/// The events of one order, each once and in order, up to its end.
///
/// When its connection breaks, or is silent for 45 seconds, the stream connects again and goes on behind its last event, for as long as it
/// is asked for the next one. A future of it may be dropped and asked for again: no event is lost.
#[derive(Debug)]
pub struct OrderEvents(Follower<Order>);

impl Client {
    /// Follows an order: its events behind the one of this number (0 for all), and then those that happen.
    ///
    /// # Errors
    ///
    /// If the server refuses, or cannot be reached for as long as a request is repeated.
    pub async fn follow(&self, order_id: &str, after: u64) -> Result<OrderEvents, Error> {
        let order = Order { order_id: order_id.to_owned(), last_seq: after };
        Ok(OrderEvents(Follower::open(self, order).await?))
    }
}

impl OrderEvents {
    /// Returns the next event, and nothing behind the last one.
    ///
    /// # Errors
    ///
    /// If the server refuses: the credential was revoked, say. The stream has ended then.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            match self.next_item().await? {
                Ok(Item::Event(event)) => return Some(Ok(*event)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Returns the next event like [`next`](Self::next), or what happened to the stream meanwhile.
    pub async fn next_item(&mut self) -> Option<Result<Item, Error>> {
        self.0.next().await
    }

    /// Returns the number of the last event: a later stream behind it goes on where this one is.
    pub const fn last_seq(&self) -> u64 {
        self.0.place.last_seq
    }
}

/// How far the events of an order have been read.
#[derive(Debug)]
struct Order {
    order_id: String,
    last_seq: u64,
}

impl Place for Order {
    fn path(&self) -> String {
        format!("/api/orders/{}/events?after={}", segment(&self.order_id), self.last_seq)
    }

    fn last_id(&self) -> Option<String> {
        Some(self.last_seq.to_string())
    }

    fn take(&mut self, message: Message) -> Result<Taken, Error> {
        if message.id.is_none() {
            return Control::read(&message.data).map(Control::notice);
        }
        let event = Event::read(message.data)?;
        // What was there already.
        if event.seq <= self.last_seq {
            return Ok(Taken::Nothing);
        }
        if event.seq > self.last_seq + 1 {
            return Ok(Taken::Gap(format!("event {} came behind event {}", event.seq, self.last_seq)));
        }
        self.last_seq = event.seq;
        let is_last = event.status.is_terminal();
        Ok(Taken::Event { item: Item::Event(Box::new(event)), is_last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(order: &mut Order, seq: u64, status: &str) -> Taken {
        let data = format!(
            r#"{{"type":"{status}","status":"{status}","orderId":"x","seq":{seq},"progress":0,"message":"","timestamp":""}}"#
        );
        order.take(Message { id: Some(seq.to_string()), data }).unwrap()
    }

    #[test]
    fn events_are_taken_once_and_in_order() {
        let mut order = Order { order_id: "x".into(), last_seq: 2 };
        assert!(matches!(take(&mut order, 2, "routing"), Taken::Nothing));
        assert!(matches!(take(&mut order, 4, "building"), Taken::Gap(_)));
        assert!(matches!(take(&mut order, 3, "building"), Taken::Event { is_last: false, .. }));
        assert!(matches!(take(&mut order, 4, "failed"), Taken::Event { is_last: true, .. }));
        assert_eq!((order.last_seq, order.path().as_str()), (4, "/api/orders/x/events?after=4"));
    }
}
