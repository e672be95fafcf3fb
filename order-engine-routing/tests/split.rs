//! Splits: never below the best single pool, and as good as any other way to split.

mod support;

use order_engine_core::Amount;
use order_engine_routing::{
    NetAmount, Pool, PoolSet, QuoteError, RejectReason, RouteQuote, Search, SearchBudget, SearchLimits,
};
use proptest::prelude::*;
use support::{NOW, amount, check, chunked, constant_product, constant_products, pays};

/// Returns limits for a split over the pools of the pair with any number of legs.
fn unbounded() -> SearchLimits {
    SearchLimits::default().with_max_legs(64).with_max_hops(1).with_labels_per_token(1)
}

/// Returns the best split with any number of legs.
fn split(pools: &PoolSet, amount_in: u128, leg_cost: u128) -> Option<RouteQuote<'_>> {
    let search = Search::new(pools, NOW).with_limits(unbounded()).with_leg_cost(amount(leg_cost));
    let found = search.best_split("A", "B", amount(amount_in)).best;
    if let Some(route) = &found {
        check(route, "A", "B");
    }
    found
}

fn best_single(pools: &[Pool], amount_in: u128) -> Option<u128> {
    pools.iter().filter_map(|pool| pays(pool, amount_in)).max().filter(|&out| out > 0)
}

/// Returns the best output net of costs over every subset of the pools, each split in small chunks.
fn best_subset(pools: &[Pool], amount_in: u128, leg_cost: u128, chunks: u128) -> Option<u128> {
    let subsets = (1_usize..1 << pools.len()).filter_map(|mask| {
        let subset: Vec<Pool> = pools
            .iter()
            .enumerate()
            .filter(|(index, _)| mask >> index & 1 == 1)
            .map(|(_, pool)| pool.clone())
            .collect();
        let out = chunked(&subset, amount_in, chunks)?;
        Some(out.saturating_sub(leg_cost * subset.len() as u128))
    });
    subsets.max()
}

proptest! {
    #[test]
    fn never_below_the_best_single_pool(pools in constant_products(12), amount_in in 1_u128..1 << 55, leg_cost in 0_u128..1 << 30) {
        let single = best_single(&pools, amount_in);
        let set = PoolSet::new(pools);
        if let (Some(single), Some(route)) = (single, split(&set, amount_in, leg_cost)) {
            prop_assert!(route.net_amount_out() >= NetAmount::of(amount(single), amount(leg_cost)));
        }
    }

    #[test]
    fn as_good_as_twenty_thousand_chunks(pools in constant_products(4), amount_in in 1_u128 << 20..1 << 52) {
        let Some(chunked) = chunked(&pools, amount_in, 20_000) else { return Ok(()) };
        let set = PoolSet::new(pools);
        let Some(route) = split(&set, amount_in, 0) else { return Ok(()) };
        prop_assert!(route.is_proven_optimal);
        // Chunks can only win by the rounding of each leg.
        prop_assert!(route.amount_out.base_units() + 4 >= chunked, "{} of {}", route.amount_out, chunked);
    }

    #[test]
    fn as_good_as_every_subset(
        pools in constant_products(5), amount_in in 1_u128 << 30..1 << 45, cost_ppm in 1_u128..20_000,
    ) {
        let leg_cost = amount_in * cost_ppm / 1_000_000;
        let Some(best) = best_subset(&pools, amount_in, leg_cost, 500) else { return Ok(()) };
        let set = PoolSet::new(pools);
        let Some(route) = split(&set, amount_in, leg_cost) else { return Ok(()) };
        prop_assert!(route.is_proven_optimal);
        prop_assert!(route.net_amount_out().gain().base_units() + 5 >= best, "{} of {}", route.net_amount_out(), best);
    }

    #[test]
    fn a_search_repeats_itself_whatever_the_order_of_the_pools(
        pools in constant_products(9), amount_in in 1_u128 << 20..1 << 50, leg_cost in 0_u128..1 << 20, turn in 0_usize..9,
    ) {
        let mut turned = pools.clone();
        turned.rotate_left(turn % pools.len());
        let (one, other) = (PoolSet::new(pools), PoolSet::new(turned));
        let amounts = |route: RouteQuote<'_>| {
            let mut legs: Vec<_> = route.legs.iter().map(|leg| (leg.pool.id.clone(), leg.amount_in, leg.amount_out)).collect();
            legs.sort();
            (route.amount_out, legs)
        };
        let (one, other) = (split(&one, amount_in, leg_cost), split(&other, amount_in, leg_cost));
        prop_assert_eq!(one.map(amounts), other.map(amounts));
    }
}

