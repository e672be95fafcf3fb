//! Trades never reduce the invariant of a pool. The invariant of each curve is computed independently here,
//! from the pool's state alone.

use order_engine_core::Amount;
use order_engine_routing::{
    Bin, ConcentratedLiquidity, Curve, DammLiquidity, DammState, Direction, Dlmm, DlmmState, PumpSwapState,
    StableState, UniswapV3, Whirlpool,
};
use proptest::prelude::*;
use ruint::aliases::{U256, U512};

use crate::arbitrary::{direction, moment, pool};
use crate::properties::share;

fn wide(amount: Amount) -> U512 {
    U512::from(amount.base_units())
}

/// Returns the largest `D` for the coins of a pool, by bisection on the published invariant.
fn stable_invariant(state: &StableState) -> U512 {
    let common = state.decimals_a.max(state.decimals_b);
    let rate = |decimals: u8| U512::from(10_u64.pow(u32::from(common - decimals)));
    let (x, y) =
        (wide(state.reserve_a) * rate(state.decimals_a), wide(state.reserve_b) * rate(state.decimals_b));
    let (ann, product) = (U512::from(2 * state.amplification), U512::from(4) * x * y);
    let keeps = |d: U512| product * (ann * (x + y) + d) >= product * ann * d + d * d * d;
    let (mut low, mut high) = (U512::ZERO, x + y);
    while low < high {
        let middle: U512 = (low + high + U512::from(1)) >> 1;
        (low, high) = if keeps(middle) { (middle, high) } else { (low, middle - U512::from(1)) };
    }
    low
}

/// Returns the value of each bin at its price, in units of 2⁻⁶⁴ of token b.
fn bin_values(state: &DlmmState) -> Vec<U512> {
    let price = |id| U512::from(Dlmm::price_of_bin(id, state.bin_step_bps).unwrap());
    let value =
        |bin: &Bin| wide(bin.reserve_a) * price(bin.id) + wide(bin.reserve_b) * U512::from(1_u128 << 64);
    state.bins.iter().map(value).collect()
}

/// Returns what a pool of bins holds of the output token, limit orders included.
fn held(state: &DlmmState, direction: Direction) -> U512 {
    let sells_a = direction == Direction::BToA;
    let reserves = state.bins.iter().map(|bin| if sells_a { bin.reserve_a } else { bin.reserve_b });
    let orders = state.limit_orders.iter().filter(|orders| orders.is_ask == sells_a);
    let orders = orders.flat_map(|orders| [orders.open, orders.processed]);
    reserves.chain(orders).fold(U512::ZERO, |sum, amount| sum + wide(amount))
}

/// What pools of concentrated liquidity hold, whatever their program.
struct Held {
    sqrt_price: U512,
    /// How many bits of the square roots stand behind the point.
    bits: usize,
    /// The ticks with their net liquidity and the square roots of their prices.
    ticks: Vec<(i128, U512)>,
    /// The limit orders, by the squares of the square roots of their prices.
    orders: Vec<(U512, Amount)>,
}

