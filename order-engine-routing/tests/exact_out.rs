//! Exact outputs over splits and several hops.

mod support;

use order_engine_core::Amount;
use order_engine_routing::{PoolSet, RouteQuote, Search};
use support::graphs::hub_pools;
use support::{NOW, amount, bin_of, check, pool_of};

fn total(route: &RouteQuote<'_>) -> u128 {
    route.amount_in.base_units() + route.chain_cost.base_units()
}

#[test]
fn an_exact_output_is_bought_for_no_more_than_the_best_path_and_about_what_the_input_buys() {
    let mut cheaper = 0;
    for seed in 0..40 {
        let set = PoolSet::new(hub_pools(seed));
        for (bits, leg_cost) in [(36, 0), (40, 0), (43, 1 << 24)] {
            let wanted = amount(1 << bits);
            let search = Search::new(&set, NOW).with_leg_cost(amount(leg_cost));
            let path = search.best_path_exact_out("A", "B", wanted).best;
            let Some(route) = search.best_exact_out("A", "B", wanted).best else {
                assert!(path.is_none());
                continue;
            };
            check(&route, "A", "B");
            assert!(route.amount_out >= wanted && !route.is_proven_optimal);
            assert_eq!(route.chain_cost, amount(leg_cost * route.legs.len() as u128));
            if let Some(path) = path {
                assert!(total(&route) <= total(&path), "seed {seed}");
                cheaper += usize::from(total(&route) < total(&path) - total(&path) / 10_000);
            }
            // One part in ten thousand less buys too little.
            let less = Amount::new(route.amount_in.base_units() - route.amount_in.base_units() / 10_000);
            let bought = Search::new(&set, NOW).best("A", "B", less).best.unwrap().amount_out;
            assert!(leg_cost > 0 || bought < wanted, "seed {seed}: {bought} for less");
        }
    }
    assert!(cheaper > 60, "{cheaper} of 120 are cheaper by a basis point");
}

#[test]
fn an_output_that_no_path_pays_alone_is_bought_over_several() {
    let set = PoolSet::new(vec![
        bin_of("ac", ("A", "C"), 600_000),
        pool_of("Raydium", "cb", ("C", "B"), (1 << 50, 1 << 50), 0),
        bin_of("ad", ("A", "D"), 600_000),
        pool_of("Raydium", "db", ("D", "B"), (1 << 50, 1 << 50), 0),
    ]);
    let search = Search::new(&set, NOW);
    assert_eq!(search.best_path_exact_out("A", "B", amount(1_000_000)).best, None);
    let route = search.best_exact_out("A", "B", amount(1_000_000)).best.unwrap();
    check(&route, "A", "B");
    assert!(route.amount_out >= amount(1_000_000) && route.amount_in <= amount(1_000_010), "{route:?}");
    assert_eq!(search.best_exact_out("A", "B", amount(1_300_000)).best, None);
}
