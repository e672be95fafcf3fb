//! Sources of pool snapshots.

use std::fmt::Debug;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::curve::Curve;
use crate::error::InvalidPool;
use crate::footprint::Footprint;
use crate::pool::Pool;
use crate::pool_set::{Entry, PoolSet};
use crate::reading::Reading;

const UNKNOWN_POOL: InvalidPool = InvalidPool { field: "id", reason: "must be that of a known pool" };

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
///
/// Pools only go forward: an update that was read before what the feed knows changes nothing.
#[derive(Debug, Default)]
pub struct PoolFeed {
    newest: ArcSwap<PoolSet>,
}

/// What became of an update.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateReport {
    /// How many pools were added or replaced.
    pub applied: usize,
    /// How many were left as they are, because the feed knows a newer reading.
    pub outdated: usize,
}

impl PoolFeed {
    /// Returns a feed that starts with these pools.
    pub fn new(pools: PoolSet) -> Self {
        Self { newest: ArcSwap::from_pointee(pools) }
    }

    /// Replaces all pools. A pool of the old set stays if the new set has an older reading of it.
    pub fn replace(&self, pools: &PoolSet) {
        self.newest.rcu(|newest| pools.not_before(newest));
    }

    /// Adds or replaces these pools, all in one step; all others keep their age. Concurrent writers lose none of each
    /// other's updates.
    pub fn update(&self, pools: &[Pool], reading: Reading) -> UpdateReport {
        let entry = |pool: &Pool| Arc::new(Entry::new(pool.clone(), Some(reading)));
        let entries: Vec<Arc<Entry>> = pools.iter().map(entry).collect();
        let mut report = UpdateReport::default();
        self.newest.rcu(|newest| {
            let mut set = PoolSet::clone(newest);
            let applied = entries.iter().filter(|entry| set.insert(Arc::clone(entry))).count();
            report = UpdateReport { applied, outdated: entries.len() - applied };
            set
        });
        report
    }

    /// Replaces the curve of a pool by what `change` makes of the known one, as after a change of its price:
    /// [`ConstantProduct::with_reserves`](crate::ConstantProduct::with_reserves),
    /// [`ConcentratedLiquidity::at_price`](crate::ConcentratedLiquidity::at_price) and
    /// [`Dlmm::with_bins`](crate::Dlmm::with_bins) compute no tick or bin again.
    ///
    /// # Errors
    /// If there is no such pool, or `change` fails.
    pub fn revise(
        &self,
        id: &str,
        reading: Reading,
        change: impl Fn(&Curve) -> Result<Curve, InvalidPool>,
    ) -> Result<UpdateReport, InvalidPool> {
        let known = self.newest.load();
        let pool = known.get(id).ok_or(UNKNOWN_POOL)?;
        let pool = pool.with_curve(change(&pool.curve)?);
        Ok(self.update(std::slice::from_ref(&pool), reading))
    }

    /// Says at which slot the chain is, where no pool has changed: from it the age in slots is counted, and pools open at
    /// it.
    pub fn advance_to(&self, slot: u64) {
        self.newest.rcu(|newest| newest.at_slot(slot));
    }

    /// Says what a leg through a pool takes of a transaction, for instance what the last swaps have taken. It holds for all
    /// later updates of the pool; without it, [`Footprint::of_curve`] counts.
    ///
    /// # Errors
    /// If there is no such pool.
    pub fn set_footprint(&self, id: &str, footprint: Footprint) -> Result<(), InvalidPool> {
        self.newest.load().get(id).ok_or(UNKNOWN_POOL)?;
        self.newest.rcu(|newest| newest.with_footprint(id, footprint));
        Ok(())
    }

    /// Removes the pools with these ids. An update that was read before does not bring them back.
    pub fn remove(&self, ids: &[&str]) {
        self.newest.rcu(|newest| newest.without(ids));
    }
}

impl PoolSource for PoolFeed {
    fn snapshot(&self) -> Arc<PoolSet> {
        self.newest.load_full()
    }
}
