//! JSON-RPC to the nodes of a chain.

mod client;
mod error;
mod nodes;
mod options;

pub use client::{Call, Dialect};
pub use error::RpcError;
pub use nodes::{ChainCheck, Nodes};
pub use options::NodesOptions;
