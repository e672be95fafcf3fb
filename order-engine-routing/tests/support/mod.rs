//! Random pools, and naive searches as references.
#![allow(dead_code, unreachable_pub)] // Each test file uses its own part of it.

pub mod mixed;

use order_engine_core::Amount;
use order_engine_routing::{ConstantProduct, Curve, Fee, Moment, Pool, QuoteError, RouteQuote};
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
    Pool {
        id: id.into(),
        dex: dex.into(),
        token_a: tokens.0.into(),
        token_b: tokens.1.into(),
        curve: Curve::ConstantProduct(curve),
    }
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
    let pool = |(number, curve)| Pool {
        id: format!("pool-{number}"),
        dex: "Raydium".into(),
        token_a: "A".into(),
        token_b: "B".into(),
        curve,
    };
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

/// Checks the promises of every route: the legs of its paths fit together, the paths' inputs sum to its
/// input and their outputs to its output, no pool is used twice, and each leg's output is its pool's quote.
pub fn check(route: &RouteQuote<'_>, input: &str, output: &str) {
    let mut pools: Vec<&str> = route.legs.iter().map(|leg| leg.pool.id.as_str()).collect();
    pools.sort_unstable();
    pools.dedup();
    assert_eq!(pools.len(), route.legs.len(), "a pool is used twice: {route:?}");
    let paths = route.legs.chunk_by(|one, other| one.path == other.path);
    let (mut total_in, mut total_out) = (0, 0);
    for legs in paths {
        let mut tokens = vec![input];
        let mut carried = legs[0].amount_in;
        for leg in legs {
            let token = *tokens.last().unwrap();
            assert_eq!(leg.pool.direction(token), Ok(leg.direction));
            assert_eq!(leg.amount_in, carried);
            assert_eq!(leg.pool.amount_out(leg.direction, leg.amount_in, route.at), Ok(leg.amount_out));
            let next = if leg.pool.token_a == token { &leg.pool.token_b } else { &leg.pool.token_a };
            assert!(!tokens.contains(&next.as_str()), "a path comes back to {next}");
            tokens.push(next);
            carried = leg.amount_out;
        }
        assert_eq!(tokens.last(), Some(&output));
        total_in += legs[0].amount_in.base_units();
        total_out += carried.base_units();
    }
    assert_eq!((total_in, total_out), (route.amount_in.base_units(), route.amount_out.base_units()));
}
