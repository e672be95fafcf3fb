//! Live streams: WebSockets and server-sent events over an order's subscription.

pub(crate) mod feed;
pub(crate) mod frames;
pub(crate) mod known;
pub(crate) mod outbox;
pub(crate) mod session;
pub(crate) mod sockets;
