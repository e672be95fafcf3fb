#![doc = include_str!("../README.md")]

mod agreement;
#[cfg(feature = "config")]
pub mod config;
mod http;
mod keys;
mod rpc;

pub use agreement::{quorum_of, quorum_th};
pub use http::{Answer, Http};
pub use keys::{
    KeyError, RemoteSignerOptions, SignError, SignerClient, read_secret_file, read_secret_variable,
};
pub use rpc::{Call, ChainCheck, Dialect, Nodes, NodesOptions, RpcError};

/// The error behind another one.
pub type Source = Box<dyn std::error::Error + Send + Sync>;
