//! Searches a snapshot of pools for the best route.

mod detours;
mod exact_in;
mod exact_out;
mod flows;
mod paths;
mod scan;
mod value;

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

pub(crate) use self::exact_in::Alternatives;
use self::paths::{FoundPath, PathSearch, SwapMode};
use order_engine_core::Amount;

use crate::budget::SearchBudget;
use crate::error::QuoteError;
use crate::footprint::{Excess, Footprint, Room, Tariff, Toll, TransactionLimits};
use crate::path::{Hop, MAX_HOPS};
use crate::pool::Pool;
use crate::pool_set::{Edge, PoolSet};
use crate::quote::{self, LegQuote, RejectReason, Rejection, RouteQuote};
use crate::trade::Moment;

/// How far the time of a snapshot may be ahead of the clock, because clocks differ.
const MAX_AHEAD: Duration = Duration::from_secs(10);

/// The limits of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchLimits {
    /// The most pools on a path. A search never uses more than four.
    pub max_hops: usize,
    /// The most legs of a route, because a transaction has room for only a few.
    pub max_legs: usize,
    /// The number of partial paths kept for each token and length. With more, the search misses fewer good
    /// paths in dense graphs.
    pub labels_per_token: usize,
    /// The highest age of a pool's snapshot, which is counted in whole seconds. `None` allows any age, and
    /// pools of unknown age are always allowed. With a highest age, a snapshot that is more than ten seconds ahead of
    /// the clock is not allowed either.
    pub max_age: Option<Duration>,
    /// The highest age of a pool's snapshot in slots, counted from [`PoolSet::newest_slot`]. `None` allows any.
    pub max_age_slots: Option<u64>,
    /// How much a transaction has room for. A route that would not fit is never chosen. By default everything fits.
    pub transaction: TransactionLimits,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self {
            max_hops: 4,
            max_legs: 32,
            labels_per_token: 8,
            max_age: None,
            max_age_slots: None,
            transaction: TransactionLimits::UNLIMITED,
        }
    }
}

impl SearchLimits {
    /// Returns limits that allow single pools only, without splits and paths. This is the fastest to search
    /// and to execute.
    pub fn single_pools() -> Self {
        Self { max_hops: 1, max_legs: 1, ..Self::default() }
    }

    /// Sets [`max_hops`](Self::max_hops).
    #[must_use]
    pub fn with_max_hops(self, max_hops: usize) -> Self {
        Self { max_hops, ..self }
    }

    /// Sets [`max_legs`](Self::max_legs).
    #[must_use]
    pub fn with_max_legs(self, max_legs: usize) -> Self {
        Self { max_legs, ..self }
    }

    /// Sets [`labels_per_token`](Self::labels_per_token).
    #[must_use]
    pub fn with_labels_per_token(self, labels_per_token: usize) -> Self {
        Self { labels_per_token, ..self }
    }

    /// Sets [`max_age`](Self::max_age).
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Sets [`max_age_slots`](Self::max_age_slots).
    #[must_use]
    pub fn with_max_age_slots(self, max_age_slots: u64) -> Self {
        Self { max_age_slots: Some(max_age_slots), ..self }
    }

    /// Sets [`transaction`](Self::transaction).
    #[must_use]
    pub fn with_transaction(self, transaction: TransactionLimits) -> Self {
        Self { transaction, ..self }
    }

    /// Returns the same limits, but for any number of legs and transactions of any size.
    fn unbounded(self) -> Self {
        let token_on_the_way = self.transaction.token_on_the_way;
        let transaction = TransactionLimits::UNLIMITED.with_token_on_the_way(token_on_the_way);
        self.with_max_legs(usize::MAX).with_transaction(transaction)
    }

    /// Returns what a route has room for.
    fn room(&self) -> Room {
        Room { legs: self.max_legs, transaction: self.transaction }
    }

    /// Returns the most hops of a path, which has no more legs than a route may have.
    fn max_hops_within_legs(&self) -> usize {
        self.max_hops.min(self.max_legs).min(MAX_HOPS)
    }
}

/// What a leg of a route buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What the whole route buys.
    Output,
    /// A token on the way, which another leg sells.
    OnTheWay,
}

impl End {
    /// Returns what a leg buys that buys this token, in a route that buys the other one.
    fn of(bought: usize, output: usize) -> Self {
        if bought == output { Self::Output } else { Self::OnTheWay }
    }
}

