//! The seams: what the engine asks of stores, routers, venues, sinks and its surroundings.
//!
//! Each port is small and dyn-safe. Conveniences live on the [`Engine`](crate::Engine): those who
//! implement a port and those who call it have different needs.

mod outbox;
mod router;
mod runtime;
mod sink;
mod source;
mod store;
mod venue;

pub use outbox::*;
pub use router::*;
pub use runtime::*;
pub use sink::*;
pub use source::*;
pub use store::*;
pub use venue::*;
