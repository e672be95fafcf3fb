//! Pools of Uniswap and its forks.

mod deployment;
mod directory;
mod error;
mod kind;
mod paths;
mod router_call;
mod ticks;

pub use deployment::{Deployment, SwapRouter};
pub use directory::{PoolDirectory, ReadReport, UnreadPool};
pub use error::PoolError;
