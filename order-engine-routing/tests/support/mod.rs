//! Random pools, and naive searches as references.
#![allow(dead_code, unreachable_pub)] // Each test file uses its own part of it.

pub mod bound;
pub mod graphs;
pub mod mixed;

use order_engine_core::Amount;
use order_engine_routing::{
    Bin, ConcentratedLiquidity, ConcentratedState, ConstantProduct, Curve, Dlmm, DlmmFees, DlmmState,
    DlmmVolatility, Fee, FeeOn, Moment, Pool, QuoteError, RouteQuote, Tick,
};
use proptest::prelude::*;

/// The moment of all quotes.
pub const NOW: Moment = Moment::from_unix_seconds(1_767_225_600);

/// Returns an amount of base units.
pub fn amount(units: u128) -> Amount {
    Amount::new(units)
}

/// Returns a pool of A and B with these reserves.
pub fn constant_product(id: &str, reserves: (u128, u128), fee_bps: u64) -> Pool {
    pool_of("Raydium", id, ("A", "B"), reserves, fee_bps)
}

pub fn pool_of(dex: &str, id: &str, tokens: (&str, &str), reserves: (u128, u128), fee_bps: u64) -> Pool {
    let fee = Fee::new(fee_bps, 10_000).unwrap();
    let curve = ConstantProduct::new(amount(reserves.0), amount(reserves.1), fee).unwrap();
    Pool::new(id, dex, tokens, Curve::ConstantProduct(curve))
}

/// Returns the curve of a pool whose price is near `price_ppm` millionths and whose input reserve is `depth`.
pub fn constant_product_curve(depth: u128, price_ppm: u128, fee_bps: u64) -> Curve {
    let fee = Fee::new(fee_bps, 10_000).unwrap();
    let other = (depth * price_ppm / 1_000_000).max(1);
    Curve::ConstantProduct(ConstantProduct::new(amount(depth), amount(other), fee).unwrap())
}

/// Generates up to `most` constant-product pools of A and B.
pub fn constant_products(most: usize) -> impl Strategy<Value = Vec<Pool>> {
    let curve = (20_u32..50, 1_u128..1_000, 900_000_u128..1_100_000, 1_u64..100).prop_map(
        |(bits, depth, price_ppm, fee_bps)| constant_product_curve(depth << bits, price_ppm, fee_bps),
    );
    proptest::collection::vec(curve, 1..=most).prop_map(numbered)
}

/// Returns pools of A and B with these curves.
pub fn numbered(curves: Vec<Curve>) -> Vec<Pool> {
    let pool = |(number, curve)| Pool::new(format!("pool-{number}"), "Raydium", ("A", "B"), curve);
    curves.into_iter().enumerate().map(pool).collect()
}

/// Returns what a pool pays for A: zero if the amount is too small, `None` if the pool cannot trade it.
pub fn pays(pool: &Pool, amount_in: u128) -> Option<u128> {
    let direction = pool.direction("A").unwrap();
    match pool.amount_out(direction, amount(amount_in), NOW) {
        Ok(out) => Some(out.base_units()),
        Err(QuoteError::TooSmall) => Some(0),
        Err(_) => None,
    }
}

/// Returns the output of a naive split into equal chunks, each traded with the pool that pays the most for
/// it, or `None` if no pool takes a chunk.
pub fn chunked(pools: &[Pool], amount_in: u128, chunks: u128) -> Option<u128> {
    let mut given = vec![(0_u128, 0_u128); pools.len()];
    let chunk = (amount_in / chunks).max(1);
    let gain = |pool: &Pool, (x, out): (u128, u128), chunk| Some(pays(pool, x + chunk)?.saturating_sub(out));
    let mut gains: Vec<_> = pools.iter().zip(&given).map(|(pool, &share)| gain(pool, share, chunk)).collect();
    let mut rest = amount_in;
    while rest > 0 {
        let next = if rest < 2 * chunk { rest } else { chunk };
        if next != chunk {
            gains = pools.iter().zip(&given).map(|(pool, &share)| gain(pool, share, next)).collect();
        }
        let best =
            (0..pools.len()).filter(|&index| gains[index].is_some()).max_by_key(|&index| gains[index])?;
        given[best].0 += next;
        given[best].1 += gains[best]?;
        gains[best] = gain(&pools[best], given[best], chunk);
        rest -= next;
    }
    given.iter().map(|(_, out)| out).copied().reduce(|sum, out| sum + out)
}

