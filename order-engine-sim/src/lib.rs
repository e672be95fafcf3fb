#![doc = include_str!("../README.md")]

mod arrival;
mod audit;
mod base58;
mod blocks;
mod chain;
mod chance;
mod config;
mod error;
mod execution;
#[cfg(feature = "explore")]
pub mod explore;
mod faults;
mod fees;
mod flights;
mod heights;
mod inclusion;
mod ledger;
mod market;
mod mempool;
mod node;
mod noise;
mod nonce_chain;
mod nonce_use;
mod opaque;
mod pace;
mod plan;
mod pools;
mod rate;
mod router;
#[cfg(any(feature = "rpc-client", feature = "rpc-server"))]
pub mod rpc;
mod rules;
mod signing;
mod simulator;
mod swap;
mod tokens;
mod tx;
mod venue;
mod wallets;

pub use audit::{AuditError, audit};
pub use config::{NonceConfig, NonceKind, SimConfig};
pub use error::SimError;
pub use execution::Execution;
pub use faults::FaultConfig;
pub use ledger::{read_ledger, read_nonce_uses};
pub use nonce_use::{NonceUse, UsedBy};
pub use rate::{InvalidRate, Rate};
pub use simulator::Simulator;
pub use tokens::default_tokens;
