//! The gaps between the searches and the optimum.

use order_engine_core::Amount;
use order_engine_routing::{PoolSet, Search, SearchLimits, SearchOutcome};

use crate::naive;
use crate::pools::{Kind, MIXED, Maker, NOW};

/// The number of cases of each row.
const CASES: u64 = 200;

/// The number of graphs of each row.
const GRAPHS: u64 = 20;

/// The amount of the order on a graph, which moves the price of a single path by a few percent.
const GRAPH_AMOUNT: u128 = 1_000_000_000_000;

/// The amount of the order for which paths are compared.
const PATH_AMOUNT: u128 = 20_000_000_000;

/// Prints, for each number of pools, the worst gap to a greedy split into 20 000 chunks and the gaps of the
/// naive ways, in basis points.
pub(crate) fn print() {
    println!("{:>18} {:>5} {:>14} {:>14} {:>14}", "pools", "", "gap, units", "100 chunks", "best single");
    for (kinds, name) in [(&[Kind::ConstantProduct][..], "constant product"), (&MIXED[..], "mixed")] {
        for count in [2, 4, 8, 16, 64] {
            let (gap, chunked, single) = gaps(count, kinds);
            println!("{name:>18} {count:>5} {gap:>14} {:>14} {:>14}", bps(chunked), bps(single));
        }
    }
    print_graphs();
    print_labels();
}

/// Prints by how much the best route is better than 200 chunks that may share pools, within the limits of a
/// transaction and without them. The figure is negative if the chunks are better. Then prints by how much the
/// route is better than the best single path.
fn print_graphs() {
    println!("{:>18} {:>5} {:>14} {:>14} {:>14}", "graph", "", "32 legs", "64 legs", "best path");
    let wide = SearchLimits::default().with_max_legs(64);
    for count in [100, 1_000] {
        for name in ["hubs", "thicket"] {
            let mut sums = [0; 3];
            for seed in 0..GRAPHS {
                let pools = graph(name, seed, count);
                let amount = Amount::new(GRAPH_AMOUNT);
                let out =
                    |found: SearchOutcome<'_>| found.best.map_or(0, |route| route.amount_out.base_units());
                let best = out(Search::new(&pools, NOW).best("A", "B", amount));
                let widest = out(Search::new(&pools, NOW).with_limits(wide).best("A", "B", amount));
                let path = out(Search::new(&pools, NOW).best_path("A", "B", amount));
                let chunked = naive::chunked_paths(&pools, GRAPH_AMOUNT, 200);
                let leads = [lead_e8(best, chunked), lead_e8(widest, chunked), lead_e8(best, path)];
                sums.iter_mut().zip(leads).for_each(|(sum, lead)| *sum += lead);
            }
            let [best, widest, path] = sums.map(|sum| format!("{} bps", sum / i128::from(GRAPHS) / 10_000));
            println!("{name:>18} {count:>5} {best:>14} {widest:>14} {path:>14}");
        }
    }
}

/// Prints, for numbers of labels a token, on how many graphs the best path is below that of 64 labels, and on how many it
/// is proven.
fn print_labels() {
    println!("{:>18} {:>5} {:>14} {:>14} {:>14}", "labels a token", "", "graphs", "below 64", "proven");
    for (count, graphs) in [(100, 400), (1_000, 100)] {
        for name in ["hubs", "thicket"] {
            let pools: Vec<PoolSet> = (0..graphs).map(|seed| graph(name, seed, count)).collect();
            let best: Vec<(u128, bool)> = pools.iter().map(|pools| best_path(pools, 64)).collect();
            for labels in [1, 2, 4, 8, 16, 32] {
                let found = pools.iter().map(|pools| best_path(pools, labels));
                let (mut below, mut proven) = (0, 0);
                for ((out, is_proven), (most, _)) in found.zip(&best) {
                    below += u32::from(out < *most);
                    proven += u32::from(is_proven);
                }
                println!(
                    "{:>18} {labels:>5} {graphs:>14} {below:>14} {proven:>14}",
                    format!("{name} {count}")
                );
            }
        }
    }
}

fn graph(name: &str, seed: u64, count: usize) -> PoolSet {
    let (mut maker, kinds) = (Maker::new(seed), &[Kind::ConstantProduct]);
    if name == "hubs" { maker.graph(count, kinds) } else { maker.thicket(count, kinds) }
}

/// Returns what the best path pays, and whether that is proven.
fn best_path(pools: &PoolSet, labels: usize) -> (u128, bool) {
    let limits = SearchLimits::default().with_labels_per_token(labels);
    let found = Search::new(pools, NOW).with_limits(limits).best_path("A", "B", Amount::new(PATH_AMOUNT));
    found.best.map_or((0, false), |route| (route.amount_out.base_units(), route.is_proven_optimal))
}

/// Returns by how much the search is better than another way, in hundred-millionths.
fn lead_e8(out: u128, other: u128) -> i128 {
    let wide = |amount: u128| i128::try_from(amount).unwrap_or(i128::MAX);
    (wide(out) - wide(other)) * 100_000_000 / wide(out).max(1)
}

/// Returns the most base units by which the greedy split into 20 000 chunks is better than the search, and
/// the mean shares, in hundred-millionths, by which one into 100 chunks and the best single pool are worse.
fn gaps(count: usize, kinds: &[Kind]) -> (u128, u128, u128) {
    let limits = SearchLimits::default().with_max_legs(64);
    let mut worst = 0;
    let (mut chunked_e8, mut single_e8) = (0, 0);
    for seed in 0..CASES {
        let mut maker = Maker::new(seed);
        let pools = maker.pair(count, kinds);
        let amount = u128::from(maker.between(1_000_000, 20_000_000_000 * count as u64));
        let found = Search::new(&pools, NOW).with_limits(limits).best_split("A", "B", Amount::new(amount));
        let out = found.best.map_or(0, |route| route.amount_out.base_units());
        let single = naive::best_single(&pools, amount);
        assert!(out >= single, "a split is never below the best single pool");
        worst = worst.max(naive::chunked(&pools, amount, 20_000).saturating_sub(out));
        let behind_e8 = |naive: u128| out.saturating_sub(naive) * 100_000_000 / out.max(1);
        chunked_e8 += behind_e8(naive::chunked(&pools, amount, 100));
        single_e8 += behind_e8(single);
    }
    (worst, chunked_e8 / u128::from(CASES), single_e8 / u128::from(CASES))
}

/// Returns hundred-millionths as basis points.
fn bps(share: u128) -> String {
    format!("{}.{:04} bps", share / 10_000, share % 10_000)
}
