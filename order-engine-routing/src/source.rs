//! Sources of pool snapshots.

use std::fmt::Debug;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::pool::Pool;
use crate::pool_set::PoolSet;
use crate::trade::Moment;

/// Provides the newest snapshot of the pools.
///
/// # Contract
/// - `snapshot` is cheap and never waits for a writer.
/// - A snapshot never changes.
pub trait PoolSource: Debug + Send + Sync + 'static {
    /// Returns the newest snapshot.
    fn snapshot(&self) -> Arc<PoolSet>;
}

/// Holds the newest snapshot and replaces it in one step: readers never wait for a writer or for each
/// other, and never see half an update.
#[derive(Debug, Default)]
pub struct PoolFeed {
    newest: ArcSwap<PoolSet>,
}

impl PoolFeed {
    /// Returns a feed that starts with these pools.
    pub fn new(pools: PoolSet) -> Self {
        Self { newest: ArcSwap::from_pointee(pools) }
    }

    /// Replaces all pools.
    pub fn replace(&self, pools: PoolSet) {
        self.newest.store(Arc::new(pools));
    }

    /// Adds or replaces these pools as they were at a moment; all others keep their age. Concurrent
    /// writers lose none of each other's updates.
    pub fn update(&self, pools: &[Pool], at: Moment) {
        self.newest.rcu(|newest| newest.updated(pools.to_vec(), at));
    }

    /// Removes the pools with these ids.
    pub fn remove(&self, ids: &[&str]) {
        self.newest.rcu(|newest| newest.without(ids));
    }
}

impl PoolSource for PoolFeed {
    fn snapshot(&self) -> Arc<PoolSet> {
        self.newest.load_full()
    }
}
