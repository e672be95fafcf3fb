//! What must hold for every constant-product pool and every amount.

use order_engine_core::Amount;
use order_engine_routing::{ConstantProduct, Direction, Fee, QuoteError};
use proptest::prelude::*;
use ruint::aliases::U256;

fn pool() -> impl Strategy<Value = ConstantProduct> {
    // Reserves of every order of magnitude that leaves room for an amount.
    let reserve = (1_u128..u128::MAX / 2, 0_u32..127).prop_map(|(value, shift)| (value >> shift).max(1));
    let fee = (0_u64..3_000).prop_map(|bps| Fee::new(bps, 10_000).unwrap());
    (reserve.clone(), reserve, fee)
        .prop_map(|(a, b, fee)| ConstantProduct::new(Amount::new(a), Amount::new(b), fee).unwrap())
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(&Direction::BOTH[..])
}

fn amount() -> impl Strategy<Value = Amount> {
    (1_u128..u128::MAX / 2, 0_u32..127).prop_map(|(value, shift)| Amount::new((value >> shift).max(1)))
}

/// The pool after a trade: what went in stays in, fee included.
fn after(
    pool: &ConstantProduct,
    direction: Direction,
    amount_in: Amount,
    out: Amount,
) -> Option<ConstantProduct> {
    let (a, b) = pool.reserves();
    let (a, b) = if direction == Direction::AToB {
        (a.checked_add(amount_in)?, b.checked_sub(out)?)
    } else {
        (a.checked_sub(out)?, b.checked_add(amount_in)?)
    };
    ConstantProduct::new(a, b, pool.fee()).ok()
}

fn product(pool: &ConstantProduct) -> U256 {
    let (a, b) = pool.reserves();
    U256::from(a.base_units()) * U256::from(b.base_units())
}

proptest! {
    #[test]
    fn the_product_never_falls(pool in pool(), direction in direction(), amount_in in amount()) {
        if let Ok(out) = pool.amount_out(direction, amount_in) {
            let next = after(&pool, direction, amount_in, out).unwrap();
            prop_assert!(product(&next) >= product(&pool));
        }
    }

    #[test]
    fn exact_out_is_the_inverse_of_exact_in_and_minimal(pool in pool(), direction in direction(), amount_out in amount()) {
        if let Ok(amount_in) = pool.amount_in(direction, amount_out) {
            prop_assert!(pool.amount_out(direction, amount_in).unwrap() >= amount_out);
            let less = Amount::new(amount_in.base_units() - 1);
            prop_assert!(pool.amount_out(direction, less).unwrap_or(Amount::ZERO) < amount_out);
        }
    }

    #[test]
    fn output_is_monotone_in_input(pool in pool(), direction in direction(), x in amount(), y in amount()) {
        let (small, large) = (x.min(y), x.max(y));
        if let (Ok(less), Ok(more)) = (pool.amount_out(direction, small), pool.amount_out(direction, large)) {
            prop_assert!(less <= more);
        }
    }

    #[test]
    fn two_trades_never_yield_more_than_one(pool in pool(), direction in direction(), x in amount(), y in amount()) {
        let Some(both) = x.checked_add(y) else { return Ok(()) };
        let Ok(once) = pool.amount_out(direction, both) else { return Ok(()) };
        let first = pool.amount_out(direction, x).unwrap_or(Amount::ZERO);
        let Some(next) = after(&pool, direction, x, first) else { return Ok(()) };
        let second = next.amount_out(direction, y).unwrap_or(Amount::ZERO);
        prop_assert!(first.checked_add(second).unwrap() <= once);
    }

    #[test]
    fn a_round_trip_brings_no_profit(pool in pool(), direction in direction(), amount_in in amount()) {
        let Ok(out) = pool.amount_out(direction, amount_in) else { return Ok(()) };
        let Some(next) = after(&pool, direction, amount_in, out) else { return Ok(()) };
        prop_assert!(next.amount_out(direction.reversed(), out).unwrap_or(Amount::ZERO) <= amount_in);
    }

    #[test]
    fn a_snapshot_survives_json(pool in pool()) {
        let json = serde_json::to_string(&pool).unwrap();
        prop_assert_eq!(serde_json::from_str::<ConstantProduct>(&json).unwrap(), pool);
    }
}

#[test]
fn a_known_trade_of_raydium() {
    // 25 bps of 1 SOL against 10 000 SOL and 1 500 000 USDC: n = 997 500 000,
    // out = ⌊997 500 000 · 1.5e12 / (1e13 + 997 500 000)⌋ = 149 610 076.
    let fee = Fee::new(25, 10_000).unwrap();
    let pool =
        ConstantProduct::new(Amount::new(10_000_000_000_000), Amount::new(1_500_000_000_000), fee).unwrap();
    assert_eq!(pool.amount_out(Direction::AToB, Amount::new(1_000_000_000)), Ok(Amount::new(149_610_076)));
}

#[test]
fn impossible_pools_and_amounts_are_errors() {
    let fee = Fee::new(25, 10_000).unwrap();
    let one = Amount::new(1);
    assert_eq!(Fee::new(1, 1).unwrap_err().field, "fee");
    assert_eq!(ConstantProduct::new(Amount::ZERO, one, fee).unwrap_err().field, "reserve_a");
    assert_eq!(ConstantProduct::new(one, Amount::ZERO, fee).unwrap_err().field, "reserve_b");
    let pool = ConstantProduct::new(Amount::new(1_000), Amount::new(1_000), fee).unwrap();
    assert_eq!(pool.amount_out(Direction::AToB, one), Err(QuoteError::TooSmall));
    assert_eq!(pool.amount_out(Direction::AToB, Amount::MAX), Err(QuoteError::Overflow));
    assert_eq!(pool.amount_in(Direction::AToB, Amount::new(1_000)), Err(QuoteError::NotEnoughLiquidity));
}