impl Held {
    fn of(curve: &Curve) -> Option<Self> {
        let (place, ticks, orders, price, bits): (_, _, _, fn(i32) -> U512, _) = match curve {
            Curve::Concentrated(curve) => {
                let state = curve.state();
                let place = (U512::from(state.sqrt_price_x64), state.tick_current, state.liquidity);
                let price = |tick| U512::from(ConcentratedLiquidity::sqrt_price_at_tick(tick).unwrap());
                (place, state.ticks, state.limit_orders, price, 64)
            }
            Curve::Whirlpool(curve) => {
                let state = curve.state();
                let place = (U512::from(state.sqrt_price_x64), state.tick_current, state.liquidity);
                let price = |tick| U512::from(Whirlpool::sqrt_price_at_tick(tick).unwrap());
                (place, state.ticks, Vec::new(), price, 64)
            }
            Curve::UniswapV3(curve) => {
                let state = curve.state();
                let place = (U512::from(state.sqrt_price_x96), state.tick_current, state.liquidity);
                let price = |tick| U512::from(UniswapV3::sqrt_price_at_tick(tick).unwrap());
                (place, state.ticks, Vec::new(), price, 96)
            }
            _ => return None,
        };
        let (sqrt_price, tick_current, liquidity) = place;
        // Liquidity below the first known tick does not matter, because no trade reaches it.
        let below = ticks.iter().filter(|tick| tick.index <= tick_current);
        let known = below.fold(0_u128, |sum, tick| sum.checked_add_signed(tick.liquidity_net).unwrap());
        assert_eq!(known, liquidity, "the liquidity is the sum of the ticks below");
        let square = |index| price(index) * price(index);
        Some(Self {
            sqrt_price,
            bits,
            ticks: ticks.iter().map(|tick| (tick.liquidity_net, price(tick.index))).collect(),
            orders: orders.iter().map(|order| (square(order.index), order.amount)).collect(),
        })
    }

    /// Returns what the positions trade between two prices: the least amount of token a, and the exact amount of
    /// token b in units of 2^−bits.
    fn traded_by_positions(&self, lower: U512, upper: U512) -> (U512, U512) {
        let (mut liquidity, mut a, mut b) = (0_u128, U512::ZERO, U512::ZERO);
        for (tick, next) in self.ticks.iter().zip(&self.ticks[1..]) {
            liquidity = liquidity.checked_add_signed(tick.0).unwrap();
            let (from, to) = (tick.1.max(lower), next.1.min(upper));
            if from < to {
                let scaled = U512::from(liquidity) * (to - from);
                let shifted: U512 = scaled << self.bits;
                a += shifted / (from * to);
                b += scaled;
            }
        }
        (a, b)
    }

    /// Returns what limit orders have sold until another state, and the least that they have got for it, in units of
    /// 2⁻⁶⁴ if it is token b.
    fn sold_by_orders(&self, after: &Self, direction: Direction) -> (U512, U512) {
        let (mut sold, mut got) = (U512::ZERO, U512::ZERO);
        for (square, amount) in &self.orders {
            let left = after
                .orders
                .iter()
                .find(|(other, _)| other == square)
                .map_or(Amount::ZERO, |(_, left)| *left);
            let gone = wide(amount.checked_sub(left).unwrap());
            let shifted: U512 = gone << 128;
            sold += gone;
            got += match direction {
                Direction::AToB => shifted / *square,
                Direction::BToA => (gone * *square) >> 64,
            };
        }
        (sold, got)
    }
}

fn check_concentrated(
    before: &Held,
    after: &Held,
    direction: Direction,
    (amount_in, amount_out): (Amount, Amount),
) {
    let (old, new) = (before.sqrt_price, after.sqrt_price);
    let (a, b) = before.traded_by_positions(old.min(new), old.max(new));
    assert_eq!(after.traded_by_positions(old.min(new), old.max(new)), (a, b), "positions are the same");
    let (sold, got) = before.sold_by_orders(after, direction);
    let one: U512 = U512::from(1) << before.bits;
    let (amount_in, amount_out) = (wide(amount_in), wide(amount_out));
    match direction {
        Direction::AToB => assert!(new <= old && amount_in >= a + got && amount_out * one <= b + sold * one),
        Direction::BToA => assert!(new >= old && amount_in * one >= b + got && amount_out <= a + sold),
    }
}

