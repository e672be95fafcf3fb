//! Immutable snapshots of many pools.

mod graph;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::graph::{Edge, Graph};
use crate::pool::Pool;
use crate::price_ceiling::PriceCeiling;
use crate::trade::{Direction, Moment};

/// A snapshot of many pools, each as it was at its own moment.
///
/// A set never changes. It knows which tokens its pools connect, so it finds the pools of a pair with
/// two look-ups, whatever the number of pools.
#[derive(Clone, Debug, Default)]
pub struct PoolSet {
    pools: Vec<Arc<Pool>>,
    /// For each pool, the moment of its snapshot; `None` if it never grows stale.
    taken_at: Vec<Option<Moment>>,
    /// For each pool and direction, a price that no trade exceeds.
    ceilings: Vec<[PriceCeiling; 2]>,
    graph: Arc<Graph>,
}

impl PoolSet {
    /// Returns a set of these pools, which never grow stale. Of several pools with one id the last counts.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self::default().with(pools, None)
    }

    /// Returns a set of these pools as they were at a moment. Of several pools with one id the last counts.
    pub fn taken_at(pools: Vec<Pool>, at: Moment) -> Self {
        Self::default().with(pools, Some(at))
    }

    /// Returns the set with these pools added or replaced, as they were at a moment. All others keep their
    /// age.
    #[must_use]
    pub fn updated(&self, pools: Vec<Pool>, at: Moment) -> Self {
        self.with(pools, Some(at))
    }

    /// Returns the set without the pools with these ids.
    #[must_use]
    pub fn without(&self, ids: &[&str]) -> Self {
        let kept: Vec<usize> =
            (0..self.pools.len()).filter(|&pool| !ids.contains(&self.pools[pool].id.as_str())).collect();
        let pools: Vec<_> = kept.iter().map(|&pool| Arc::clone(&self.pools[pool])).collect();
        let taken_at = kept.iter().map(|&pool| self.taken_at[pool]).collect();
        let ceilings = kept.iter().map(|&pool| self.ceilings[pool]).collect();
        let graph = Arc::new(Graph::new(&pools));
        Self { pools, taken_at, ceilings, graph }
    }

    fn with(&self, seen: Vec<Pool>, at: Option<Moment>) -> Self {
        let Self { mut pools, mut taken_at, mut ceilings, .. } = self.clone();
        let mut positions: HashMap<String, usize> =
            pools.iter().enumerate().map(|(index, pool)| (pool.id.clone(), index)).collect();
        let mut is_rewired = false;
        for pool in seen {
            let ceiling = Direction::BOTH.map(|direction| pool.price_ceiling(direction));
            match positions.get(&pool.id) {
                Some(&index) => {
                    let known = &pools[index];
                    is_rewired |= (&known.token_a, &known.token_b, &known.dex)
                        != (&pool.token_a, &pool.token_b, &pool.dex);
                    (pools[index], taken_at[index], ceilings[index]) = (Arc::new(pool), at, ceiling);
                }
                None => {
                    is_rewired = true;
                    positions.insert(pool.id.clone(), pools.len());
                    pools.push(Arc::new(pool));
                    taken_at.push(at);
                    ceilings.push(ceiling);
                }
            }
        }
        let graph = if is_rewired { Arc::new(Graph::new(&pools)) } else { Arc::clone(&self.graph) };
        Self { pools, taken_at, ceilings, graph }
    }

    /// Returns all pools.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// Returns the exchanges of the pools, each once, in the order of their first pools.
    pub fn dexes(&self) -> &[String] {
        self.graph.dexes()
    }

    pub(crate) fn pool(&self, edge: Edge) -> &Pool {
        &self.pools[edge.pool]
    }

    /// Returns a price that no trade with a pool exceeds.
    pub(crate) fn price_ceiling(&self, edge: Edge) -> PriceCeiling {
        let [a_to_b, b_to_a] = self.ceilings[edge.pool];
        edge.direction.orient(a_to_b, b_to_a).0
    }

    /// Returns the age of a pool's snapshot in whole seconds, or `None` if it never grows stale.
    pub(crate) fn age(&self, pool: usize, now: Moment) -> Option<Duration> {
        let age_s = |at: Moment| now.unix_seconds().saturating_sub(at.unix_seconds());
        self.taken_at[pool].map(|at| Duration::from_secs(age_s(at)))
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
}
