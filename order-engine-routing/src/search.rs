//! Finds the best way to trade over a snapshot of pools.

mod detours;
mod exact_in;
mod exact_out;
mod paths;
mod value;

pub(crate) use self::exact_in::Alternatives;
use order_engine_core::Amount;

use crate::budget::Budget;
use crate::pool::Pool;
use crate::quote::{RejectReason, Rejection};
use crate::source::{Edge, PoolSet};
use crate::trade::Moment;

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchLimits {
    /// The most pools that a path leads through; more than four are never searched.
    pub max_hops: usize,
    /// The most legs of a route, for a transaction holds only so many.
    pub max_legs: usize,
    /// The most paths of several hops that a route is split over.
    pub max_paths: usize,
    /// How many partial paths are kept for each token and length. With more, fewer good paths are
    /// missed in dense graphs.
    pub labels_per_token: usize,
    /// How old the snapshot of a pool may be, in seconds. Without a limit, and for pools whose age
    /// nobody knows, any age will do.
    pub max_age_s: Option<u64>,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self { max_hops: 4, max_legs: 8, max_paths: 4, labels_per_token: 4, max_age_s: None }
    }
}

impl SearchLimits {
    /// Single pools only: no splits and no paths, which takes the least time to search and to carry out.
    pub fn single_pools() -> Self {
        Self { max_hops: 1, max_legs: 1, ..Self::default() }
    }
}

/// Finds the best way to trade over a snapshot of pools.
///
/// Amounts of base units are compared, never prices: for an exact input the highest output net of
/// what the legs cost is the best, for an exact output the lowest input. Of equal routes the
/// shorter wins, then the one whose pools' ids come first, so a search repeats itself exactly.
#[derive(Debug)]
pub struct Search<'a> {
    pools: &'a PoolSet,
    at: Moment,
    limits: SearchLimits,
    leg_cost: Amount,
    budget: Budget<'a>,
}

impl<'a> Search<'a> {
    /// A search over these pools, as they would trade at a moment.
    pub fn new(pools: &'a PoolSet, at: Moment) -> Self {
        Self {
            pools,
            at,
            limits: SearchLimits::default(),
            leg_cost: Amount::ZERO,
            budget: Budget::unlimited(),
        }
    }

    /// With other limits.
    #[must_use]
    pub fn limits(self, limits: SearchLimits) -> Self {
        Self { limits, ..self }
    }

    /// With a cost of every leg: in base units of the output token for an exact input, of the input
    /// token for an exact output.
    #[must_use]
    pub fn leg_cost(self, leg_cost: Amount) -> Self {
        Self { leg_cost, ..self }
    }

    /// With a budget, which all that is searched shares. The best single pool is found in any case.
    #[must_use]
    pub fn budget(self, budget: Budget<'a>) -> Self {
        Self { budget, ..self }
    }

    /// Whether a snapshot is fresh enough.
    fn check_age(&self, pool: usize) -> Result<(), RejectReason> {
        match (self.limits.max_age_s, self.pools.age_s(pool, self.at)) {
            (Some(max_age_s), Some(age_s)) if age_s > max_age_s => {
                Err(RejectReason::Stale { age_s, max_age_s })
            }
            _ => Ok(()),
        }
    }

    /// By pool: those that are too old.
    fn stale(&self) -> Vec<bool> {
        (0..self.pools.pools().len()).map(|pool| self.check_age(pool).is_err()).collect()
    }

    /// The pools between two tokens that are fresh; the others go into `rejected`.
    fn fresh_edges(
        &self,
        input: &str,
        output: &str,
        rejected: &mut Vec<Rejection<'a>>,
    ) -> impl Iterator<Item = Edge> {
        let edges = self.pools.graph().edges(input, output).iter().copied();
        edges.filter(|edge| match self.check_age(edge.pool) {
            Ok(()) => true,
            Err(reason) => {
                rejected.push(Rejection { pool: self.pool(*edge), reason });
                false
            }
        })
    }

    fn pool(&self, edge: Edge) -> &'a Pool {
        self.pools.pool(edge)
    }

    fn chain_cost(&self, legs: usize) -> Amount {
        Amount::new(self.leg_cost.base_units().saturating_mul(legs as u128))
    }
}
