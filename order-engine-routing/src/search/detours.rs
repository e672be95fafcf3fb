//! When paths of several pools need not be searched.

use order_engine_core::Amount;

use super::Search;
use crate::ceiling::Ceiling;
use crate::lane::{Lane, MAX_HOPS};

impl Search<'_> {
    /// Whether a path of several pools could be a part of the best route, where these pools trade the
    /// pair directly.
    ///
    /// It could not if there is a pool that, having taken the whole amount, pays more for as much again
    /// than any path could pay for it even at the prices before any trade. For whatever part of the
    /// amount a route sends over such paths, the pool takes it too, in one leg instead of several, and
    /// as its output is concave, it pays no less for it.
    pub(super) fn may_detour(&self, lanes: &[Lane<'_>], pair: (&str, &str), amount: Amount) -> bool {
        if self.limits.max_hops.min(self.limits.max_legs) < 2 {
            return false;
        }
        let most = lanes.iter().filter_map(|lane| self.paid_for_as_much_again(lane, amount)).max();
        most.is_none_or(|most| most <= self.detour_ceiling(pair).of(amount))
    }

    /// What a lane that has taken the amount pays for as much again.
    fn paid_for_as_much_again(&self, lane: &Lane<'_>, amount: Amount) -> Option<u128> {
        if !lane.is_concave() {
            return None;
        }
        let once = lane.amount_out(amount, self.at).ok()?;
        let twice = lane.amount_out(amount.checked_add(amount)?, self.at).ok()?;
        Some(twice.checked_sub(once)?.base_units())
    }

    /// A price that no path of several pools between two tokens betters.
    fn detour_ceiling(&self, (input, output): (&str, &str)) -> Ceiling {
        let graph = self.pools.graph();
        let Some((from, to)) = graph.token(input).zip(graph.token(output)) else { return Ceiling::ZERO };
        let max_hops = self.limits.max_hops.min(self.limits.max_legs).min(MAX_HOPS);
        // By token: the best price of the ways from there to the end that are short enough so far.
        let mut prices = vec![Ceiling::ZERO; graph.len()];
        prices[to] = Ceiling::ONE;
        let mut longer = prices.clone();
        for _ in 1..max_hops {
            for token in (0..graph.len()).filter(|&token| token != to && token != from) {
                longer[token] = self.price_onward(token, &prices, |_| true);
            }
            prices.copy_from_slice(&longer);
        }
        self.price_onward(from, &prices, |next| next != to)
    }

    /// The best price of the ways that go on from a token over those that `counts` admits.
    fn price_onward(&self, token: usize, prices: &[Ceiling], counts: impl Fn(usize) -> bool) -> Ceiling {
        let neighbours = self.pools.graph().neighbours(token).iter();
        let ways = neighbours.filter(|next| counts(next.token) && prices[next.token] != Ceiling::ZERO);
        let price = ways.map(|next| {
            let swap = next.edges.iter().map(|edge| self.pools.ceiling(*edge)).max();
            swap.unwrap_or(Ceiling::ZERO).times(prices[next.token])
        });
        price.max().unwrap_or(Ceiling::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{ConstantProduct, Curve};
    use crate::fee::Fee;
    use crate::pool::Pool;
    use crate::quote::RouteQuote;
    use crate::source::PoolSet;
    use crate::trade::Moment;
    use proptest::prelude::*;

    const TOKENS: [&str; 4] = ["A", "B", "C", "D"];

    /// A pool of each pair of tokens, of these depths, prices and fees.
    fn pools(shapes: &[(u128, u128, u64)]) -> PoolSet {
        let pairs = (0..TOKENS.len()).flat_map(|a| (a + 1..TOKENS.len()).map(move |b| (a, b)));
        let pool = |((a, b), &(depth, price_ppm, fee_bps)): ((usize, usize), &(u128, u128, u64))| {
            let reserve = |units| Amount::new(units);
            let fee = Fee::new(fee_bps, 10_000).unwrap();
            let curve =
                ConstantProduct::new(reserve(depth), reserve(depth * price_ppm / 1_000_000), fee).unwrap();
            let (token_a, token_b) = (TOKENS[a].to_owned(), TOKENS[b].to_owned());
            let (id, dex) = (format!("{token_a}{token_b}"), "Raydium".to_owned());
            Pool { id, dex, token_a, token_b, curve: Curve::ConstantProduct(curve) }
        };
        PoolSet::new(pairs.zip(shapes).map(pool).collect())
    }

    fn net(route: Option<RouteQuote<'_>>) -> u128 {
        route.map_or(0, |route| route.net_amount_out().base_units())
    }

    proptest! {
        #[test]
        fn what_is_not_searched_would_not_have_been_better(
            shapes in proptest::collection::vec((1_u128 << 30..1 << 50, 995_000_u128..1_005_000, 1_u64..60), 6),
            amount in 1_u128 << 20..1 << 45, leg_cost in 0..10_000_u128,
        ) {
            let pools = pools(&shapes);
            let search = Search::new(&pools, Moment::EARLIEST).leg_cost(Amount::new(leg_cost));
            let (pair, amount) = (("A", "B"), Amount::new(amount));
            let lanes = search.direct_lanes(pair.0, pair.1, &mut Vec::new());
            let direct = net(search.best_split(pair.0, pair.1, amount).best);
            let (detour, combined) = search.with_detours(lanes.clone(), pair, amount);
            if !search.may_detour(&lanes, pair, amount) {
                // Two units a leg, as every division.
                prop_assert!(direct + 20 >= net(detour).max(net(combined)));
            }
        }
    }

    #[test]
    fn detours_are_searched_where_they_could_pay() {
        let may_detour = |depth: u128, there_ppm: u128, amount: u128| {
            let even = (1 << 40, 1_000_000, 25);
            let pools = pools(&[(depth, 1_000_000, 25), (1 << 40, there_ppm, 25), even, even, even, even]);
            let search = Search::new(&pools, Moment::EARLIEST);
            let lanes = search.direct_lanes("A", "B", &mut Vec::new());
            search.may_detour(&lanes, ("A", "B"), Amount::new(amount))
        };
        assert!(!may_detour(1 << 40, 1_000_000, 1 << 28), "two fees instead of one");
        assert!(may_detour(1 << 40, 1_010_000, 1 << 28), "another pool pays more");
        assert!(may_detour(1 << 40, 1_000_000, 1 << 34), "so much moves the price by more than a fee");
        assert!(may_detour(1 << 20, 1_000_000, 1 << 20), "there is next to nothing");
    }

    #[test]
    fn only_paths_of_several_pools_count_and_none_through_the_ends() {
        let even = (1 << 40, 1_000_000, 0);
        let pools = pools(&[(1 << 40, 9_000_000, 0), even, even, even, even, even]);
        let one = Search::new(&pools, Moment::EARLIEST).detour_ceiling(("A", "B"));
        assert_eq!(one, Ceiling::ONE);
    }
}
