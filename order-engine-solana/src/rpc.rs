//! JSON-RPC to the nodes of a cluster.

mod cluster;
mod notices;
pub(crate) mod wire;

pub use cluster::{AccountsAtSlot, Cluster};
pub(crate) use notices::{Notice, Notices};
pub use order_engine_chain::{NodesOptions as ClusterOptions, RpcError};
