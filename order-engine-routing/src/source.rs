//! Where pools come from.

mod feed;
mod graph;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

pub use self::feed::PoolFeed;
pub(crate) use self::graph::{Edge, Graph};
use crate::ceiling::Ceiling;
use crate::pool::Pool;
use crate::trade::{Direction, Moment};

/// Pools as they were at one moment, or each at its own.
///
/// A set never changes. It knows which tokens its pools connect, so finding the pools of a pair
/// takes two look-ups, however many there are.
#[derive(Clone, Debug, Default)]
pub struct PoolSet {
    pools: Vec<Arc<Pool>>,
    taken_at: Vec<Option<Moment>>,
    /// By pool and direction: prices that no trade betters.
    ceilings: Vec<[Ceiling; 2]>,
    graph: Arc<Graph>,
}

impl PoolSet {
    /// A set of these pools, which never grow stale. Of several with one id the last counts.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self::default().with(pools, None)
    }

    /// A set of these pools as they were at a moment. Of several with one id the last counts.
    pub fn taken_at(pools: Vec<Pool>, at: Moment) -> Self {
        Self::default().with(pools, Some(at))
    }

    /// The set after these pools were seen at a moment: they replace those with their ids or join
    /// them, and all others stay as old as they are.
    #[must_use]
    pub fn updated(&self, pools: Vec<Pool>, at: Moment) -> Self {
        self.with(pools, Some(at))
    }

    /// The set without the pools with these ids.
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

    /// All pools.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// The exchanges of the pools, each once, in the order of their first pool.
    pub fn dexes(&self) -> &[String] {
        self.graph.dexes()
    }

    pub(crate) fn pool(&self, edge: Edge) -> &Pool {
        &self.pools[edge.pool]
    }

    /// A price that no trade with a pool betters.
    pub(crate) fn ceiling(&self, edge: Edge) -> Ceiling {
        let [a_to_b, b_to_a] = self.ceilings[edge.pool];
        edge.direction.orient(a_to_b, b_to_a).0
    }

    /// How old the snapshot of a pool is, if anybody knows.
    pub(crate) fn age_s(&self, pool: usize, now: Moment) -> Option<u64> {
        self.taken_at[pool].map(|at| now.unix_seconds().saturating_sub(at.unix_seconds()))
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
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
