//! JSON-RPC to the nodes of a cluster.

mod client;
mod cluster;
mod error;
pub(crate) mod wire;

pub use cluster::{AccountsAtSlot, Cluster, ClusterOptions};
pub use error::RpcError;
