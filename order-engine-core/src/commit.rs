//! The one place where the engine writes orders and events.

pub(crate) mod committer;
pub(crate) mod store_clock;
