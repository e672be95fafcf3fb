//! Pools that change while they are read.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{PoolSet, PoolSource};
use crate::pool::Pool;
use crate::trade::Moment;

/// Holds the newest snapshot and swaps it in one step: readers never wait for a writer, nor for
/// each other, and never see half an update.
#[derive(Debug, Default)]
pub struct PoolFeed {
    newest: ArcSwap<PoolSet>,
}

impl PoolFeed {
    /// A feed that begins with these pools.
    pub fn new(pools: PoolSet) -> Self {
        Self { newest: ArcSwap::from_pointee(pools) }
    }

    /// Replaces everything.
    pub fn replace(&self, pools: PoolSet) {
        self.newest.store(Arc::new(pools));
    }

    /// Takes in pools as they were seen at a moment; all others stay as old as they are. Writers
    /// at the same time lose nothing of each other.
    pub fn update(&self, pools: &[Pool], at: Moment) {
        self.newest.rcu(|newest| newest.updated(pools.to_vec(), at));
    }

    /// Forgets pools.
    pub fn remove(&self, ids: &[&str]) {
        self.newest.rcu(|newest| newest.without(ids));
    }
}

impl PoolSource for PoolFeed {
    fn snapshot(&self) -> Arc<PoolSet> {
        self.newest.load_full()
    }
}