/// Checks the promises of every route: each leg pays its pool's quote, and something; no pool is used twice; a token is
/// sold after all of it was bought, and all of it; and the inputs and outputs sum to those of the route.
pub fn check(route: &RouteQuote<'_>, input: &str, output: &str) {
    let mut pools: Vec<&str> = route.legs.iter().map(|leg| leg.pool.id.as_str()).collect();
    pools.sort_unstable();
    pools.dedup();
    assert_eq!(pools.len(), route.legs.len(), "a pool is used twice: {route:?}");
    let mut held = std::collections::BTreeMap::from([(input, route.amount_in.base_units())]);
    let mut sold = std::collections::BTreeSet::new();
    for leg in &route.legs {
        assert_eq!(leg.pool.direction(leg.input_mint()), Ok(leg.direction));
        assert_eq!(leg.pool.amount_out(leg.direction, leg.amount_in, route.at), Ok(leg.amount_out));
        assert!(!leg.amount_in.is_zero() && !leg.amount_out.is_zero(), "{leg:?}");
        let stock = held.get_mut(leg.input_mint()).expect("what is sold was bought");
        *stock = stock.checked_sub(leg.amount_in.base_units()).expect("no more is sold than was bought");
        sold.insert(leg.input_mint());
        assert!(!sold.contains(leg.output_mint()), "{} is bought after it was sold", leg.output_mint());
        *held.entry(leg.output_mint()).or_default() += leg.amount_out.base_units();
    }
    assert_eq!(held.remove(output), Some(route.amount_out.base_units()));
    assert!(held.values().all(|left| *left == 0), "something is left: {held:?}");
}

/// Returns a DLMM pool without fees that trades the first token for at most `room` of the second, one for one.
pub fn bin_of(id: &str, tokens: (&str, &str), room: u128) -> Pool {
    let state = DlmmState {
        fee_on: FeeOn::Input,
        limit_orders: Vec::new(),
        active_id: 0,
        bin_step_bps: 10,
        fees: DlmmFees {
            base_factor: 0,
            base_fee_power_factor: 0,
            variable_fee_control: 0,
            filter_period_s: 30,
            decay_period_s: 600,
            reduction_factor_bps: 0,
            max_volatility_accumulator: 0,
        },
        volatility: DlmmVolatility { accumulator: 0, reference: 0, index_reference: 0, last_update: NOW },
        bins: vec![Bin { id: 0, reserve_a: amount(0), reserve_b: amount(room) }],
    };
    Pool::new(id, "Meteora", tokens, Curve::Dlmm(Dlmm::new(&state).unwrap()))
}

/// Returns a pool of A and B with this many initialised ticks on each side of par, and equal liquidity throughout.
pub fn ticks_of(id: &str, each_side: i32) -> Pool {
    let liquidity = 1_u128 << 40;
    let net = |index: i32| match index {
        _ if index == -each_side => i128::try_from(liquidity).unwrap(),
        _ if index == each_side => -i128::try_from(liquidity).unwrap(),
        _ => 0,
    };
    let state = ConcentratedState {
        sqrt_price_x64: 1 << 64,
        tick_current: 0,
        tick_spacing: 1,
        liquidity,
        fee_ppm: 100,
        ticks: (-each_side..=each_side).map(|index| Tick { index, liquidity_net: net(index) }).collect(),
        fee_on: FeeOn::Input,
        dynamic_fee: None,
        limit_orders: Vec::new(),
    };
    Pool::new(id, "Raydium", ("A", "B"), Curve::Concentrated(ConcentratedLiquidity::new(&state).unwrap()))
}
