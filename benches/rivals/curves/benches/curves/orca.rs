//! Orca's own library, in the last version under the Apache licence, which has no adaptive fee.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use orca_whirlpools_core::{
    TICK_ARRAY_SIZE, TickArrayFacade, TickArrays, TickFacade, WhirlpoolFacade, swap_quote_by_input_token,
};
use order_engine_core::Amount;
use order_engine_routing::{Direction, Tick, Whirlpool, WhirlpoolState};

use crate::numbers::{NOW, Numbers, paid};

const SPACING: i32 = 8;
/// The spacings within which ranges end: inside of the two arrays on each side of the price.
const REACH: u64 = 150;

/// The same pool for both.
struct Pool {
    ours: Whirlpool,
    theirs: WhirlpoolFacade,
    arrays: TickArrays,
}

impl Pool {
    fn new(numbers: &mut Numbers) -> Self {
        let (ticks, liquidity) = numbers.ranges(SPACING, REACH);
        let fee_ppm = [100, 400, 3_000, 10_000][usize::try_from(numbers.between(0, 3)).unwrap_or(0)];
        let sqrt_price = (1 << 64) + u128::from(numbers.between(0, 1 << 48));
        let theirs = WhirlpoolFacade {
            tick_spacing: 8,
            fee_rate: fee_ppm,
            protocol_fee_rate: 300,
            liquidity,
            sqrt_price,
            tick_current_index: 0,
            ..WhirlpoolFacade::default()
        };
        let arrays = [-2, -1, 0, 1, 2].map(|number| array(number, &ticks)).into();
        let state = WhirlpoolState {
            sqrt_price_x64: sqrt_price,
            tick_current: 0,
            tick_spacing: 8,
            liquidity,
            fee_ppm: fee_ppm.into(),
            ticks,
            adaptive_fee: None,
        };
        Self { ours: Whirlpool::new(&state).expect("liquidity adds up"), theirs, arrays }
    }

    fn ours(&self, direction: Direction, amount: u64) -> Option<u64> {
        paid(self.ours.amount_out(direction, Amount::from(amount), NOW))
    }

    /// Returns what their library pays, `None` if it fills the trade only in part.
    fn theirs(&self, direction: Direction, amount: u64) -> Option<u64> {
        let is_a = direction == Direction::AToB;
        let quote = swap_quote_by_input_token(amount, is_a, 0, self.theirs, self.arrays.clone(), None, None);
        quote.ok().filter(|quote| quote.token_in == amount).map(|quote| quote.token_est_out)
    }
}

/// Returns the tick array that begins at a multiple of its length.
fn array(number: i32, ticks: &[Tick]) -> TickArrayFacade {
    let length = i32::try_from(TICK_ARRAY_SIZE).unwrap_or(0) * SPACING;
    let start_tick_index = number * length;
    let mut facades = [TickFacade::default(); TICK_ARRAY_SIZE];
    for tick in
        ticks.iter().filter(|tick| (start_tick_index..start_tick_index + length).contains(&tick.index))
    {
        let place = usize::try_from((tick.index - start_tick_index) / SPACING).unwrap_or(0);
        facades[place].initialized = true;
        facades[place].liquidity_net = tick.liquidity_net;
        facades[place].liquidity_gross = tick.liquidity_net.unsigned_abs();
    }
    TickArrayFacade { start_tick_index, ticks: facades }
}

pub(crate) fn compare(criterion: &mut Criterion) {
    let mut numbers = Numbers(1);
    let (mut equal, mut refused) = (0, 0);
    for number in 0..2_000 {
        let pool = Pool::new(&mut numbers);
        for direction in Direction::BOTH {
            let amount = numbers.magnitude(45);
            let ours = pool.ours(direction, amount);
            // Beyond the last known tick their library goes on without liquidity.
            if ours.is_none() {
                refused += 1;
                continue;
            }
            let theirs = pool.theirs(direction, amount);
            assert_eq!(ours, theirs, "pool {number}, {amount} {direction:?}");
            equal += 1;
        }
    }
    println!("orca_whirlpools_core 1.0.3: {equal} quotes are equal; {refused} pass our last known tick");
    assert!(equal >= 3_000);

    let pool = Pool::new(&mut Numbers(2));
    let mut group = criterion.benchmark_group("whirlpool");
    for (size, amount) in [("small", 1_000_000), ("large", 1 << 39)] {
        assert_eq!(pool.ours(Direction::AToB, amount), pool.theirs(Direction::AToB, amount));
        assert!(pool.ours(Direction::AToB, amount).is_some(), "the pool takes {size} orders");
        group.bench_function(BenchmarkId::new("ours", size), |b| {
            b.iter(|| pool.ours(Direction::AToB, black_box(amount)));
        });
        group.bench_function(BenchmarkId::new("orca_whirlpools_core", size), |b| {
            b.iter(|| pool.theirs(Direction::AToB, black_box(amount)));
        });
    }
    group.finish();
}
