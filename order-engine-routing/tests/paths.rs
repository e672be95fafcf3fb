//! Paths of several pools, and splits over them.

mod support;

use std::time::Duration;

use order_engine_core::Amount;
use order_engine_routing::{
    Direction, Moment, Pool, PoolSet, Reading, RejectReason, RouteQuote, Search, SearchBudget, SearchLimits,
};
use proptest::prelude::*;
use support::{NOW, amount, check, pool_of};

const TOKENS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

/// Returns limits with enough labels that the search drops none in these graphs.
fn exhaustive() -> SearchLimits {
    SearchLimits::default().with_max_legs(8).with_max_hops(4).with_labels_per_token(512)
}

/// Generates a graph of a few tokens, with several pools for some pairs and none for others.
fn graph(pools: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Pool>> {
    let pool =
        (0..TOKENS.len(), 1..TOKENS.len(), 1_u128..1_000, 25_u32..45, 800_000_u128..1_250_000, 1_u64..100);
    proptest::collection::vec(pool, pools).prop_map(|pools| {
        let build = |(number, (from, turn, depth, bits, price_ppm, fee_bps))| {
            let to = (from + turn) % TOKENS.len();
            let reserves = (depth << bits, (depth << bits) * price_ppm / 1_000_000);
            let dex = ["Raydium", "Meteora"][number % 2];
            pool_of(dex, &format!("p{number:02}"), (TOKENS[from], TOKENS[to]), reserves, fee_bps)
        };
        pools.into_iter().enumerate().map(build).collect()
    })
}

/// Returns every path from a token to another that visits no token twice, as pools with directions.
fn all_paths<'a>(pools: &'a [Pool], visited: &mut Vec<&'a str>, to: &str) -> Vec<Vec<(&'a Pool, Direction)>> {
    let here = *visited.last().unwrap();
    if here == to {
        return vec![Vec::new()];
    }
    let mut paths = Vec::new();
    let may_go_on = visited.len() <= 4;
    for pool in pools.iter().filter(|_| may_go_on) {
        let Ok(direction) = pool.direction(here) else { continue };
        let next = if pool.token_a == here { &pool.token_b } else { &pool.token_a };
        if visited.contains(&next.as_str()) {
            continue;
        }
        visited.push(next);
        for mut path in all_paths(pools, visited, to) {
            path.insert(0, (pool, direction));
            paths.push(path);
        }
        visited.pop();
    }
    paths
}

/// Returns the best net output of any path, and the fewest hops of the paths with that output.
fn best_by_hand(pools: &[Pool], amount_in: u128, leg_cost: u128) -> Option<(i128, usize)> {
    let run = |path: &Vec<(&Pool, Direction)>| {
        let out = path
            .iter()
            .try_fold(amount(amount_in), |carried, (pool, way)| pool.amount_out(*way, carried, NOW));
        let wide = |units: u128| i128::try_from(units).unwrap();
        Some((wide(out.ok()?.base_units()) - wide(leg_cost) * path.len() as i128, path.len()))
    };
    let outs = all_paths(pools, &mut vec!["A"], "B").iter().filter_map(run).collect::<Vec<_>>();
    // Of equal losses the one with more legs pays more.
    let legs = |net: i128, hops: usize| if net < 0 { hops as i128 } else { -(hops as i128) };
    outs.into_iter().max_by_key(|&(net, hops)| (net, legs(net, hops)))
}

fn cheapest_by_hand(pools: &[Pool], amount_out: u128, leg_cost: u128) -> Option<(u128, usize)> {
    let run = |path: &Vec<(&Pool, Direction)>| {
        let needed = path
            .iter()
            .rev()
            .try_fold(amount(amount_out), |needed, (pool, way)| pool.amount_in(*way, needed, NOW));
        Some((needed.ok()?.base_units() + leg_cost * path.len() as u128, path.len()))
    };
    all_paths(pools, &mut vec!["A"], "B").iter().filter_map(run).min()
}

fn net(route: &RouteQuote<'_>) -> (i128, usize) {
    let wide = |amount: Amount| i128::try_from(amount.base_units()).unwrap();
    (wide(route.amount_out) - wide(route.chain_cost), route.legs.len())
}

