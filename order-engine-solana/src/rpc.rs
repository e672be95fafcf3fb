//! JSON-RPC to the nodes of a cluster.

mod client;
mod cluster;
mod error;
mod notices;
pub(crate) mod wire;

pub use cluster::{AccountsAtSlot, Cluster, ClusterOptions};
pub use error::RpcError;
pub(crate) use notices::{Notice, Notices};
