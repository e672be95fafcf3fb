//! Choices between routes that would lose money.

mod support;

use std::cell::Cell;

use order_engine_core::{Amount, DexRouter, QuoteRequest, Token, best, testing::ManualClock};
use order_engine_routing::{
    Curve, LegCost, Pool, PoolFeed, PoolSet, QuoteError, RejectReason, Router, RouterConfig, Search,
    SearchBudget, SearchLimits,
};
use proptest::prelude::*;
use std::sync::Arc;
use support::{NOW, amount, bin_of, check, pool_of, ticks_of};

fn ab(id: &str, reserves: (u128, u128), fee_bps: u64) -> Pool {
    pool_of("Raydium", id, ("A", "B"), reserves, fee_bps)
}

fn out(route: Option<order_engine_routing::RouteQuote<'_>>) -> u128 {
    let route = route.expect("there is a route");
    check(&route, "A", "B");
    route.amount_out.base_units()
}

#[test]
fn the_least_loss_is_chosen_where_a_leg_costs_more_than_the_output() {
    let set = PoolSet::new(vec![ab("a", (1 << 40, 1 << 33), 0), ab("z", (1 << 40, 1 << 40), 30)]);
    let search = Search::new(&set, NOW).with_leg_cost(amount(1_000));
    assert_eq!(out(search.best_pool("A", "B", amount(600)).best), 597);
    assert_eq!(out(search.best_path("A", "B", amount(600)).best), 597);
    assert_eq!(out(search.best_split("A", "B", amount(600)).best), 597);
    assert_eq!(out(search.best("A", "B", amount(600)).best), 597);
}

#[tokio::test]
async fn the_least_loss_is_chosen_among_the_candidates_of_a_router() {
    let poor = pool_of("Meteora", "a", ("A", "B"), (1 << 40, 1 << 33), 0);
    let set = PoolSet::new(vec![poor, ab("z", (1 << 40, 1 << 40), 30)]);
    let leg_cost = LegCost { mint: "B".into(), amount: amount(1_000) };
    let router = Router::new(Arc::new(PoolFeed::new(set)), Arc::new(ManualClock::new()))
        .with_config(RouterConfig::default().with_leg_cost(leg_cost));
    let token = |mint: &str| Token::new(mint, mint, 6);
    let candidates = router.quote(&QuoteRequest::new(token("A"), token("B"), amount(600))).await.unwrap();
    assert_eq!(best(&candidates).unwrap().amount_out, amount(597));
}

#[tokio::test]
async fn a_worthless_pool_decides_nothing() {
    // The chain is paid in N, of which a deep pool buys one for one. A pool of one unit of N offers a million.
    let pools = vec![
        ab("direct", (1 << 50, (1 << 50) / 100), 30),
        pool_of("Raydium", "first", ("A", "C"), (1 << 50, 1 << 50), 20),
        pool_of("Raydium", "second", ("C", "B"), (1 << 50, 1 << 50), 20),
        pool_of("Raydium", "native", ("N", "B"), (1 << 50, 1 << 50), 30),
        pool_of("Raydium", "dust", ("N", "B"), (1, 1_000_000), 30),
    ];
    let leg_cost = LegCost { mint: "N".into(), amount: amount(5_000) };
    let router = Router::new(Arc::new(PoolFeed::new(PoolSet::new(pools))), Arc::new(ManualClock::new()))
        .with_config(RouterConfig::default().with_leg_cost(leg_cost));
    let token = |mint: &str| Token::new(mint, mint, 6);
    let request = QuoteRequest::new(token("A"), token("B"), amount(1_000_000));
    let candidates = router.quote(&request).await.unwrap();
    let route = best(&candidates).unwrap();
    assert_eq!(route.legs.len(), 2, "{route:?}");
    assert!(route.amount_out > amount(990_000));
    assert_eq!(route.analysis.as_ref().unwrap().chain_cost, amount(2 * 4_985));
}

