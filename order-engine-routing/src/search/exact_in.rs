//! Searches for the highest output for an exact input.

use order_engine_core::Amount;

use super::paths::SwapMode;
use super::{End, Search};
use crate::footprint::Excess;
use crate::net::Rank;
use crate::path::{Hop, MAX_HOPS, Path};
use crate::pool::Pool;
use crate::quote::{self, LegQuote, Rejection, RouteQuote, SearchOutcome};
use crate::split::{self, Problem, Split};

/// The best routes of each kind.
#[derive(Debug, Default)]
pub(crate) struct Alternatives<'a> {
    /// The best route over the pools of the pair: one of them, or several side by side.
    pub(crate) direct: Option<RouteQuote<'a>>,
    /// The best route over a detour, that is a path of several pools, unless every detour is provably
    /// worse.
    pub(crate) detour: Option<RouteQuote<'a>>,
    /// The best flow over pools of the pair and detours, which may share pools, unless every detour is provably worse.
    pub(crate) combined: Option<RouteQuote<'a>>,
    pub(crate) rejected: Vec<Rejection<'a>>,
    /// Where no route fits: what there is too little of.
    pub(crate) excess: Option<Excess>,
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
        SearchOutcome { best, rejected, excess: None }
    }

    /// Returns the best single path, of one or several pools.
    pub fn best_path(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        self.best_path_from(1, (input, output), (amount, 0))
    }

    /// Returns the best detour: the best path of at least two pools.
    pub fn best_detour(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        self.best_path_from(2, (input, output), (amount, 0))
    }

    /// Returns whether pools connect two tokens within the hops that a path may have, whatever they take now.
    pub(crate) fn connects(&self, input: &str, output: &str) -> bool {
        let (graph, most) = (self.pools.graph(), self.limits.max_hops);
        let tokens = graph.token(input).zip(graph.token(output));
        tokens.is_some_and(|(input, output)| graph.distances(input, most)[output] <= most)
    }

    /// Returns the best route of all: a single pool, a split, a path, or a flow over pools and paths, which may share
    /// pools.
    pub fn best(&self, input: &str, output: &str, amount: Amount) -> SearchOutcome<'a> {
        let Alternatives { direct, detour, combined, rejected, excess } =
            self.alternatives(input, output, amount);
        let best = [direct, detour, combined].into_iter().flatten().reduce(better);
        SearchOutcome { best, rejected, excess }
    }

    /// Returns the best routes of each kind. A route is proven if no route of another kind could be better.
    pub(crate) fn alternatives(&self, input: &str, output: &str, amount: Amount) -> Alternatives<'a> {
        let mut rejected = Vec::new();
        let paths = self.direct_paths(input, output, &mut rejected);
        let direct = self.split(&paths, amount, &mut rejected);
        let mut found = Alternatives { direct, rejected, ..Alternatives::default() };
        if self.detours_may_pay(&paths, (input, output), amount) {
            let unproven = |route| RouteQuote { is_proven_optimal: false, ..route };
            let (detour, combined) = self.best_over_detours((input, output), amount);
            found.direct = found.direct.map(unproven);
            (found.detour, found.combined) = (detour.map(unproven), combined);
        }
        if found.direct.is_none() && found.detour.is_none() && found.combined.is_none() {
            found.excess = self.excess(input, output, amount);
        }
        found
    }

    /// Returns the best flow over detours and direct paths, and the best detour, if that could be better.
    pub(super) fn best_over_detours(
        &self,
        pair: (&str, &str),
        amount: Amount,
    ) -> (Option<RouteQuote<'a>>, Option<RouteQuote<'a>>) {
        let flow = self.best_flow(pair, amount.base_units());
        let combined = flow.map(|flow| self.route(flow.legs, amount, flow.amount_out, false));
        // A detour has two legs or more, so it has to pay that much to leave more than the flow.
        let net = combined.as_ref().map_or(0, |flow| flow.net_amount_out().gain().base_units());
        let cost = self.least_toll().times(2).cost;
        let floor = if net == 0 { 0 } else { net.saturating_add(cost) };
        let detour = self.best_path_from(2, pair, (amount, floor)).best;
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
        let mut best: Option<(Rank, Amount, Hop<'a>)> = None;
        for &edge in self.pools.graph().edges(input, output) {
            let pool = self.pool(edge);
            if !admits(pool) {
                continue;
            }
            if let Err(reason) = self.check(edge.pool) {
                rejected.push(Rejection { pool, reason });
                continue;
            }
            match pool.metered_out(edge.direction, amount_in, self.at, &*self.budget) {
                Ok(out) => {
                    let rank = Rank::new(out.base_units(), &self.toll(edge.pool));
                    if best.is_none_or(|(most, _, rival)| (rank, &rival.pool.id) > (most, &pool.id)) {
                        best = Some((rank, out, self.hop(edge, End::Output)));
                    }
                }
                Err(error) => rejected.push(Rejection { pool, reason: error.into() }),
            }
        }
        let route = |(_, amount_out, Hop { pool, direction, footprint })| {
            let leg = LegQuote { pool, direction, amount_in, amount_out, footprint };
            self.route(vec![leg], amount_in, amount_out, true)
        };
        SearchOutcome { best: best.map(route), rejected, excess: None }
    }

    fn best_path_from(
        &self,
        min_hops: usize,
        pair: (&str, &str),
        (amount, floor): (Amount, u128),
    ) -> SearchOutcome<'a> {
        let found = self.find_path(SwapMode::ExactIn, min_hops..=MAX_HOPS, pair, (amount, floor));
        let best = found.and_then(|found| self.route_over(&found, amount));
        SearchOutcome { best, rejected: Vec::new(), excess: None }
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
        let single = |(index, path): (usize, &Path<'a>)| match path.amount_out(amount, self.at, &*self.budget)
        {
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
            tolls: paths.iter().map(|path| path.toll(&self.tariff)).collect(),
            room: self.limits.room(),
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
        let mut legs = Vec::with_capacity(split.toll.legs);
        for part in &split.parts {
            let path = &paths[part.path];
            let (amount_in, amount_out) = (Amount::new(part.amount_in), Amount::new(part.amount_out));
            // The output of a single pool is known, the outputs of the hops of a longer path are not.
            match path.only_hop() {
                Some(Hop { pool, direction, footprint }) => {
                    legs.push(LegQuote { pool, direction, amount_in, amount_out, footprint });
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
        self.usable_edges(input, output, rejected)
            .map(|edge| Path::new([self.hop(edge, End::Output)]))
            .collect()
    }
}

/// Returns the better of two routes, of equal ones the first.
fn better<'a>(one: RouteQuote<'a>, other: RouteQuote<'a>) -> RouteQuote<'a> {
    if other.rank() > one.rank() { other } else { one }
}
