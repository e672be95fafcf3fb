//! Flows over paths that share pools, against the dual bound and against sequential chunks.

mod support;

use order_engine_routing::{Curve, Pool, PoolSet, Search, SearchLimits};
use support::bound::Dual;
use support::graphs::{chunked_paths, hub_pools, mixed_hub_pools};
use support::{NOW, amount, check, pool_of};

/// Returns the number of graphs: with `LONG=1` as many as a thorough run takes.
fn graphs(usual: u64, long: u64) -> u64 {
    if std::env::var_os("LONG").is_some() { long } else { usual }
}

#[test]
fn two_first_hops_share_one_last_hop() {
    let pools = vec![
        pool_of("Raydium", "one", ("A", "C"), (1_000_000, 1_000_000), 0),
        pool_of("Raydium", "two", ("A", "C"), (1_000_000, 1_000_000), 0),
        pool_of("Raydium", "last", ("C", "B"), (1 << 80, 1 << 80), 0),
    ];
    let set = PoolSet::new(pools);
    let route = Search::new(&set, NOW).best("A", "B", amount(1_000_000)).best.unwrap();
    check(&route, "A", "B");
    assert_eq!(route.legs.len(), 3);
    assert_eq!(route.id(), "one+two>last");
    assert!(route.amount_out >= amount(666_664), "{}", route.amount_out);
}

/// Returns by how many hundredths of a basis point a route is below a bound.
#[allow(clippy::cast_precision_loss)]
fn gap_e6(out: u128, bound: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)]
    let gap = ((bound - out as f64) / bound * 1e6) as i64;
    gap
}

/// Prints and returns the median, the 99th percentile and the worst.
fn quantiles(name: &str, mut gaps: Vec<i64>) -> (i64, i64, i64) {
    gaps.sort_unstable();
    let at = |share: usize| gaps[(gaps.len() - 1) * share / 100];
    let (median, p99, worst) = (at(50), at(99), at(100));
    println!(
        "{name}: {} graphs, gap in hundredths of a basis point: median {median}, p99 {p99}, worst {worst}",
        gaps.len()
    );
    (median, p99, worst)
}

/// Returns what the pools hold of A where it is their first token.
fn held(pool: &Pool) -> u128 {
    match &pool.curve {
        Curve::ConstantProduct(curve) if pool.token_a == "A" => curve.reserves().0.base_units(),
        _ => 0,
    }
}

#[test]
fn hub_routes_are_near_the_dual_bound() {
    // A class is how much of its price an order costs: an order of a share of what the pools of A hold. The bound knows
    // no limit of legs, so the default one is measured beside others.
    let usual = SearchLimits::default().max_legs;
    for (class, divisor) in [("small", 2_000), ("middle", 100), ("large", 10)] {
        let orders: Vec<Order> = (0..graphs(60, 2_000)).map(|seed| Order::new(seed, divisor)).collect();
        for legs in [16, 24, usual, 64] {
            let start = std::time::Instant::now();
            let gaps: Vec<i64> = orders.iter().filter_map(|order| order.gap_e6(legs)).collect();
            let each_us = start.elapsed().as_micros() / gaps.len() as u128;
            let (median, p99, worst) = quantiles(&format!("{class}, {legs} legs, {each_us} us each"), gaps);
            let is_near = median == 0 && p99 <= 20 && worst <= 100;
            assert!(legs < usual || is_near, "{class}, {legs} legs: {median} {p99} {worst}");
        }
    }
}

/// An order over a graph of hubs, and the dual bound of its output.
struct Order {
    seed: u64,
    set: PoolSet,
    amount_in: u128,
    bound: f64,
}

impl Order {
    /// Returns the order of a part of what the pools of A hold.
    fn new(seed: u64, divisor: u128) -> Self {
        let pools = hub_pools(seed);
        let amount_in = (pools.iter().map(held).sum::<u128>() / divisor).max(1);
        let bound = Dual::new(pools.iter(), ("A", "B"), amount_in).bound();
        Self { seed, set: PoolSet::new(pools), amount_in, bound }
    }

    /// Returns how far the best route of so many legs is below the bound; `None` if there is no route.
    fn gap_e6(&self, max_legs: usize) -> Option<i64> {
        let limits = SearchLimits::default().with_max_legs(max_legs);
        let search = Search::new(&self.set, NOW).with_limits(limits);
        let route = search.best("A", "B", amount(self.amount_in)).best?;
        check(&route, "A", "B");
        let gap = gap_e6(route.amount_out.base_units(), self.bound);
        assert!(gap >= -1, "seed {}: {} is above the bound {}", self.seed, route.amount_out, self.bound);
        Some(gap)
    }
}

#[test]
fn routes_over_every_curve_are_near_four_hundred_sequential_chunks() {
    let mut gaps = Vec::new();
    for seed in 0..graphs(12, 400) {
        let pools = mixed_hub_pools(seed);
        let set = PoolSet::new(pools.clone());
        for amount_in in [1_000_000_000, 10_000_000_000, 60_000_000_000] {
            let Some(route) = Search::new(&set, NOW).best("A", "B", amount(amount_in)).best else { continue };
            check(&route, "A", "B");
            if let Some(chunks) = chunked_paths(&pools, NOW, amount_in, 400) {
                let (out, chunks) = (route.amount_out.base_units(), chunks);
                let behind = chunks.saturating_sub(out) * 1_000_000 / chunks;
                gaps.push(i64::try_from(behind).unwrap());
            }
        }
    }
    let (_, p99, worst) = quantiles("behind chunks over every curve", gaps);
    assert!(p99 <= 50 && worst <= 500, "{p99} {worst}");
}