/// Returns two paths that take six tenths of a million each.
fn two_narrow_paths() -> Vec<Pool> {
    vec![
        bin_of("ac", ("A", "C"), 600_000),
        pool_of("Raydium", "cb", ("C", "B"), (1 << 50, 1 << 50), 0),
        bin_of("ad", ("A", "D"), 600_000),
        pool_of("Raydium", "db", ("D", "B"), (1 << 50, 1 << 50), 0),
    ]
}

#[test]
fn paths_that_only_together_take_the_amount_are_a_route() {
    let set = PoolSet::new(two_narrow_paths());
    let search = Search::new(&set, NOW);
    assert!(out(search.best("A", "B", amount(1_000_000)).best) >= 999_990);
}

#[test]
fn an_order_that_takes_all_that_the_pools_hold_takes_it_of_all_pools() {
    let pools = ["C", "D", "E"].into_iter().flat_map(|hub| {
        let first = pool_of("Raydium", &format!("a{hub}"), ("A", hub), (1_000_000, 1_000_000), 30);
        let last = pool_of("Raydium", &format!("b{hub}"), (hub, "B"), (1_000_000, 1_000_000), 30);
        [first, last]
    });
    let set = PoolSet::new(pools.collect());
    for bits in [26, 40, 60, 80] {
        let search = Search::new(&set, NOW);
        let path = out(search.best_path("A", "B", amount(1 << bits)).best);
        assert!(path < 500_000);
        // Nobody could sell it better than in three equal parts.
        let third = out(search.best_path("A", "B", amount((1 << bits) / 3)).best);
        let best = out(search.best("A", "B", amount(1 << bits)).best);
        assert!(best + best / 1_000 >= 3 * third, "{bits}: {best} of {}", 3 * third);
    }
}

#[test]
fn a_small_pool_does_not_hide_paths_that_only_together_take_the_amount() {
    let mut pools = two_narrow_paths();
    pools.push(ab("small", (100_000, 100_000), 0));
    let set = PoolSet::new(pools);
    let route = Search::new(&set, NOW).best("A", "B", amount(1_000_000)).best;
    assert!(out(route) >= 999_000);
}

#[test]
fn a_full_pool_leaves_its_leg_to_one_with_room() {
    let mut pools: Vec<Pool> =
        (0..9).map(|number| bin_of(&format!("bin-{number}"), ("A", "B"), 100_000)).collect();
    pools.push(ab("deep", (1_000_000, 1_000_000), 0));
    let set = PoolSet::new(pools);
    let search = Search::new(&set, NOW).with_limits(SearchLimits::default().with_max_legs(8));
    for found in [search.best_split("A", "B", amount(1_000_000)), search.best("A", "B", amount(1_000_000))] {
        assert!(out(found.best) >= 930_762);
    }
}

#[test]
fn hops_beyond_the_most_are_not_counted() {
    let set = PoolSet::new(two_narrow_paths());
    for max_hops in [usize::MAX, 1_000_000_000, 100_000_000] {
        let limits = SearchLimits::default().with_max_hops(max_hops).with_max_legs(usize::MAX);
        let search = Search::new(&set, NOW).with_limits(limits);
        assert!(out(search.best("A", "B", amount(100_000)).best) >= 99_990);
        assert!(search.best_exact_out("A", "B", amount(100_000)).best.is_some());
    }
}

#[test]
fn a_budget_ends_within_a_walk_through_many_ticks() {
    let mut pools: Vec<Pool> = (0..4).map(|number| ticks_of(&format!("t{number}"), 40_000)).collect();
    pools.push(ab("plain", (1 << 50, 1 << 50), 30));
    let set = PoolSet::new(pools);
    let calls = Cell::new(0);
    let budget = SearchBudget::until(|| {
        calls.set(calls.get() + 1);
        true
    });
    let search = Search::new(&set, NOW).with_budget(budget);
    let found = search.best("A", "B", amount(1 << 42));
    assert_eq!(calls.get(), 1, "the search asks within a walk, and never again once it is over");
    let route = found.best.expect("a pool without ticks answers");
    assert_eq!((route.id().as_str(), route.is_proven_optimal), ("plain", false));
    let unanswered =
        found.rejected.iter().filter(|it| it.reason == RejectReason::Quote(QuoteError::OutOfBudget));
    assert!(unanswered.count() >= 2, "{:?}", found.rejected);
}

