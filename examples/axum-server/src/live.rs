//! Live streams: the events of an order, or of all orders of a user, over WebSocket or as server-sent events.

pub(crate) mod all_orders;
pub(crate) mod event_stream;
pub(crate) mod feed;
pub(crate) mod frame_gate;
pub(crate) mod frames;
pub(crate) mod known;
pub(crate) mod send_buffer;
pub(crate) mod session;
pub(crate) mod sockets;
