//! Live streams: an order's subscription over WebSocket or as server-sent events.

pub(crate) mod event_stream;
pub(crate) mod feed;
pub(crate) mod frame_gate;
pub(crate) mod frames;
pub(crate) mod known;
pub(crate) mod send_buffer;
pub(crate) mod session;
pub(crate) mod sockets;
