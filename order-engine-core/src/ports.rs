//! The ports: what the engine needs of stores, routers, venues, sinks and its surroundings.
//!
//! Each port is small and dyn-safe. Conveniences live on the [`Engine`](crate::Engine): implementers and
//! callers have different needs.

pub(crate) mod controls;
pub(crate) mod feed;
pub(crate) mod into_port;
pub(crate) mod order_store;
pub(crate) mod outbox;
pub(crate) mod router;
pub(crate) mod runtime;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod venue;
