//! Where pools come from.

mod feed;
mod graph;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

pub use self::feed::PoolFeed;
pub(crate) use self::graph::{Edge, Graph};
use crate::pool::Pool;
use crate::trade::Moment;

/// Pools as they were at one moment, or each at its own.
///
/// A set never changes. It knows which tokens its pools connect, so finding the pools of a pair
/// takes two look-ups, however many there are.
#[derive(Clone, Debug, Default)]
pub struct PoolSet {
    pools: Vec<Arc<Pool>>,
    taken_at: Vec<Option<Moment>>,
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
        let kept = self.pools.iter().zip(&self.taken_at).filter(|(pool, _)| !ids.contains(&pool.id.as_str()));
        let (pools, taken_at): (Vec<_>, Vec<_>) = kept.map(|(pool, at)| (Arc::clone(pool), *at)).unzip();
        let graph = Arc::new(Graph::new(&pools));
        Self { pools, taken_at, graph }
    }

    fn with(&self, seen: Vec<Pool>, at: Option<Moment>) -> Self {
        let (mut pools, mut taken_at) = (self.pools.clone(), self.taken_at.clone());
        let mut positions: HashMap<String, usize> =
            pools.iter().enumerate().map(|(index, pool)| (pool.id.clone(), index)).collect();
        let mut is_rewired = false;
        for pool in seen {
            match positions.get(&pool.id) {
                Some(&index) => {
                    let known = &pools[index];
                    is_rewired |= (&known.token_a, &known.token_b, &known.dex)
                        != (&pool.token_a, &pool.token_b, &pool.dex);
                    (pools[index], taken_at[index]) = (Arc::new(pool), at);
                }
                None => {
                    is_rewired = true;
                    positions.insert(pool.id.clone(), pools.len());
                    pools.push(Arc::new(pool));
                    taken_at.push(at);
                }
            }
        }
        let graph = if is_rewired { Arc::new(Graph::new(&pools)) } else { Arc::clone(&self.graph) };
        Self { pools, taken_at, graph }
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
