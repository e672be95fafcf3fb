//! Proofs that detours, paths of several pools, need not be searched.

use order_engine_core::Amount;

use super::Search;
use crate::footprint::Toll;
use crate::path::Path;
use crate::pool_set::{Edge, Neighbour};
use crate::price_ceiling::PriceCeiling;

impl Search<'_> {
    /// Returns whether a detour could be a part of the best route, given the `direct` paths over the pools
    /// of the pair.
    ///
    /// It could not if some direct path, after it has traded the whole amount, pays more for the same
    /// amount again than any detour could pay even at the prices before any trade. Whatever part of the
    /// amount a route sends over a detour, the direct path could trade it instead, in one leg, and would
    /// pay no less, because its output is concave. That leg must not cost or take more than the two or more of the
    /// detour.
    pub(super) fn detours_may_pay(&self, direct: &[Path<'_>], pair: (&str, &str), amount: Amount) -> bool {
        if self.limits.max_hops_within_legs() < 2 {
            return false;
        }
        let ceiling = self.detour_ceiling(pair);
        let two_legs = self.least_toll().times(2);
        let limited = |toll: Toll| self.limits.transaction.limited(toll.footprint);
        let light = direct.iter().filter(|path| {
            let toll = path.toll(&self.tariff);
            toll.cost <= two_legs.cost && limited(toll).is_within(&limited(two_legs))
        });
        let most = light.filter_map(|path| self.output_for_same_again(path, amount)).max();
        ceiling != PriceCeiling::ZERO && most.is_none_or(|most| most <= ceiling.value_of(amount))
    }

    /// Returns what a path pays for the amount after it has traded the same amount once, or `None` if the
    /// path cannot trade both or its output is not concave.
    fn output_for_same_again(&self, path: &Path<'_>, amount: Amount) -> Option<u128> {
        if !path.is_concave() {
            return None;
        }
        let once = path.amount_out(amount, self.at, &*self.budget).ok()?;
        let twice = path.amount_out(amount.checked_add(amount)?, self.at, &*self.budget).ok()?;
        Some(twice.checked_sub(once)?.base_units())
    }

    /// Returns a price that no detour between two tokens exceeds.
    fn detour_ceiling(&self, (input, output): (&str, &str)) -> PriceCeiling {
        let graph = self.pools.graph();
        let Some((from, to)) = graph.token(input).zip(graph.token(output)) else {
            return PriceCeiling::ZERO;
        };
        let max_hops = self.limits.max_hops_within_legs();
        let rounds = self.ceilings(from, to, max_hops.saturating_sub(2));
        // The last round is only needed for the tokens that the input can be sold for.
        let prices = rounds.last();
        let through = |next: &Neighbour| {
            let beyond = prices.map_or(PriceCeiling::ZERO, |prices| {
                self.price_through_neighbours(next.token, prices, |token| token != from)
            });
            self.best_ceiling(&next.edges).times(beyond)
        };
        let detours = graph.neighbours(from).iter().filter(|next| next.token != to);
        detours.map(through).max().unwrap_or(PriceCeiling::ZERO)
    }

    /// Returns for each token a price that no path to `to` exceeds that does not pass `from`: first of no hops, then of at
    /// most one, and so on.
    pub(super) fn ceilings(&self, from: usize, to: usize, most_hops: usize) -> Vec<Vec<PriceCeiling>> {
        let graph = self.pools.graph();
        let mut prices = vec![PriceCeiling::ZERO; graph.len()];
        prices[to] = PriceCeiling::ONE;
        let mut rounds = vec![prices.clone()];
        let mut frontier = vec![to];
        for _ in 0..most_hops {
            let known = prices.clone();
            let mut next_frontier = Vec::new();
            for &token in &frontier {
                for neighbour in graph.neighbours(token) {
                    let before = neighbour.token;
                    if before == from || before == to {
                        continue;
                    }
                    // The neighbour sells its token for this one, against the direction of the edge.
                    let sales = neighbour.edges.iter().map(|edge| edge.reversed());
                    let ceiling = sales.map(|edge| self.pools.price_ceiling(edge)).max();
                    let price = ceiling.unwrap_or(PriceCeiling::ZERO).times(known[token]);
                    if price > prices[before] {
                        if prices[before] == known[before] {
                            next_frontier.push(before);
                        }
                        prices[before] = price;
                    }
                }
            }
            rounds.push(prices.clone());
            frontier = next_frontier;
        }
        rounds
    }

    /// Returns the ceiling of several pools, of which a trade uses one.
    pub(super) fn best_ceiling(&self, edges: &[Edge]) -> PriceCeiling {
        edges.iter().map(|edge| self.pools.price_ceiling(*edge)).max().unwrap_or(PriceCeiling::ZERO)
    }

    /// Returns the ceiling of the paths from a token through those of its neighbours that `admits` admits.
    fn price_through_neighbours(
        &self,
        token: usize,
        prices: &[PriceCeiling],
        admits: impl Fn(usize) -> bool,
    ) -> PriceCeiling {
        let neighbours = self.pools.graph().neighbours(token).iter();
        let connected =
            neighbours.filter(|next| admits(next.token) && prices[next.token] != PriceCeiling::ZERO);
        let price = connected.map(|next| self.best_ceiling(&next.edges).times(prices[next.token]));
        price.max().unwrap_or(PriceCeiling::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{ConstantProduct, Curve};
    use crate::fee::Fee;
    use crate::pool::Pool;
    use crate::pool_set::PoolSet;
    use crate::quote::RouteQuote;
    use crate::trade::Moment;
    use proptest::prelude::*;

    const TOKENS: [&str; 4] = ["A", "B", "C", "D"];

    /// Returns a pool for each pair of tokens, with these depths, prices and fees.
    fn pools(shapes: &[(u128, u128, u64)]) -> PoolSet {
        let pairs = (0..TOKENS.len()).flat_map(|a| (a + 1..TOKENS.len()).map(move |b| (a, b)));
        let pool = |((a, b), &(depth, price_ppm, fee_bps)): ((usize, usize), &(u128, u128, u64))| {
            let reserve = |units| Amount::new(units);
            let fee = Fee::new(fee_bps, 10_000).unwrap();
            let curve =
                ConstantProduct::new(reserve(depth), reserve(depth * price_ppm / 1_000_000), fee).unwrap();
            let (a, b) = (TOKENS[a], TOKENS[b]);
            Pool::new(format!("{a}{b}"), "Raydium", (a, b), Curve::ConstantProduct(curve))
        };
        PoolSet::new(pairs.zip(shapes).map(pool).collect())
    }

    fn net(route: Option<RouteQuote<'_>>) -> i128 {
        let wide = |amount: Amount| i128::try_from(amount.base_units()).unwrap();
        route.map_or(i128::MIN, |route| wide(route.amount_out) - wide(route.chain_cost))
    }

    proptest! {
        #[test]
        fn what_is_not_searched_would_not_have_been_better(
            shapes in proptest::collection::vec((1_u128 << 30..1 << 50, 995_000_u128..1_005_000, 1_u64..60), 6),
            amount in 1_u128 << 20..1 << 45, leg_cost in 0..10_000_u128,
        ) {
            let pools = pools(&shapes);
            let search = Search::new(&pools, Moment::EARLIEST).with_leg_cost(Amount::new(leg_cost));
            let (pair, amount) = (("A", "B"), Amount::new(amount));
            let paths = search.direct_paths(pair.0, pair.1, &mut Vec::new());
            let direct = net(search.best_split(pair.0, pair.1, amount).best);
            let (detour, combined) = search.best_over_detours(pair, amount);
            if !search.detours_may_pay(&paths, pair, amount) {
                // The rounding of a split is two units per leg.
                prop_assert!(direct + 20 >= net(detour).max(net(combined)));
            }
        }
    }

    #[test]
    fn detours_are_searched_where_they_could_pay() {
        let detours_may_pay = |depth: u128, there_ppm: u128, amount: u128| {
            let even = (1 << 40, 1_000_000, 25);
            let pools = pools(&[(depth, 1_000_000, 25), (1 << 40, there_ppm, 25), even, even, even, even]);
            let search = Search::new(&pools, Moment::EARLIEST);
            let paths = search.direct_paths("A", "B", &mut Vec::new());
            search.detours_may_pay(&paths, ("A", "B"), Amount::new(amount))
        };
        assert!(!detours_may_pay(1 << 40, 1_000_000, 1 << 28), "a detour pays two fees instead of one");
        assert!(detours_may_pay(1 << 40, 1_010_000, 1 << 28), "another pool pays more");
        assert!(detours_may_pay(1 << 40, 1_000_000, 1 << 34), "the order moves the price by more than a fee");
        assert!(detours_may_pay(1 << 20, 1_000_000, 1 << 20), "the direct pool is nearly empty");
    }

    #[test]
    fn only_paths_of_several_pools_count_and_none_through_the_ends() {
        let even = (1 << 40, 1_000_000, 0);
        let pools = pools(&[(1 << 40, 9_000_000, 0), even, even, even, even, even]);
        let one = Search::new(&pools, Moment::EARLIEST).detour_ceiling(("A", "B"));
        assert_eq!(one, PriceCeiling::ONE);
    }
}
