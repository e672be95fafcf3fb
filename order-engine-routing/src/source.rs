//! Where pools come from.

use std::fmt::Debug;
use std::sync::Arc;

use crate::pool::Pool;

/// Pools as they were at one moment.
#[derive(Clone, Debug, Default)]
pub struct PoolSet {
    pools: Vec<Pool>,
}

impl PoolSet {
    /// A set of these pools.
    pub const fn new(pools: Vec<Pool>) -> Self {
        Self { pools }
    }

    /// All pools.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The exchanges of the pools, each once, in the order of their first pool.
    pub fn dexes(&self) -> Vec<&str> {
        let mut dexes: Vec<&str> = Vec::new();
        for pool in &self.pools {
            if !dexes.contains(&pool.dex.as_str()) {
                dexes.push(&pool.dex);
            }
        }
        dexes
    }
}

/// Gives the newest snapshot of the pools.
///
/// # Contract
/// - Asking is cheap and never waits: whoever watches the pools swaps the snapshot meanwhile.
/// - A snapshot never changes.
pub trait PoolSource: Debug + Send + Sync + 'static {
    /// The newest snapshot.
    fn snapshot(&self) -> Arc<PoolSet>;
}
