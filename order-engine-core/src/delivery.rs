//! How committed events reach subscribers, sinks and other processes.

pub mod fanout;
pub(crate) mod feed;
pub(crate) mod follower;
pub(crate) mod heads;
pub mod hints;
pub(crate) mod hub;
pub(crate) mod outbox_relay;
pub(crate) mod publisher;
pub(crate) mod recent;
pub(crate) mod sinks;
pub(crate) mod subscription;
pub(crate) mod wakers;
