//! Routes of Jupiter's swap API. Written from its public documentation; never run against the live service.

mod api;
mod instruction;
mod router;

pub use api::JupiterOptions;
pub use router::JupiterRouter;
