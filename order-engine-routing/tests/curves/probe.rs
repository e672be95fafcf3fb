//! Checks the quotes of a pool from arbitrary bytes. The fuzz target includes this file, too.

use order_engine_core::Amount;
use order_engine_routing::{Curve, Direction, Moment, Pool, QuoteError};

/// Reads a curve from JSON and checks that its quotes do not panic and do not contradict each other. Returns
/// whether the bytes were a curve.
pub(crate) fn probe(json: &[u8], amount: u128, at: u64) -> bool {
    let Ok(curve) = serde_json::from_slice::<Curve>(json) else { return false };
    let pool = Pool::new("", "", ("", ""), curve);
    for direction in Direction::BOTH {
        check_quotes(&pool, direction, Amount::new(amount), Moment::from_unix_seconds(at));
    }
    true
}

fn check_quotes(pool: &Pool, direction: Direction, amount: Amount, at: Moment) {
    let bought = pool.amount_out(direction, amount, at);
    assert_ne!(bought, Ok(Amount::ZERO));
    let next = pool.after(direction, amount, at);
    assert!(next.is_err() || bought.is_ok(), "no pool after a trade that it refuses");
    if let (Ok(next), Ok(bought)) = (&next, bought) {
        let back = next.amount_out(direction.reversed(), bought, at);
        assert!(back.unwrap_or(Amount::ZERO) <= amount, "a round trip brings a profit");
    }
    match pool.amount_in(direction, amount, at) {
        Ok(paid) => assert!(pool.amount_out(direction, paid, at).unwrap() >= amount),
        Err(error) => assert_ne!(error, QuoteError::WrongPair),
    }
    // The prices of such pools may be anything, but must not panic.
    let _prices = (pool.spot_price(direction, at), pool.mid_price(direction));
}