/// A search for the best route over a snapshot of pools.
///
/// It compares amounts in base units, never prices: for an exact input the highest output net of the cost
/// of the legs is the best, for an exact output the lowest input. Of equal routes the shorter wins, then
/// the one whose pools' ids come first, so a search always repeats its result.
#[must_use]
#[derive(Debug)]
pub struct Search<'a> {
    pools: &'a PoolSet,
    at: Moment,
    limits: SearchLimits,
    tariff: Tariff,
    budget: Rc<SearchBudget<'a>>,
}

impl<'a> Search<'a> {
    /// Returns a search over these pools, as they would trade at a moment.
    pub fn new(pools: &'a PoolSet, at: Moment) -> Self {
        Self { pools, at, limits: SearchLimits::default(), tariff: Tariff::default(), budget: Rc::default() }
    }

    /// Returns the same search with other costs of the chain. Both share one budget.
    fn costing(&self, tariff: Tariff) -> Self {
        let Self { pools, at, limits, ref budget, .. } = *self;
        Self { pools, at, limits, tariff, budget: Rc::clone(budget) }
    }

    /// Returns the same search without a limit to what a route takes. Both share one budget.
    fn unbounded(&self) -> Self {
        let Self { pools, at, limits, tariff, ref budget } = *self;
        Self { pools, at, limits: limits.unbounded(), tariff, budget: Rc::clone(budget) }
    }

    /// Sets the limits.
    pub fn with_limits(self, limits: SearchLimits) -> Self {
        Self { limits, ..self }
    }

    /// Sets the chain's cost for one leg: in base units of the output token for an exact input, of the
    /// input token for an exact output.
    pub fn with_leg_cost(self, leg_cost: Amount) -> Self {
        let tariff = Tariff { leg: leg_cost.base_units(), ..self.tariff };
        Self { tariff, ..self }
    }

    /// Sets the chain's cost for a million compute units, in the same token as the cost of a leg. A leg then costs this
    /// times the compute units of its [`Footprint`](crate::Footprint), rounded up, beside what each leg costs.
    pub fn with_compute_cost(self, million_compute_units: Amount) -> Self {
        let tariff = Tariff { million_compute_units: million_compute_units.base_units(), ..self.tariff };
        Self { tariff, ..self }
    }

    /// Sets the budget, which all methods of this search share. They find the best single pool in any case.
    pub fn with_budget(self, budget: SearchBudget<'a>) -> Self {
        Self { budget: Rc::new(budget), ..self }
    }

    /// Checks that the snapshot of a pool is fresh enough.
    fn check_age(&self, pool: usize) -> Result<(), RejectReason> {
        let SearchLimits { max_age, max_age_slots, .. } = self.limits;
        if max_age.is_none() && max_age_slots.is_none() {
            return Ok(());
        }
        let Some(reading) = self.pools.reading_of(pool) else { return Ok(()) };
        if let Some(max_age) = max_age {
            let (read_s, now_s) = (reading.at.unix_seconds(), self.at.unix_seconds());
            let ahead = Duration::from_secs(read_s.saturating_sub(now_s));
            if ahead > MAX_AHEAD {
                return Err(RejectReason::FromTheFuture { ahead });
            }
            let age = Duration::from_secs(now_s.saturating_sub(read_s));
            if age > max_age {
                return Err(RejectReason::Stale { age, max_age });
            }
        }
        let slots = self.pools.newest_slot() - reading.slot;
        match max_age_slots {
            Some(max_slots) if slots > max_slots => Err(RejectReason::Behind { slots, max_slots }),
            _ => Ok(()),
        }
    }

    /// Checks that a pool may be a part of a route: its snapshot is fresh enough, it is open, and a leg through it fits.
    fn check(&self, pool: usize) -> Result<(), RejectReason> {
        self.check_age(pool)?;
        if self.pools.opens_later(pool) {
            return Err(QuoteError::NotOpenYet.into());
        }
        if self.limits.transaction == TransactionLimits::UNLIMITED {
            return Ok(());
        }
        self.limits
            .room()
            .excess(&self.toll(pool))
            .map_or(Ok(()), |excess| Err(RejectReason::DoesNotFit(excess)))
    }

    /// Returns whether a pool must not be used.
    fn is_excluded(&self, pool: usize) -> bool {
        self.check(pool).is_err()
    }

