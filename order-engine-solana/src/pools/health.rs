//! How fresh the pools of a directory are.

use std::time::Duration;

use chrono::{DateTime, Utc};
use solana_pubkey::Pubkey;

use crate::pools::parts::PoolError;

/// How fresh the pools of a directory are.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DirectoryHealth {
    /// Each pool, in the order in which the host named them.
    pub pools: Vec<PoolStatus>,
    /// How many nodes tell of changes right now. Without any, pools are read at intervals only.
    pub connections: usize,
}

/// How fresh a pool is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The pool.
    pub pool: Pubkey,
    /// The slot of its snapshot; nothing if it has none, and is not traded.
    pub slot: Option<u64>,
    /// How long ago it was read for the last time, whether it had changed or not; nothing if it never was.
    pub age: Option<Duration>,
    /// Why the last reading gave no snapshot, if it gave none. Where nodes only disagree, the snapshot before stays.
    pub error: Option<PoolError>,
}

impl DirectoryHealth {
    /// Returns the age of the pool that was not read for the longest time; nothing if one was never read, or there is
    /// none.
    pub fn oldest(&self) -> Option<Duration> {
        let ages: Option<Vec<Duration>> = self.pools.iter().map(|pool| pool.age).collect();
        ages?.into_iter().max()
    }
}

/// What became of the last reading of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct LastReading {
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) error: Option<PoolError>,
}
