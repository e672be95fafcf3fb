//! Searches for the highest output for an exact input.

use std::cmp::Ordering;

use order_engine_core::Amount;

use super::Search;
use super::paths::{FoundPath, SwapMode};
use crate::path::{Hop, Path};
use crate::pool::Pool;
use crate::pool_set::Edge;
use crate::quote::{self, LegQuote, Rejection, RouteQuote, SearchOutcome};
use crate::split::{self, Problem, Split};

/// The search for further detours uses this fraction of the amount, because in a split none of them has to
/// trade all of it.
const FURTHER_DETOUR_DIVISOR: u128 = 4;

/// The best routes of each kind.
#[derive(Debug)]
pub(crate) struct Alternatives<'a> {
    /// The best route over the pools of the pair: one of them, or several side by side.
    pub(crate) direct: Option<RouteQuote<'a>>,
    /// The best route over a detour, that is a path of several pools, unless every detour is provably
    /// worse.
    pub(crate) detour: Option<RouteQuote<'a>>,
    /// The best split over the pools of the pair and detours, if there are any.
    pub(crate) combined: Option<RouteQuote<'a>>,
    pub(crate) rejected: Vec<Rejection<'a>>,
}

impl<'a> Search<'a> {
    /// Returns the single pool that pays the most.
    pub fn best_pool(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        self.best_pool_among(input, output, amount, |_| true)
    }

    /// Returns the single pool of an exchange that pays the most.
    pub fn best_pool_of(&self, dex: &str, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        self.best_pool_among(input, output, amount, |pool| pool.dex == dex)
    }

    /// Returns the best split over the pools of the pair, or a single pool if no split is better.
    pub fn best_split(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        let mut rejected = Vec::new();
        let paths = self.direct_paths(input, output, &mut rejected);
        let best = self.split(&paths, amount, &mut rejected);
        SearchOutcome { best, rejected }
    }

    /// Returns the best single path, of one or several pools.
    pub fn best_path(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        self.best_path_from(1, input, output, amount)
    }

    /// Returns the best detour: the best path of at least two pools.
    pub fn best_detour(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        self.best_path_from(2, input, output, amount)
    }

    /// Returns the best route of all: a single pool, a split, a path, or a split over pools and paths of
    /// which no two share a pool.
    pub fn best(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        let Alternatives { direct, detour, combined, rejected } = self.alternatives(input, output, amount);
        let has_detour = detour.is_some();
        let best = [direct, detour, combined].into_iter().flatten().reduce(better);
        // The search splits over a selection of all detours, so if there is any, nothing is proven.
        let best =
            best.map(|best| RouteQuote { is_proven_optimal: best.is_proven_optimal && !has_detour, ..best });
        SearchOutcome { best, rejected }
    }

