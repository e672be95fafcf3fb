//! How near to the optimum the searches come.

use order_engine_core::Amount;
use order_engine_routing::{Search, SearchLimits};

use crate::naive;
use crate::pools::{Kind, MIXED, Maker, NOW};

/// How many cases each row stands for.
const CASES: u64 = 200;

/// Prints, for each number of pools, the worst gap to a greedy split into 20 000 chunks and what the
/// naive ways leave behind, in basis points.
pub(crate) fn print() {
    println!("{:>18} {:>5} {:>14} {:>14} {:>14}", "pools", "", "gap, units", "100 chunks", "best single");
    for (kinds, name) in [(&[Kind::ConstantProduct][..], "constant product"), (&MIXED[..], "mixed")] {
        for count in [2, 4, 8, 16, 64] {
            let (gap, chunked, single) = gaps(count, kinds);
            println!("{name:>18} {count:>5} {gap:>14} {:>14} {:>14}", bps(chunked), bps(single));
        }
    }
}

/// The most base units by which the greedy split in 20 000 chunks was better; and the mean shares,
/// in hundred-millionths, by which one in 100 chunks and the best single pool are worse than the search.
fn gaps(count: usize, kinds: &[Kind]) -> (u128, u128, u128) {
    let limits = SearchLimits { max_legs: 64, ..SearchLimits::default() };
    let mut worst = 0;
    let (mut chunked_e8, mut single_e8) = (0, 0);
    for seed in 0..CASES {
        let mut maker = Maker::new(seed);
        let pools = maker.pair(count, kinds);
        let amount = u128::from(maker.between(1_000_000, 20_000_000_000 * count as u64));
        let found = Search::new(&pools, NOW).limits(limits).best_split("A", "B", Amount::new(amount));
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

/// Hundred-millionths as basis points.
fn bps(share: u128) -> String {
    format!("{}.{:04} bps", share / 10_000, share % 10_000)
}
