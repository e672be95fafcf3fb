//! The time that routing takes, and its gaps to the optimum.
//!
//! `cargo bench -p order-engine-benches --bench routing` measures the time. With `GAPS=1` before it, it
//! prints the table of gaps and measures nothing.
#![allow(missing_docs)] // The macros of criterion define public functions.

mod gaps;
mod naive;
mod pools;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group};
use order_engine_core::{Amount, DexRouter, QuoteRequest, Runtime, Token};
use order_engine_routing::{
    Curve, Direction, Pool, PoolFeed, PoolSet, PoolSource, Reading, Router, RouterConfig, Search,
    SearchLimits,
};

use crate::pools::{KINDS, Kind, MIXED, Maker, NOW};

/// An order that moves prices by a few percent: a fifth of the smallest pool.
const AMOUNT: u128 = 20_000_000_000;
/// The amount of an order that would use far more pools than it may.
const LARGE_AMOUNT: u128 = 50 * AMOUNT;

/// Returns limits that allow a split over any number of pools in these benchmarks.
fn many_legs() -> SearchLimits {
    SearchLimits::default().with_max_legs(64)
}

fn quote(c: &mut Criterion) {
    let mut group = c.benchmark_group("quote");
    for (kind, name) in KINDS {
        let pool = Maker::new(1).pool(0, ("A", "B"), kind);
        // The first order stays within a tick or bin, and the second one crosses several.
        for (size, amount) in [("small", AMOUNT / 1_000_000), ("large", AMOUNT)] {
            let amount = black_box(Amount::new(amount));
            assert!(pool.amount_out(Direction::AToB, amount, NOW).is_ok(), "{name} takes {size} orders");
            group.bench_function(BenchmarkId::new(name, format!("exact_in_{size}")), |b| {
                b.iter(|| pool.amount_out(black_box(Direction::AToB), amount, NOW));
            });
            group.bench_function(BenchmarkId::new(name, format!("exact_out_{size}")), |b| {
                b.iter(|| pool.amount_in(black_box(Direction::AToB), amount, NOW));
            });
        }
    }
    group.finish();
}

fn best_pool(c: &mut Criterion) {
    let mut group = c.benchmark_group("best_pool");
    for count in [2, 10, 100, 1_000] {
        let pools = Maker::new(2).pair(count, &[Kind::ConstantProduct]);
        group.bench_function(BenchmarkId::new("search", count), |b| {
            b.iter(|| Search::new(&pools, NOW).best_pool("A", "B", black_box(Amount::new(AMOUNT))));
        });
        group.bench_function(BenchmarkId::new("naive", count), |b| {
            b.iter(|| naive::best_single(&pools, black_box(AMOUNT)));
        });
    }
    group.finish();
}

fn split(c: &mut Criterion) {
    let mut group = c.benchmark_group("split");
    for (kinds, name) in [(&[Kind::ConstantProduct][..], "constant_product"), (&MIXED[..], "mixed")] {
        for count in [2, 4, 8, 16, 64] {
            let pools = Maker::new(3).pair(count, kinds);
            let amount = Amount::new(AMOUNT * count as u128);
            group.bench_function(BenchmarkId::new(name, count), |b| {
                let search = Search::new(&pools, NOW).with_limits(many_legs());
                b.iter(|| search.best_split("A", "B", black_box(amount)));
            });
            group.bench_function(BenchmarkId::new(format!("{name}_with_leg_cost"), count), |b| {
                let leg_cost = Amount::new(AMOUNT / 1_000);
                let search = Search::new(&pools, NOW).with_limits(many_legs()).with_leg_cost(leg_cost);
                b.iter(|| search.best_split("A", "B", black_box(amount)));
            });
            group.bench_function(BenchmarkId::new(format!("{name}_naive_100_chunks"), count), |b| {
                b.iter(|| naive::chunked(&pools, black_box(amount.base_units()), 100));
            });
        }
    }
    group.finish();
}

