//! JSON-RPC to the nodes of a chain.

mod cluster;
pub(crate) mod wire;

pub use cluster::{Cluster, ClusterOptions, Finality};
pub use order_engine_chain::RpcError;
