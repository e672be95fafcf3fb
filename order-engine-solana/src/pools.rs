//! Pools of exchanges, from the bytes of their accounts.

mod directory;
mod health;
mod layout;
mod list;
mod meteora_dlmm;
mod mint;
mod orca_whirlpool;
mod parts;
mod raydium_clmm;
mod raydium_cpmm;
mod raydium_v4;
mod reading;
mod room;
mod watch;

pub use directory::{PoolDirectory, ReadReport, UnreadPool};
pub use health::{DirectoryHealth, PoolStatus};
pub use list::{PoolListError, read_pool_list};
pub use parts::PoolError;
pub use watch::WatchOptions;
