//! Sinks that come with the engine.

mod channel;
mod log;

pub use channel::ChannelSink;
pub use log::TracingSink;