proptest! {
    #[test]
    fn every_leg_pays_something(
        pools in proptest::collection::vec((0_u32..60, 0_u32..60, 0..4_usize, 0_u64..9_000), 2..9),
        bits in 0_u32..60, leg_cost in 0_u128..3,
    ) {
        let pairs = [("A", "B"), ("A", "B"), ("A", "C"), ("C", "B")];
        let pool = |(number, &(a, b, pair, fee)): (usize, &(u32, u32, usize, u64))| {
            pool_of("Raydium", &format!("p{number}"), pairs[pair], (1 << a, 1 << b), fee)
        };
        let set = PoolSet::new(pools.iter().enumerate().map(pool).collect());
        let search = Search::new(&set, NOW).with_leg_cost(amount(leg_cost));
        let input = amount((1 << bits) + 1);
        for found in [search.best("A", "B", input), search.best_split("A", "B", input), search.best_path("A", "B", input)] {
            let legs = found.best.map(|route| route.legs).unwrap_or_default();
            prop_assert!(legs.iter().all(|leg| !leg.amount_out.is_zero() && !leg.amount_in.is_zero()), "{:?}", legs);
        }
    }
}

#[test]
fn a_pool_that_pays_nothing_for_its_part_gets_none() {
    // In each of these a split that is seeded in floats gives a pool with one unit or two of B a part that it pays nothing for.
    type Shape = ((&'static str, &'static str), u32, u32, u64);
    let few: [Shape; 4] = [
        (("A", "C"), 46, 52, 8_253),
        (("C", "B"), 5, 31, 7_901),
        (("A", "B"), 45, 0, 6_544),
        (("A", "B"), 23, 13, 7_297),
    ];
    let more: [Shape; 5] = [
        (("A", "B"), 26, 8, 4_952),
        (("A", "B"), 58, 1, 6_260),
        (("C", "B"), 13, 30, 3_278),
        (("A", "C"), 39, 10, 8_392),
        (("A", "C"), 5, 44, 5_076),
    ];
    for (shapes, bits, empty) in [(&few[..], 54, "p2"), (&more[..], 52, "p1")] {
        let pool = |(number, &(tokens, a, b, fee)): (usize, &Shape)| {
            pool_of("Raydium", &format!("p{number}"), tokens, (1 << a, 1 << b), fee)
        };
        let set = PoolSet::new(shapes.iter().enumerate().map(pool).collect());
        let search = Search::new(&set, NOW);
        let input = amount((1 << bits) + 1);
        for found in [search.best("A", "B", input), search.best_split("A", "B", input)] {
            let route = found.best.unwrap();
            check(&route, "A", "B");
            assert!(route.legs.iter().all(|leg| leg.pool.id != empty), "{route:?}");
        }
    }
}

#[test]
fn the_reserves_after_a_trade_lose_each_share_of_the_fee_rounded_by_itself() {
    let json = serde_json::json!({
        "kind": "constant_product", "reserve_a": "1000000", "reserve_b": "1000000",
        "fee": { "numerator": 2_500, "denominator": 1_000_000 },
        "protocol_share": { "numerator": 120_000, "denominator": 1_000_000 },
        "fund_share": { "numerator": 40_000, "denominator": 1_000_000 },
    });
    let Curve::ConstantProduct(pool) = serde_json::from_value(json).unwrap() else { panic!("another curve") };
    // The fee is ⌈10 000 · 0.0025⌉ = 25, of which ⌊25 · 0.12⌋ = 3 and ⌊25 · 0.04⌋ = 1 leave the pool.
    let after = pool.after(order_engine_routing::Direction::AToB, Amount::new(10_000)).unwrap();
    assert_eq!(after.reserves().0, amount(1_000_000 + 10_000 - 3 - 1));
    // Of ⌈9 900 · 0.0025⌉ = 25 both shares together would be 4, of 24 they would be 3 and are 2.
    let after = pool.after(order_engine_routing::Direction::AToB, Amount::new(9_600)).unwrap();
    assert_eq!(after.reserves().0, amount(1_000_000 + 9_600 - 2));
}