#[test]
fn equal_pools_share_equally() {
    let pools =
        (0..4).map(|number| constant_product(&format!("p{number}"), (1 << 40, 1 << 40), 25)).collect();
    let set = PoolSet::new(pools);
    let route = split(&set, 1 << 30, 0).unwrap();
    let inputs: Vec<u128> = route.legs.iter().map(|leg| leg.amount_in.base_units()).collect();
    assert_eq!(inputs.len(), 4);
    assert!(inputs.iter().all(|&part| part.abs_diff(1 << 28) < 8), "{inputs:?}");
    assert!(route.is_proven_optimal);
}

#[test]
fn a_leg_must_pay_more_than_it_costs() {
    let pools = vec![
        constant_product("deep", (1 << 40, 1 << 40), 25),
        constant_product("side", (1 << 36, 1 << 36), 25),
    ];
    let set = PoolSet::new(pools);
    let free = split(&set, 1 << 36, 0).unwrap();
    let single = Search::new(&set, NOW).best_pool("A", "B", amount(1 << 36)).best.unwrap();
    let worth = free.amount_out.base_units() - single.amount_out.base_units();
    assert_eq!(free.legs.len(), 2);
    assert_eq!(split(&set, 1 << 36, worth - 1).unwrap().legs.len(), 2);
    // At the same net output the route with fewer legs wins.
    assert_eq!(split(&set, 1 << 36, worth).unwrap().legs, single.legs);
}

#[test]
fn a_route_has_at_most_the_allowed_legs() {
    let pools = (0..20).map(|number| {
        constant_product(&format!("p{number:02}"), (1 << (40 - number), 1 << (40 - number)), 25)
    });
    let set = PoolSet::new(pools.collect());
    let mut last = Amount::ZERO;
    for max_legs in 1..=20 {
        let search = Search::new(&set, NOW).with_limits(unbounded().with_max_legs(max_legs));
        let route = search.best_split("A", "B", amount(1 << 38)).best.unwrap();
        check(&route, "A", "B");
        assert!(route.legs.len() <= max_legs && route.amount_out >= last, "{max_legs}");
        last = route.amount_out;
    }
}

#[test]
fn several_pools_take_an_amount_that_none_takes_alone() {
    let huge = u128::MAX / 2;
    let pools = vec![constant_product("one", (huge, huge), 25), constant_product("two", (huge, huge), 25)];
    let set = PoolSet::new(pools);
    let search = Search::new(&set, NOW);
    let alone = search.best_pool("A", "B", Amount::MAX);
    assert_eq!(alone.best, None);
    let reasons: Vec<_> =
        alone.rejected.iter().map(|rejected| (rejected.pool.id.as_str(), rejected.reason)).collect();
    let overflow = RejectReason::Quote(QuoteError::Overflow);
    assert_eq!(reasons, [("one", overflow), ("two", overflow)]);
    let together = search.best_split("A", "B", Amount::MAX);
    check(together.best.as_ref().unwrap(), "A", "B");
    assert_eq!(together.rejected, []);
}

#[test]
fn without_a_budget_the_best_single_pool_is_found() {
    let pools = vec![
        constant_product("one", (1 << 40, 1 << 40), 25),
        constant_product("two", (1 << 40, 1 << 40), 20),
    ];
    let set = PoolSet::new(pools);
    let search = Search::new(&set, NOW).with_leg_cost(amount(1)).with_budget(SearchBudget::evaluations(0));
    let route = search.best_split("A", "B", amount(1 << 30)).best.unwrap();
    assert!(!route.is_proven_optimal);
    assert!(
        route.net_amount_out() >= search.best_pool("A", "B", amount(1 << 30)).best.unwrap().net_amount_out()
    );
}

#[test]
fn limits_of_a_route_are_rounded_in_favour_of_the_order() {
    let set = PoolSet::new(vec![constant_product("one", (1_000_000, 2_000_000), 30)]);
    let route = split(&set, 1_000, 0).unwrap();
    // n = 997, out = ⌊997 · 2 000 000 / 1 000 997⌋ = 1 992.
    assert_eq!(route.amount_out, amount(1_992));
    assert_eq!(route.min_out(50), amount(1_982)); // 1 982.04
    assert_eq!(route.max_in(50), amount(1_005));
    assert_eq!(route.max_in(1), amount(1_001)); // 1 000.1
    assert_eq!(route.mid_price().unwrap().to_f64().to_bits(), 2.0_f64.to_bits());
    assert_eq!(route.limit_price(50).unwrap().to_f64().to_bits(), 1.982_f64.to_bits());
    assert_eq!(route.price_impact_bps(), Ok(40)); // 8 of 2 000 are missing.
}
