//! Saber's own library for stable swaps.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use order_engine_core::Amount;
use order_engine_routing::{Direction, Fee, StableState, StableSwap};
use stable_swap_client::fees::Fees;
use stable_swap_math::curve::StableSwap as SaberSwap;

use crate::numbers::{Numbers, paid};

const FEE_BPS: u64 = 4;
const FEES: Fees = Fees {
    admin_trade_fee_numerator: 0,
    admin_trade_fee_denominator: 1,
    admin_withdraw_fee_numerator: 0,
    admin_withdraw_fee_denominator: 1,
    trade_fee_numerator: FEE_BPS,
    trade_fee_denominator: 10_000,
    withdraw_fee_numerator: 0,
    withdraw_fee_denominator: 1,
};

/// The same pool for both.
struct Pool {
    ours: StableSwap,
    theirs: SaberSwap,
    reserves: (u64, u64),
}

impl Pool {
    fn new(numbers: &mut Numbers) -> Self {
        let reserve_a = numbers.between(1 << 33, 1 << 44);
        let reserve_b = reserve_a / 1_000 * numbers.between(500, 2_000);
        let amplification = numbers.between(10, 1_000);
        let state = StableState {
            reserve_a: Amount::from(reserve_a),
            reserve_b: Amount::from(reserve_b),
            decimals_a: 6,
            decimals_b: 6,
            amplification,
            fee: Fee::new(FEE_BPS, 10_000).expect("the fee is below one"),
            protocol_share: Fee::NONE,
        };
        Self {
            ours: StableSwap::new(state).expect("the reserves are not empty"),
            theirs: SaberSwap::new(amplification, amplification, 0, 0, 0),
            reserves: (reserve_a, reserve_b),
        }
    }

    fn ours(&self, amount: u64) -> Option<u64> {
        paid(self.ours.amount_out(Direction::AToB, Amount::from(amount)))
    }

    fn theirs(&self, amount: u64) -> Option<u64> {
        let (reserve_a, reserve_b) = self.reserves;
        self.theirs.swap_to(amount, reserve_a, reserve_b, &FEES).map(|swap| swap.amount_swapped)
    }
}

pub(crate) fn compare(criterion: &mut Criterion) {
    let mut numbers = Numbers(5);
    let (mut equal, mut below) = (0, 0);
    for number in 0..4_000 {
        let pool = Pool::new(&mut numbers);
        let amount = numbers.magnitude(43).max(1_000);
        let (ours, theirs) = (pool.ours(amount).unwrap_or(0), pool.theirs(amount).unwrap_or(0));
        // Their iteration stops within one unit, and their fee is rounded down. A quote is never above what they pay.
        let less = theirs.checked_sub(ours);
        assert!(less.is_some_and(|less| less <= 4), "pool {number}, {amount}: {ours} and {theirs}");
        *if less == Some(0) { &mut equal } else { &mut below } += 1;
    }
    println!("stable-swap-math 1.8.1: {equal} quotes are equal, {below} are one to four units below");

    let pool = Pool::new(&mut Numbers(6));
    let mut group = criterion.benchmark_group("stable");
    for (size, amount) in [("small", 1_000_000), ("large", 1 << 32)] {
        group.bench_function(BenchmarkId::new("ours", size), |b| b.iter(|| pool.ours(black_box(amount))));
        group.bench_function(BenchmarkId::new("stable-swap-math", size), |b| {
            b.iter(|| pool.theirs(black_box(amount)));
        });
    }
    group.finish();
}