proptest! {
    #[test]
    fn no_path_is_better(pools in graph(1..14), amount_in in 1_u128 << 10..1 << 50, leg_cost in 0_u128..1 << 12) {
        let set = PoolSet::new(pools.clone());
        let search = Search::new(&set, NOW).with_limits(exhaustive()).with_leg_cost(amount(leg_cost));
        let found = search.best_path("A", "B", amount(amount_in)).best;
        prop_assert_eq!(found.as_ref().map(net), best_by_hand(&pools, amount_in, leg_cost));
        if let Some(route) = found {
            check(&route, "A", "B");
            prop_assert!(route.is_proven_optimal);
        }
    }

    #[test]
    fn what_is_called_proven_is_the_best(pools in graph(1..14), amount_in in 1_u128 << 10..1 << 50, labels in 1_usize..4) {
        let set = PoolSet::new(pools.clone());
        let limits = exhaustive().with_labels_per_token(labels);
        let found = Search::new(&set, NOW).with_limits(limits).best_path("A", "B", amount(amount_in)).best;
        if let Some(route) = found.filter(|route| route.is_proven_optimal) {
            prop_assert_eq!(Some(net(&route)), best_by_hand(&pools, amount_in, 0));
        }
    }

    #[test]
    fn no_path_takes_less_for_an_output(pools in graph(1..14), amount_out in 1_u128 << 10..1 << 45, leg_cost in 0_u128..1 << 12) {
        let set = PoolSet::new(pools.clone());
        let search = Search::new(&set, NOW).with_limits(exhaustive()).with_leg_cost(amount(leg_cost));
        let found = search.best_path_exact_out("A", "B", amount(amount_out)).best;
        let total = |route: &RouteQuote<'_>| {
            let total = route.amount_in.base_units() + route.chain_cost.base_units();
            (total, route.legs.len())
        };
        prop_assert_eq!(found.as_ref().map(total), cheapest_by_hand(&pools, amount_out, leg_cost));
        if let Some(route) = found {
            check(&route, "A", "B");
            prop_assert!(route.amount_out >= amount(amount_out));
        }
    }

    #[test]
    fn the_best_of_all_is_never_below_any_part_of_it(
        pools in graph(1..24), amount_in in 1_u128 << 10..1 << 50, leg_cost in 0_u128..1 << 20,
    ) {
        let set = PoolSet::new(pools);
        let search = Search::new(&set, NOW).with_leg_cost(amount(leg_cost));
        let parts = [
            search.best_pool("A", "B", amount(amount_in)),
            search.best_split("A", "B", amount(amount_in)),
            search.best_path("A", "B", amount(amount_in)),
            search.best_detour("A", "B", amount(amount_in)),
        ];
        let best = search.best("A", "B", amount(amount_in)).best;
        let most = best.as_ref().map(RouteQuote::net_amount_out);
        for part in parts.iter().filter_map(|found| found.best.as_ref()) {
            check(part, "A", "B");
            prop_assert!(most >= Some(part.net_amount_out()), "{:?} of {:?}", best, part);
        }
        if let Some(best) = best {
            check(&best, "A", "B");
            prop_assert!(best.price_impact_bps().unwrap() <= 10_000);
        }
    }

    #[test]
    fn a_search_that_is_cut_short_still_finds_the_best_pool(
        pools in graph(1..24), amount_in in 1_u128 << 10..1 << 50, evaluations in 0_u64..200,
    ) {
        let set = PoolSet::new(pools);
        let search = Search::new(&set, NOW).with_budget(SearchBudget::evaluations(evaluations));
        let best = search.best("A", "B", amount(amount_in)).best.map(|route| route.amount_out);
        let single = search.best_pool("A", "B", amount(amount_in)).best.map(|route| route.amount_out);
        prop_assert!(best >= single);
    }
}

/// Returns a pool at par.
fn par(id: &str, tokens: (&str, &str), depth_bits: u32, fee_bps: u64) -> Pool {
    pool_of("Raydium", id, tokens, (1 << depth_bits, 1 << depth_bits), fee_bps)
}

