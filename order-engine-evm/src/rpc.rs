//! JSON-RPC to the nodes of a chain.

mod client;
mod cluster;
mod error;
pub(crate) mod wire;

pub use cluster::{Cluster, ClusterOptions, Finality};
pub use error::RpcError;
