#![doc = include_str!("../README.md")]

mod base58;
mod chain;
mod chance;
mod config;
mod error;
mod execution;
#[cfg(feature = "explore")]
pub mod explore;
mod faults;
mod heights;
mod ledger;
mod node;
mod noise;
mod pace;
mod plan;
mod pools;
mod rate;
mod router;
#[cfg(any(feature = "rpc-client", feature = "rpc-server"))]
pub mod rpc;
mod simulator;
mod swap;
mod tokens;
mod tx;
mod venue;

pub use config::SimConfig;
pub use error::SimError;
pub use execution::Execution;
pub use faults::FaultConfig;
pub use ledger::read_ledger;
pub use rate::{InvalidRate, Rate};
pub use simulator::Simulator;
pub use tokens::default_tokens;
