//! The events of all orders of the caller.

use crate::client::Client;
use crate::error::Error;
use crate::event::Event;
use crate::follow::control::Control;
use crate::follow::follower::{Follower, Place, Taken};
use crate::follow::item::Item;
use crate::path::segment;
use crate::sse::Message;

/// Where a stream of all orders begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// With what happens from now on.
    Now,
    /// With the first event that the server has.
    Start,
    /// Behind the event with this cursor.
    Cursor(String),
}

/// The events of all orders of the caller, each once. Those of an order come in their order; between orders nothing is promised.
///
/// It connects again like [`OrderEvents`](crate::OrderEvents), behind its [`cursor`](Self::cursor), and has no end. A program that stores the
/// cursor with what it did misses nothing while it does not run.
#[derive(Debug)]
pub struct AllEvents(Follower<Orders>);

impl Client {
    /// Follows all orders of the caller. At a server without authentication they are those of a user, or of everybody.
    ///
    /// Once this returns, no event is missed.
    ///
    /// # Errors
    ///
    /// If the server refuses, or cannot be reached for as long as a request is repeated.
    pub async fn follow_all(&self, after: After, user_id: Option<&str>) -> Result<AllEvents, Error> {
        let path = match user_id {
            Some(user) => format!("/api/stream?userId={}", segment(user)),
            None => "/api/stream".to_owned(),
        };
        let cursor = match after {
            After::Now => None,
            After::Start => Some("start".to_owned()),
            After::Cursor(cursor) => Some(cursor),
        };
        Ok(AllEvents(Follower::open(self, Orders { path, cursor }).await?))
    }
}

impl AllEvents {
    /// Returns the next event. There is always one to wait for, until the server refuses.
    ///
    /// # Errors
    ///
    /// If the server refuses, which ends the stream; and for an event that the server cannot read, behind which the stream
    /// goes on.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            match self.next_item().await? {
                Ok(Item::Event(event)) => return Some(Ok(*event)),
                Ok(Item::Unreadable { order_id }) => {
                    let message = format!("the server cannot read an event of order {order_id}");
                    return Some(Err(Error::Unexpected(message)));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Returns the next event like [`next`](Self::next), or what happened to the stream meanwhile.
    pub async fn next_item(&mut self) -> Option<Result<Item, Error>> {
        self.0.next().await
    }

    /// Returns the place behind the last event: a later stream behind it goes on where this one is.
    pub fn cursor(&self) -> &str {
        self.0.place.cursor.as_deref().unwrap_or_default()
    }
}

/// How far the events of all orders have been read.
#[derive(Debug)]
struct Orders {
    path: String,
    /// Without one the server says where the stream begins, before anything can be missed.
    cursor: Option<String>,
}

impl Place for Orders {
    fn path(&self) -> String {
        self.path.clone()
    }

    fn last_id(&self) -> Option<String> {
        self.cursor.clone()
    }

    fn take(&mut self, message: Message) -> Result<Taken, Error> {
        let control = Control::read(&message.data)?;
        let Some(id) = message.id else {
            if self.cursor.is_none() {
                self.cursor.clone_from(&control.cursor);
            }
            return Ok(control.notice());
        };
        let item = match (control.r#type.as_str(), control.order_id) {
            ("unreadable", Some(order_id)) => Item::Unreadable { order_id },
            _ => Item::Event(Box::new(Event::read(message.data)?)),
        };
        self.cursor = Some(id);
        Ok(Taken::Event { item, is_last: false })
    }
}