    /// Returns the best routes of each kind.
    pub(crate) fn alternatives(&self, input: &str, output: &str, amount: Amount) -> Alternatives<'a> {
        let mut rejected = Vec::new();
        let paths = self.direct_paths(input, output, &mut rejected);
        let direct = self.split(&paths, amount, &mut rejected);
        if !self.detours_may_pay(&paths, (input, output), amount) {
            return Alternatives { direct, detour: None, combined: None, rejected };
        }
        let (detour, combined) = self.best_over_detours(paths, (input, output), amount);
        Alternatives { direct, detour, combined, rejected }
    }

    /// Returns the best route over a detour, and the best split over detours and these direct paths.
    pub(super) fn best_over_detours(
        &self,
        mut paths: Vec<Path<'a>>,
        (input, output): (&str, &str),
        amount: Amount,
    ) -> (Option<RouteQuote<'a>>, Option<RouteQuote<'a>>) {
        let detours = self.disjoint_detours(input, output, amount);
        let detour = detours.first().and_then(|found| self.route_over(found, amount));
        paths.extend(detours.iter().map(|found| found.path));
        // Rejections are dropped: those of the direct paths are known, those of detours concern other pairs.
        let combined = if detours.is_empty() { None } else { self.split(&paths, amount, &mut Vec::new()) };
        // The detours are a selection, so the split over them is not proven.
        let combined = combined.map(|combined| RouteQuote { is_proven_optimal: false, ..combined });
        (detour, combined)
    }

    fn best_pool_among(
        &self,
        input: &str,
        output: &str,
        amount_in: Amount,
        admits: impl Fn(&Pool) -> bool,
    ) -> SearchOutcome<'a> {
        let mut rejected = Vec::new();
        let mut best: Option<(Amount, Hop<'a>)> = None;
        for &edge in self.pools.graph().edges(input, output) {
            let pool = self.pool(edge);
            if !admits(pool) {
                continue;
            }
            if let Err(reason) = self.check_age(edge.pool) {
                rejected.push(Rejection { pool, reason });
                continue;
            }
            match pool.amount_out(edge.direction, amount_in, self.at) {
                Ok(out) if best.is_none_or(|(most, rival)| (out, &rival.pool.id) > (most, &pool.id)) => {
                    best = Some((out, Hop { pool, direction: edge.direction }));
                }
                Ok(_) => {}
                Err(error) => rejected.push(Rejection { pool, reason: error.into() }),
            }
        }
        let route = |(amount_out, Hop { pool, direction })| {
            let leg = LegQuote { pool, direction, amount_in, amount_out, path: 0 };
            self.route(vec![leg], amount_in, amount_out, true)
        };
        SearchOutcome { best: best.map(route), rejected }
    }

    fn best_path_from(
        &self,
        min_hops: usize,
        input: &str,
        output: &str,
        amount: Amount,
    ) -> SearchOutcome<'a> {
        let found = self.find_path(SwapMode::ExactIn, min_hops, (input, output), amount, &self.stale());
        let best = found.and_then(|found| self.route_over(&found, amount));
        SearchOutcome { best, rejected: Vec::new() }
    }

    /// Returns the best detour for the whole amount, then, for a part of it, the best detour that uses none
    /// of the pools before, and so on.
    fn disjoint_detours(&self, input: &str, output: &str, amount: Amount) -> Vec<FoundPath<'a>> {
        let mut excluded = self.stale();
        let mut detours = Vec::new();
        let part = Amount::new((amount.base_units() / FURTHER_DETOUR_DIVISOR).max(1));
        for number in 0..self.limits.max_paths {
            let amount = if number == 0 { amount } else { part };
            let found = self.find_path(SwapMode::ExactIn, 2, (input, output), amount, &excluded);
            let Some(found) = found else { break };
            for edge in &found.edges {
                excluded[edge.pool] = true;
            }
            detours.push(found);
        }
        detours
    }

    /// Returns the best split over paths that share no pool. Adds the paths that cannot trade the whole
    /// amount to `rejected`, unless the split uses them for a part.
    fn split(
        &self,
        paths: &[Path<'a>],
        amount: Amount,
        rejected: &mut Vec<Rejection<'a>>,
    ) -> Option<RouteQuote<'a>> {
        if paths.is_empty() {
            return None;
        }
        let mut errors = Vec::new();
        let single = |(index, path): (usize, &Path<'a>)| match path.amount_out(amount, self.at) {
            Ok(out) => Some(out.base_units()),
            Err(error) => {
                errors.push((index, error));
                None
            }
        };
        let singles: Vec<Option<u128>> = paths.iter().enumerate().map(single).collect();
        let problem = Problem {
            paths,
            amount: amount.base_units(),
            at: self.at,
            leg_cost: self.leg_cost.base_units(),
            max_legs: self.limits.max_legs,
            budget: &self.budget,
        };
        let split = split::solve(&problem, &singles);
        let is_used = |path| split.iter().flat_map(|split| &split.parts).any(|part| part.path == path);
        for (index, error) in errors {
            if let (false, Some(hop)) = (is_used(index), paths[index].hops().next()) {
                rejected.push(Rejection { pool: hop.pool, reason: error.into() });
            }
        }
        self.route_over_split(paths, amount, split.as_ref()?)
    }

    fn route_over_split(&self, paths: &[Path<'a>], amount: Amount, split: &Split) -> Option<RouteQuote<'a>> {
        let mut legs = Vec::with_capacity(split.legs);
        for (number, part) in split.parts.iter().enumerate() {
            let path = &paths[part.path];
            let (amount_in, amount_out) = (Amount::new(part.amount_in), Amount::new(part.amount_out));
            // The output of a single pool is known, the outputs of the hops of a longer path are not.
            match path.only_hop() {
                Some(Hop { pool, direction }) => {
                    legs.push(LegQuote { pool, direction, amount_in, amount_out, path: number });
                }
                None => {
                    quote::push_legs(&mut legs, path, amount_in, self.at).ok()?;
                }
            }
        }
        Some(self.route(legs, amount, Amount::new(split.gross), split.is_proven))
    }

    /// Returns the pools between two tokens, each as a path of its own.
    pub(super) fn direct_paths(
        &self,
        input: &str,
        output: &str,
        rejected: &mut Vec<Rejection<'a>>,
    ) -> Vec<Path<'a>> {
        let path = |edge: Edge| Path::new([Hop { pool: self.pool(edge), direction: edge.direction }]);
        self.fresh_edges(input, output, rejected).map(path).collect()
    }
}

/// Returns the better of two routes; of equal ones the one with fewer legs, else the first.
fn better<'a>(one: RouteQuote<'a>, other: RouteQuote<'a>) -> RouteQuote<'a> {
    let by_net = other.net_amount_out().cmp(&one.net_amount_out());
    let by_length = || one.legs.len().cmp(&other.legs.len());
    if by_net.then_with(by_length) == Ordering::Greater { other } else { one }
}