fn check_damm(
    before: &DammState,
    after: &DammState,
    direction: Direction,
    (amount_in, amount_out): (Amount, Amount),
) {
    let (amount_in, amount_out) = (wide(amount_in), wide(amount_out));
    match (before.liquidity, after.liquidity) {
        (
            DammLiquidity::Range { sqrt_price_x64: old, liquidity_x64, .. },
            DammLiquidity::Range { sqrt_price_x64: new, .. },
        ) => {
            // What the liquidity takes and gives between the two prices: a is L·Δ/(√a·√b), and b is L·Δ in units of 2⁻¹²⁸.
            let scaled = U512::from(liquidity_x64) * U512::from(old.abs_diff(new));
            let a = scaled / (U512::from(old) * U512::from(new));
            let one: U512 = U512::from(1) << 128;
            match direction {
                Direction::AToB => assert!(new <= old && amount_in >= a && amount_out * one <= scaled),
                Direction::BToA => assert!(new >= old && amount_in * one >= scaled && amount_out <= a),
            }
        }
        (
            DammLiquidity::Compounding { reserve_a: a, reserve_b: b, .. },
            DammLiquidity::Compounding { reserve_a: next_a, reserve_b: next_b, .. },
        ) => assert!(wide(next_a) * wide(next_b) >= wide(a) * wide(b)),
        other => panic!("a trade changed what the pool holds: {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_trade_takes_nothing_from_liquidity_providers(
        pool in pool(), direction in direction(), at in moment(), share in share(),
    ) {
        let amount_in = share.of_input(&pool, direction, at);
        let Ok(amount_out) = pool.amount_out(direction, amount_in, at) else { return Ok(()) };
        let next = pool.after(direction, amount_in, at).unwrap();
        match (&pool.curve, &next.curve) {
            (Curve::ConstantProduct(before), Curve::ConstantProduct(after)) => {
                let product = |(a, b): (Amount, Amount)| U256::from(a.base_units()) * U256::from(b.base_units());
                prop_assert!(product(after.reserves()) >= product(before.reserves()));
            }
            (Curve::Concentrated(_) | Curve::Whirlpool(_) | Curve::UniswapV3(_), after) => {
                let (before, after) = (Held::of(&pool.curve).unwrap(), Held::of(after).unwrap());
                check_concentrated(&before, &after, direction, (amount_in, amount_out));
            }
            (Curve::UniswapV2(before), Curve::UniswapV2(after)) => {
                // The pair's own check: what is left of the input after the fee keeps the product.
                let (before, after) = (before.state(), after.state());
                let (fee, whole) = before.fee.parts();
                let adjusted = |now: Amount, then: Amount| {
                    let taken = wide(now).saturating_sub(wide(then));
                    wide(now) * U512::from(whole) - taken * U512::from(fee)
                };
                let left = adjusted(after.reserve_a, before.reserve_a) * adjusted(after.reserve_b, before.reserve_b);
                let product = wide(before.reserve_a) * wide(before.reserve_b);
                prop_assert!(left >= product * U512::from(whole) * U512::from(whole));
            }
            (Curve::Dlmm(before), Curve::Dlmm(after)) => {
                let (before, after) = (before.state(), after.state());
                let values = bin_values(&before).into_iter().zip(bin_values(&after));
                prop_assert!(values.into_iter().all(|(before, after)| after >= before));
                let gone = held(&before, direction) - held(&after, direction);
                prop_assert!(wide(amount_out) <= gone, "what comes out is taken from reserves and orders");
            }
            (Curve::DammV2(before), Curve::DammV2(after)) => {
                check_damm(&before.state(), &after.state(), direction, (amount_in, amount_out));
            }
            (Curve::PumpSwap(before), Curve::PumpSwap(after)) => {
                let priced = |state: &PumpSwapState| {
                    let virtual_b = U512::from(state.virtual_b.unsigned_abs());
                    let real = wide(state.reserve_b);
                    wide(state.reserve_a) * if state.virtual_b < 0 { real - virtual_b } else { real + virtual_b }
                };
                prop_assert!(priced(&after.state()) >= priced(&before.state()));
            }
            (Curve::Stable(before), Curve::Stable(after)) => {
                prop_assert!(stable_invariant(&after.state()) > stable_invariant(&before.state()));
            }
            curves => prop_assert!(false, "a trade changed the curve: {curves:?}"),
        }
    }
}
