//! What comes of a stream.

use crate::event::Event;

/// What comes of a stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// The next event.
    Event(Box<Event>),
    /// The connection broke or could not be made again; the stream tries again behind its last event.
    Interrupted {
        /// What happened.
        reason: String,
    },
    /// A message of the operator to all clients.
    Notice {
        /// The message.
        message: String,
    },
    /// An event that the server cannot read, most likely because a newer one wrote it. It is in the stream of all orders
    /// only.
    Unreadable {
        /// The order of the event.
        order_id: String,
    },
}