fn paths(c: &mut Criterion) {
    let mut group = c.benchmark_group("paths");
    let amount = Amount::new(AMOUNT);
    for count in [100, 1_000, 10_000] {
        let hubs = Maker::new(4).graph(count, &[Kind::ConstantProduct]);
        let thicket = Maker::new(4).thicket(count, &[Kind::ConstantProduct]);
        for (name, pools) in [("hubs", &hubs), ("thicket", &thicket)] {
            for max_hops in [2, 3, 4] {
                let limits = SearchLimits::default().with_max_hops(max_hops);
                group.bench_function(BenchmarkId::new(format!("{name}_{max_hops}_hops"), count), |b| {
                    b.iter(|| {
                        Search::new(pools, NOW).with_limits(limits).best_path("A", "B", black_box(amount))
                    });
                });
            }
            group.bench_function(BenchmarkId::new(format!("{name}_exact_out"), count), |b| {
                b.iter(|| Search::new(pools, NOW).best_exact_out("A", "B", black_box(amount)));
            });
            group.bench_function(BenchmarkId::new(format!("{name}_best_of_all"), count), |b| {
                b.iter(|| Search::new(pools, NOW).best("A", "B", black_box(amount)));
            });
        }
        // How long it takes depends on the graph.
        for seed in 4..12 {
            let hubs = Maker::new(seed).graph(count, &[Kind::ConstantProduct]);
            let mixed = Maker::new(seed).graph(count, &MIXED);
            for (name, pools, amount) in [
                ("hubs_best_of_all_graph", &hubs, AMOUNT),
                ("hubs_best_of_all_large_graph", &hubs, LARGE_AMOUNT),
                ("mixed_hubs_best_of_all_graph", &mixed, AMOUNT),
            ] {
                let amount = Amount::new(amount);
                group.bench_function(BenchmarkId::new(format!("{name}_{seed}"), count), |b| {
                    b.iter(|| Search::new(pools, NOW).best("A", "B", black_box(amount)));
                });
            }
        }
    }
    let mixed = Maker::new(4).graph(100, &MIXED);
    group.sample_size(10);
    group.bench_function(BenchmarkId::new("mixed_hubs_naive_200_chunks", 100), |b| {
        b.iter(|| naive::chunked_paths(&mixed, black_box(AMOUNT), 200));
    });
    group.finish();
}

/// Measures updates of one pool among many: of the whole pool, of its price only, and as a new set of all.
fn update(c: &mut Criterion) {
    let mut group = c.benchmark_group("update");
    for count in [1_000, 100_000] {
        let feed = PoolFeed::new(Maker::new(6).graph(count, &MIXED));
        let known = |id: &str| feed.snapshot().get(id).expect("the pool exists").clone();
        let mut slot = 0;
        let mut next = || {
            slot += 1;
            Reading::new(slot, NOW)
        };
        // The first two pools of the mixture: constant product, and concentrated liquidity.
        let whole = known("pool-0000");
        group.bench_function(BenchmarkId::new("one_pool", count), |b| {
            b.iter(|| feed.update(black_box(std::slice::from_ref(&whole)), next()));
        });
        let Curve::Concentrated(liquid) = known("pool-0001").curve else { panic!("another curve") };
        let state = liquid.state();
        let price_only = |curve: &Curve| match curve {
            Curve::Concentrated(curve) => curve
                .at_price(state.sqrt_price_x64, state.tick_current, state.liquidity)
                .map(Curve::Concentrated),
            curve => Ok(curve.clone()),
        };
        group.bench_function(BenchmarkId::new("one_price", count), |b| {
            b.iter(|| feed.revise(black_box("pool-0001"), next(), price_only));
        });
        let pools: Vec<Pool> = feed.snapshot().pools().cloned().collect();
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("naive_all_pools", count), |b| {
            b.iter(|| PoolSet::read_at(black_box(pools.clone()), Reading::default()));
        });
    }
    group.finish();
}

fn router(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    let mut group = c.benchmark_group("router_quote");
    for (kinds, name, count) in [
        (&[Kind::ConstantProduct][..], "constant_product", 100),
        (&[Kind::ConstantProduct], "constant_product", 1_000),
        (&MIXED, "mixed", 100),
        (&MIXED, "mixed", 1_000),
    ] {
        let pools = Maker::new(5).graph(count, kinds);
        let feed = Arc::new(PoolFeed::new(pools));
        let router = Router::new(feed, Runtime::tokio().clock).with_config(RouterConfig::default());
        let token = |mint: &str| Token::new(mint, mint, 6);
        let request = QuoteRequest::new(token("A"), token("B"), Amount::new(AMOUNT));
        group.bench_function(BenchmarkId::new(name, count), |b| {
            b.iter(|| runtime.block_on(router.quote(black_box(&request))));
        });
    }
    group.finish();
}

criterion_group!(routing, quote, best_pool, split, paths, update, router);

fn main() {
    if std::env::var_os("GAPS").is_some() {
        gaps::print();
        return;
    }
    routing();
    Criterion::default().configure_from_args().final_summary();
}
