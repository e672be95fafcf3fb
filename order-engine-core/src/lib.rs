#![doc = include_str!("../README.md")]

pub mod amount;
pub mod codec;
mod event;
mod failure;
mod ids;
mod order;
mod port;
mod route;
mod state;
mod transaction;

pub use amount::{Amount, AmountError};
pub use event::*;
pub use failure::*;
pub use ids::*;
pub use order::*;
pub use port::*;
pub use route::*;
pub use state::*;
pub use transaction::*;
