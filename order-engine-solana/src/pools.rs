//! Pools of exchanges, from the bytes of their accounts.

mod directory;
mod layout;
mod meteora_dlmm;
mod mint;
mod orca_whirlpool;
mod parts;
mod raydium_clmm;
mod raydium_cpmm;
mod raydium_v4;
mod room;

pub use directory::{PoolDirectory, ReadReport, UnreadPool};
pub use parts::PoolError;