    /// Returns what a leg through a pool costs and takes that buys the output.
    fn toll(&self, pool: usize) -> Toll {
        self.toll_to(pool, End::Output)
    }

    /// Returns what a leg through a pool costs and takes that buys this.
    fn toll_to(&self, pool: usize, end: End) -> Toll {
        self.tariff.toll(self.footprint(pool, end))
    }

    /// Returns what a leg through a pool takes that buys this.
    fn footprint(&self, pool: usize, end: End) -> Footprint {
        let own = self.pools.footprint_of(pool);
        match end {
            End::Output => own,
            End::OnTheWay => own.plus(self.limits.transaction.token_on_the_way),
        }
    }

    /// Returns what every leg costs and takes at least, whatever its pool.
    fn least_toll(&self) -> Toll {
        self.tariff.toll(self.pools.least_footprint())
    }

    /// Returns what there is too little of for a route that would otherwise be there, if no route fits.
    fn excess(&self, input: &str, output: &str, amount: Amount) -> Option<Excess> {
        if self.limits == self.limits.unbounded() {
            return None;
        }
        let free = self.unbounded();
        let path = free.best_path(input, output, amount).best;
        self.excess_of(&path.or_else(|| free.best(input, output, amount).best)?)
    }

    /// Returns what there is too little of for a route.
    fn excess_of(&self, route: &RouteQuote<'_>) -> Option<Excess> {
        self.limits.room().excess(&self.toll_of(&route.legs))
    }

    /// Returns what legs cost and take.
    fn toll_of(&self, legs: &[LegQuote<'_>]) -> Toll {
        legs.iter().map(|leg| self.tariff.toll(leg.footprint)).sum()
    }

    /// Returns the pools between two tokens that may be a part of a route, and adds the others to `rejected`.
    fn usable_edges(
        &self,
        input: &str,
        output: &str,
        rejected: &mut Vec<Rejection<'a>>,
    ) -> impl Iterator<Item = Edge> {
        let edges = self.pools.graph().edges(input, output).iter().copied();
        edges.filter(|edge| match self.check(edge.pool) {
            Ok(()) => true,
            Err(reason) => {
                rejected.push(Rejection { pool: self.pool(*edge), reason });
                false
            }
        })
    }

    /// Returns the best path of `min_hops` to `max_hops` hops. `amount` is the input or the output, as `mode` says;
    /// a path that pays no more than `floor` need not be found.
    fn find_path(
        &self,
        mode: SwapMode,
        hops: RangeInclusive<usize>,
        (input, output): (&str, &str),
        (amount, floor): (Amount, u128),
    ) -> Option<FoundPath<'a>> {
        let graph = self.pools.graph();
        let (input, output) = graph.token(input).zip(graph.token(output))?;
        let (from, to) = match mode {
            SwapMode::ExactIn => (input, output),
            SwapMode::ExactOut => (output, input),
        };
        let max_hops = (*hops.end()).min(self.limits.max_hops_within_legs());
        let amount = amount.base_units();
        let min_hops = *hops.start();
        PathSearch { search: self, mode, from, to, amount, min_hops, max_hops, floor, is_careful: false }
            .best()
    }

    /// Returns the route over one path for an exact input, or `None` if the path cannot trade it.
    fn route_over(&self, found: &FoundPath<'a>, amount_in: Amount) -> Option<RouteQuote<'a>> {
        let mut legs = Vec::with_capacity(found.path.len());
        let amount_out = quote::push_legs(&mut legs, &found.path, amount_in, self.at).ok()?;
        Some(self.route(legs, amount_in, amount_out, found.is_proven))
    }

    fn route(
        &self,
        legs: Vec<LegQuote<'a>>,
        amount_in: Amount,
        amount_out: Amount,
        is_proven_optimal: bool,
    ) -> RouteQuote<'a> {
        let chain_cost = Amount::new(self.toll_of(&legs).cost);
        RouteQuote { legs, amount_in, amount_out, chain_cost, is_proven_optimal, at: self.at }
    }

    /// Returns a pool as a hop of a path.
    fn hop(&self, edge: Edge, end: End) -> Hop<'a> {
        let Edge { pool, direction } = edge;
        Hop { pool: self.pool(edge), direction, footprint: self.footprint(pool, end) }
    }

    fn pool(&self, edge: Edge) -> &'a Pool {
        self.pools.pool(edge)
    }
}