#[test]
fn a_detour_must_pay_more_than_its_legs_cost() {
    let set = PoolSet::new(vec![
        par("direct", ("A", "B"), 40, 100),
        par("first", ("A", "C"), 40, 5),
        par("second", ("C", "B"), 40, 5),
    ]);
    let amount_in = amount(1 << 20);
    let ids = |leg_cost| {
        let route = Search::new(&set, NOW)
            .with_leg_cost(amount(leg_cost))
            .best_path("A", "B", amount_in)
            .best
            .unwrap();
        route.legs.iter().map(|leg| leg.pool.id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(ids(0), ["first", "second"]);
    assert_eq!(ids(1 << 15), ["direct"]);
}

#[test]
fn a_path_may_have_as_few_hops_as_the_limit_allows() {
    let set = PoolSet::new(vec![
        par("ab", ("A", "B"), 30, 5),
        par("ac", ("A", "C"), 40, 5),
        par("cb", ("C", "B"), 40, 5),
    ]);
    let route = |max_hops| {
        let limits = SearchLimits::default().with_max_hops(max_hops);
        Search::new(&set, NOW).with_limits(limits).best_path("A", "B", amount(1 << 29)).best.unwrap().id()
    };
    assert_eq!([1, 2, 3, 4].map(route), ["ab", "ac>cb", "ac>cb", "ac>cb"]);
}

#[test]
fn of_equal_routes_the_shorter_wins_then_the_smaller_id() {
    let pools = vec![par("z", ("A", "B"), 40, 0), par("y", ("A", "B"), 40, 0), par("x", ("B", "A"), 40, 0)];
    let set = PoolSet::new(pools);
    let search = Search::new(&set, NOW);
    for found in [search.best_pool("A", "B", amount(1 << 20)), search.best_path("A", "B", amount(1 << 20))] {
        assert_eq!(found.best.unwrap().legs[0].pool.id, "x");
    }
    assert_eq!(search.best_exact_out("A", "B", amount(1 << 20)).best.unwrap().legs[0].pool.id, "x");
}

#[test]
fn large_orders_use_pools_and_paths_side_by_side() {
    let set = PoolSet::new(vec![
        par("direct", ("A", "B"), 40, 30),
        par("ac", ("A", "C"), 40, 5),
        par("cb", ("B", "C"), 40, 5),
        par("ad", ("A", "D"), 39, 5),
        par("db", ("D", "B"), 39, 5),
    ]);
    let search = Search::new(&set, NOW);
    let route = search.best("A", "B", amount(1 << 39)).best.unwrap();
    check(&route, "A", "B");
    assert_eq!(route.legs.len(), 5, "three paths: {route:?}");
    assert!(!route.is_proven_optimal, "which paths to split over is not searched exhaustively");
    assert!(route.amount_out > search.best_path("A", "B", amount(1 << 39)).best.unwrap().amount_out);
}

#[test]
fn pools_with_stale_snapshots_are_rejected() {
    let earlier = Moment::from_unix_seconds(NOW.unix_seconds() - 11);
    let fresh = PoolSet::read_at(vec![par("old", ("A", "B"), 40, 5)], Reading::new(7, earlier));
    let set = fresh.updated(vec![par("new", ("A", "B"), 40, 30)], Reading::new(9, NOW));
    let limits = SearchLimits::default().with_max_age(Duration::from_secs(10));
    let search = Search::new(&set, NOW).with_limits(limits);
    let stale = RejectReason::Stale { age: Duration::from_secs(11), max_age: Duration::from_secs(10) };
    for found in [
        search.best_pool("A", "B", amount(1_000)),
        search.best_split("A", "B", amount(1_000)),
        search.best("A", "B", amount(1_000)),
        search.best_exact_out("A", "B", amount(1_000)),
    ] {
        assert_eq!(found.best.unwrap().legs[0].pool.id, "new");
        let reasons: Vec<_> = found.rejected.iter().map(|it| (it.pool.id.as_str(), it.reason)).collect();
        assert_eq!(reasons, [("old", stale)]);
    }
    let alone = Search::new(&fresh, NOW).with_limits(limits).best("A", "B", amount(1_000));
    assert_eq!((alone.best, alone.rejected.len()), (None, 1));
    assert_eq!(Search::new(&fresh, NOW).with_limits(limits).best_path("A", "B", amount(1_000)).best, None);
}

#[test]
fn unknown_tokens_have_no_route() {
    let set = PoolSet::new(vec![par("p", ("A", "B"), 40, 5)]);
    let search = Search::new(&set, NOW);
    for (input, output) in [("A", "Z"), ("Z", "A"), ("A", "A"), ("Z", "Z")] {
        assert_eq!(search.best(input, output, amount(1_000)).best, None, "{input} {output}");
        assert_eq!(search.best_exact_out(input, output, amount(1_000)).best, None);
    }
    assert_eq!(search.best("A", "B", Amount::ZERO).best, None);
}
