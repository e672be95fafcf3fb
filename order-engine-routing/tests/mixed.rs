//! Splits over pools of every curve.

mod support;

use order_engine_routing::{Pool, PoolSet, Search, SearchLimits};
use proptest::prelude::*;
use support::mixed::{mixed, mixed_concave};
use support::{NOW, amount, check, chunked, pays};

/// The number of chunks of the split that serves as the reference.
const CHUNKS: u128 = 20_000;

/// Returns a configuration with few cases, because each takes 20 000 quotes. `PROPTEST_CASES` overrides it.
fn few_cases() -> ProptestConfig {
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    if is_set { ProptestConfig::default() } else { ProptestConfig::with_cases(24) }
}

/// Returns the net output of the best split, and whether it is proven.
fn split(pools: Vec<Pool>, amount_in: u128, leg_cost: u128) -> Option<(u128, bool)> {
    let set = PoolSet::new(pools);
    let limits = SearchLimits::default().with_max_legs(64);
    let search = Search::new(&set, NOW).with_limits(limits).with_leg_cost(amount(leg_cost));
    let route = search.best_split("A", "B", amount(amount_in)).best?;
    check(&route, "A", "B");
    Some((route.net_amount_out().gain().base_units(), route.is_proven_optimal))
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn within_a_basis_point_of_twenty_thousand_chunks(pools in mixed(6), amount_in in 1_u128 << 20..1 << 46) {
        if let Some(chunked) = chunked(&pools, amount_in, CHUNKS) {
            let (out, _) = split(pools, amount_in, 0).expect("chunks found a way, so there is one");
            prop_assert!(out + 12 >= chunked - chunked / 10_000, "{} of {}", out, chunked);
        }
    }

    #[test]
    fn what_is_proven_is_beaten_by_no_chunks(pools in mixed_concave(6), amount_in in 1_u128 << 20..1 << 46) {
        if let Some(chunked) = chunked(&pools, amount_in, CHUNKS) {
            let (out, is_proven) = split(pools, amount_in, 0).expect("chunks found a way, so there is one");
            prop_assert!(!is_proven || out + 12 >= chunked, "{} of {}", out, chunked);
        }
    }
}

proptest! {
    #[test]
    fn never_below_the_best_single_pool(pools in mixed(10), amount_in in 1_u128..1 << 48, leg_cost in 0_u128..1 << 30) {
        let single = pools.iter().filter_map(|pool| pays(pool, amount_in)).max().filter(|&out| out > 0);
        if let Some(single) = single {
            let (net, _) = split(pools, amount_in, leg_cost).expect("a single pool takes it");
            prop_assert!(net >= single.saturating_sub(leg_cost));
        }
    }
}
