//! The steps of `uniswap_v3_math`, in the loop that its users write around them.

use std::hint::black_box;

use alloy_primitives::{I256, U256};
use criterion::{BenchmarkId, Criterion};
use order_engine_core::Amount;
use order_engine_routing::{ConcentratedLiquidity, ConcentratedState, Direction, FeeOn};
use uniswap_v3_math::swap_math::compute_swap_step;
use uniswap_v3_math::tick_math::get_sqrt_ratio_at_tick;

use crate::numbers::{NOW, Numbers, paid};

/// The same pool for both, at a price of one.
struct Pool {
    ours: ConcentratedLiquidity,
    fee_ppm: u32,
    liquidity: u128,
    /// The ticks above the price, each with the square root of its price in Q64.96.
    above: Vec<(U256, i128)>,
    /// The ticks below the price, from the highest on.
    below: Vec<(U256, i128)>,
}

impl Pool {
    fn new(numbers: &mut Numbers) -> Self {
        let (ticks, liquidity) = numbers.ranges(10, 60);
        let fee_ppm = [100, 500, 2_500, 10_000][usize::try_from(numbers.between(0, 3)).unwrap_or(0)];
        let priced = |index| get_sqrt_ratio_at_tick(index).expect("the tick is in range");
        let pairs = || ticks.iter().map(|tick| (tick.index, (priced(tick.index), tick.liquidity_net)));
        let above = pairs().filter(|(index, _)| *index > 0).map(|(_, pair)| pair).collect();
        let below = pairs().rev().filter(|(index, _)| *index < 0).map(|(_, pair)| pair).collect();
        let state = ConcentratedState {
            sqrt_price_x64: 1 << 64,
            tick_current: 0,
            tick_spacing: 10,
            liquidity,
            fee_ppm,
            ticks: ticks.clone(),
            fee_on: FeeOn::Input,
            dynamic_fee: None,
            limit_orders: Vec::new(),
        };
        let ours = ConcentratedLiquidity::new(&state).expect("liquidity adds up");
        Self { ours, fee_ppm, liquidity, above, below }
    }

    fn ours(&self, direction: Direction, amount: u64) -> Option<u64> {
        paid(self.ours.amount_out(direction, Amount::from(amount), NOW))
    }

    /// Returns what their steps pay, and how many of them there are.
    fn theirs(&self, direction: Direction, amount: u64) -> Option<(u64, u64)> {
        let (ticks, sign) = match direction {
            Direction::AToB => (&self.below, -1),
            Direction::BToA => (&self.above, 1),
        };
        let (mut price, mut liquidity) = (U256::from(1) << 96, self.liquidity);
        let (mut rest, mut out, mut steps) = (U256::from(amount), U256::ZERO, 0);
        for (target, net) in ticks {
            let amount = I256::try_from(rest).ok()?;
            let (next, taken, given, fee) =
                compute_swap_step(price, *target, liquidity, amount, self.fee_ppm).ok()?;
            (price, rest, out, steps) = (next, rest - taken - fee, out + given, steps + 1);
            if rest.is_zero() {
                return Some((u64::try_from(out).ok()?, steps));
            }
            liquidity = liquidity.checked_add_signed(net * sign)?;
        }
        None
    }
}

pub(crate) fn compare(criterion: &mut Criterion) {
    let mut numbers = Numbers(3);
    let (mut equal, mut apart, mut refused) = (0, 0, 0);
    for number in 0..2_000 {
        let pool = Pool::new(&mut numbers);
        for direction in Direction::BOTH {
            let amount = numbers.magnitude(42);
            let (ours, theirs) = (pool.ours(direction, amount), pool.theirs(direction, amount));
            let (Some(ours), Some((theirs, steps))) = (ours, theirs) else {
                assert_eq!(ours.is_none(), theirs.is_none(), "pool {number}, {amount} {direction:?}");
                refused += 1;
                continue;
            };
            // Prices at ticks have 96 bits there and 64 here, so an output may differ by a unit for each tick.
            assert!(
                ours.abs_diff(theirs) < steps,
                "pool {number}, {amount} {direction:?}: {ours} and {theirs}"
            );
            *if ours == theirs { &mut equal } else { &mut apart } += 1;
        }
    }
    println!(
        "uniswap_v3_math 0.6.2: {equal} quotes are equal, {apart} differ by less than a unit for each tick; \
         {refused} pass the last tick"
    );
    assert!(equal >= 3_000 && equal > 20 * apart);

    let pool = Pool::new(&mut Numbers(4));
    let mut group = criterion.benchmark_group("concentrated");
    for (size, amount) in [("small", 1_000_000), ("large", 1 << 39)] {
        let steps = pool.theirs(Direction::AToB, amount).map(|(_, steps)| steps);
        assert_eq!(steps.map(|steps| steps > 1), Some(size == "large"), "{steps:?} steps of a {size} order");
        assert!(pool.ours(Direction::AToB, amount).is_some(), "the pool takes {size} orders");
        group.bench_function(BenchmarkId::new("ours", size), |b| {
            b.iter(|| pool.ours(Direction::AToB, black_box(amount)));
        });
        group.bench_function(BenchmarkId::new("uniswap_v3_math", size), |b| {
            b.iter(|| pool.theirs(Direction::AToB, black_box(amount)));
        });
    }
    group.finish();
}
