//! The most output for an input.

use std::cmp::Ordering;

use order_engine_core::Amount;

use super::Search;
use super::paths::{Path, PathSearch, Sense};
use crate::lane::{Hop, Lane};
use crate::pool::Pool;
use crate::quote::{Found, LegQuote, Rejection, RouteQuote, push_legs};
use crate::source::Edge;
use crate::split::{Division, Problem};

/// Paths beside the best one are sought for this fraction of the amount: in a split none of them
/// will have to take all of it.
const SIDE_PATH_DIVISOR: u128 = 4;

/// The best routes of each kind.
#[derive(Debug)]
pub(crate) struct Alternatives<'a> {
    /// Over the pools of the pair: a single one, or several side by side.
    pub(crate) direct: Option<RouteQuote<'a>>,
    /// Over several pools in a row, unless that is certainly worse.
    pub(crate) detour: Option<RouteQuote<'a>>,
    /// Over any of these side by side, if there are detours.
    pub(crate) combined: Option<RouteQuote<'a>>,
    pub(crate) rejected: Vec<Rejection<'a>>,
}

impl<'a> Search<'a> {
    /// The single pool that pays the most.
    pub fn best_pool(&self, input: &str, output: &str, amount: Amount) -> Found<'a> {
        self.best_pool_among(input, output, amount, |_| true)
    }

    /// The single pool of an exchange that pays the most.
    pub fn best_pool_of(&self, dex: &str, input: &str, output: &str, amount: Amount) -> Found<'a> {
        self.best_pool_among(input, output, amount, |pool| pool.dex == dex)
    }

    /// The best way to use the pools of the pair side by side; a single one where that is no worse.
    pub fn best_split(&self, input: &str, output: &str, amount: Amount) -> Found<'a> {
        let mut rejected = Vec::new();
        let lanes = self.direct_lanes(input, output, &mut rejected);
        let best = self.divide(&lanes, amount, &mut rejected);
        Found::new(best, rejected)
    }

    /// The best single path, of one pool or several in a row.
    pub fn best_path(&self, input: &str, output: &str, amount: Amount) -> Found<'a> {
        self.best_path_from(1, input, output, amount)
    }

    /// The best path of at least two pools in a row.
    pub fn best_detour(&self, input: &str, output: &str, amount: Amount) -> Found<'a> {
        self.best_path_from(2, input, output, amount)
    }

    /// The best of all: a single pool, a split, a path, or a split over pools and paths of which no
    /// two share a pool.
    pub fn best(&self, input: &str, output: &str, amount: Amount) -> Found<'a> {
        let Alternatives { direct, detour, combined, rejected } = self.alternatives(input, output, amount);
        let has_detour = detour.is_some();
        let best = [direct, detour, combined].into_iter().flatten().reduce(better);
        // Which detours were searched was a choice, so nothing is proven where there could be any.
        let best =
            best.map(|best| RouteQuote { is_proven_optimal: best.is_proven_optimal && !has_detour, ..best });
        Found::new(best, rejected)
    }

    /// The best routes of each kind.
    pub(crate) fn alternatives(&self, input: &str, output: &str, amount: Amount) -> Alternatives<'a> {
        let mut rejected = Vec::new();
        let lanes = self.direct_lanes(input, output, &mut rejected);
        let direct = self.divide(&lanes, amount, &mut rejected);
        if !self.may_detour(&lanes, (input, output), amount) {
            return Alternatives { direct, detour: None, combined: None, rejected };
        }
        let (detour, combined) = self.with_detours(lanes, (input, output), amount);
        Alternatives { direct, detour, combined, rejected }
    }

    /// The best path of several pools, and the best split over such paths and these lanes.
    pub(super) fn with_detours(
        &self,
        mut lanes: Vec<Lane<'a>>,
        (input, output): (&str, &str),
        amount: Amount,
    ) -> (Option<RouteQuote<'a>>, Option<RouteQuote<'a>>) {
        let detours = self.disjoint_detours(input, output, amount);
        let detour = detours.first().and_then(|path| self.follow(path, amount));
        lanes.extend(detours.iter().map(|path| path.lane));
        // What a detour cannot take alone is no news about the pools of the pair.
        let combined = if detours.is_empty() { None } else { self.divide(&lanes, amount, &mut Vec::new()) };
        // Which detours are combined was a choice.
        let combined = combined.map(|combined| RouteQuote { is_proven_optimal: false, ..combined });
        (detour, combined)
    }

    fn best_pool_among(
        &self,
        input: &str,
        output: &str,
        amount_in: Amount,
        counts: impl Fn(&Pool) -> bool,
    ) -> Found<'a> {
        let mut rejected = Vec::new();
        let mut best: Option<(Amount, Hop<'a>)> = None;
        for &edge in self.pools.graph().edges(input, output) {
            let pool = self.pool(edge);
            if !counts(pool) {
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
        let quote = |(amount_out, Hop { pool, direction })| {
            let leg = LegQuote { pool, direction, amount_in, amount_out, path: 0 };
            self.route(vec![leg], amount_in, amount_out, true)
        };
        Found { best: best.map(quote), rejected }
    }

    fn best_path_from(&self, min_hops: usize, input: &str, output: &str, amount: Amount) -> Found<'a> {
        let path = self.find_path(min_hops, (input, output), amount, &self.stale());
        Found::new(path.and_then(|path| self.follow(&path, amount)), Vec::new())
    }

    fn follow(&self, path: &Path<'a>, amount: Amount) -> Option<RouteQuote<'a>> {
        let mut legs = Vec::with_capacity(path.lane.len());
        let amount_out = push_legs(&mut legs, &path.lane, amount, self.at).ok()?;
        Some(self.route(legs, amount, amount_out, path.is_proven))
    }

    fn find_path(
        &self,
        min_hops: usize,
        (input, output): (&str, &str),
        amount: Amount,
        banned: &[bool],
    ) -> Option<Path<'a>> {
        let graph = self.pools.graph();
        let (from, to) = graph.token(input).zip(graph.token(output))?;
        let search = PathSearch {
            pools: self.pools,
            at: self.at,
            sense: Sense::ExactIn,
            ends: (from, to),
            amount: amount.base_units(),
            leg_cost: self.leg_cost.base_units(),
            hops: (min_hops, self.limits.max_hops.min(self.limits.max_legs)),
            labels_per_token: self.limits.labels_per_token,
            banned,
            budget: &self.budget,
        };
        search.best()
    }

    /// The best path of several pools for the whole amount, then for a part of it the best of those
    /// that use none of the pools before, and so on.
    fn disjoint_detours(&self, input: &str, output: &str, amount: Amount) -> Vec<Path<'a>> {
        let mut banned = self.stale();
        let mut found = Vec::new();
        let part = Amount::new((amount.base_units() / SIDE_PATH_DIVISOR).max(1));
        for number in 0..self.limits.max_paths {
            let amount = if number == 0 { amount } else { part };
            let Some(path) = self.find_path(2, (input, output), amount, &banned) else { break };
            for edge in &path.edges {
                banned[edge.pool] = true;
            }
            found.push(path);
        }
        found
    }

    /// The best division over lanes that share no pool. Those that cannot take the whole amount go
    /// into `rejected`, unless they take a part of it.
    fn divide(
        &self,
        lanes: &[Lane<'a>],
        amount: Amount,
        rejected: &mut Vec<Rejection<'a>>,
    ) -> Option<RouteQuote<'a>> {
        if lanes.is_empty() {
            return None;
        }
        let mut errors = Vec::new();
        let single = |(index, lane): (usize, &Lane<'a>)| match lane.amount_out(amount, self.at) {
            Ok(out) => Some(out.base_units()),
            Err(error) => {
                errors.push((index, error));
                None
            }
        };
        let singles: Vec<Option<u128>> = lanes.iter().enumerate().map(single).collect();
        let problem = Problem {
            lanes,
            amount: amount.base_units(),
            at: self.at,
            leg_cost: self.leg_cost.base_units(),
            max_legs: self.limits.max_legs,
            budget: &self.budget,
        };
        let division = problem.solve(&singles);
        let is_used =
            |lane| division.iter().flat_map(|division| &division.parts).any(|part| part.lane == lane);
        for (index, error) in errors {
            if let (false, Some(hop)) = (is_used(index), lanes[index].hops().next()) {
                rejected.push(Rejection { pool: hop.pool, reason: error.into() });
            }
        }
        self.quote(lanes, amount, division.as_ref()?)
    }

    fn quote(&self, lanes: &[Lane<'a>], amount: Amount, division: &Division) -> Option<RouteQuote<'a>> {
        let mut legs = Vec::with_capacity(division.legs);
        for (path, part) in division.parts.iter().enumerate() {
            let lane = &lanes[part.lane];
            let (amount_in, amount_out) = (Amount::new(part.amount_in), Amount::new(part.amount_out));
            // The output of a single pool is known; of the pools in between it is not.
            match lane.only_hop() {
                Some(Hop { pool, direction }) => {
                    legs.push(LegQuote { pool, direction, amount_in, amount_out, path });
                }
                None => {
                    push_legs(&mut legs, lane, amount_in, self.at).ok()?;
                }
            }
        }
        Some(self.route(legs, amount, Amount::new(division.gross), division.is_proven))
    }

    /// The pools between two tokens, each a lane of its own.
    pub(super) fn direct_lanes(
        &self,
        input: &str,
        output: &str,
        rejected: &mut Vec<Rejection<'a>>,
    ) -> Vec<Lane<'a>> {
        let lane = |edge: Edge| Lane::new([Hop { pool: self.pool(edge), direction: edge.direction }]);
        self.fresh_edges(input, output, rejected).map(lane).collect()
    }

    fn route(
        &self,
        legs: Vec<LegQuote<'a>>,
        amount_in: Amount,
        amount_out: Amount,
        is_proven_optimal: bool,
    ) -> RouteQuote<'a> {
        let chain_cost = self.chain_cost(legs.len());
        RouteQuote { legs, amount_in, amount_out, chain_cost, is_proven_optimal, at: self.at }
    }
}

/// The better of two routes; the first if they are equal and equally long.
fn better<'a>(one: RouteQuote<'a>, other: RouteQuote<'a>) -> RouteQuote<'a> {
    let by_net = other.net_amount_out().cmp(&one.net_amount_out());
    let by_length = || one.legs.len().cmp(&other.legs.len());
    if by_net.then_with(by_length) == Ordering::Greater { other } else { one }
}
