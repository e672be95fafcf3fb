#![doc = include_str!("../README.md")]

mod chain;
mod config;
mod dice;
mod error;
mod heights;
mod ledger;
mod market;
mod rate;
mod simulator;
mod tokens;
mod tx;
mod venue;

pub use config::SimConfig;
pub use error::SimError;
pub use ledger::Execution;
pub use rate::{InvalidRate, Rate};
pub use simulator::Simulator;
pub use tokens::default_tokens;
