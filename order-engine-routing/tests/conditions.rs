//! The conditions under which pools trade: what is not modelled, paused, not open or charged by the token itself.

#[path = "curves/arbitrary.rs"]
#[allow(dead_code)]
mod arbitrary;
mod support;

use order_engine_core::Amount;
use order_engine_routing::{
    Conditions, Direction, Feature, Moment, Pool, PoolSet, QuoteError, RejectReason, Search, TransferFee,
};
use proptest::prelude::*;
use support::{NOW, amount, pool_of};

fn pool() -> Pool {
    pool_of("Raydium", "p", ("A", "B"), (1 << 40, 1 << 40), 25)
}

fn later(seconds: u64) -> Moment {
    Moment::from_unix_seconds(NOW.unix_seconds() + seconds)
}

#[test]
fn a_pool_that_cannot_be_quoted_rightly_or_traded_now_is_refused_with_the_reason() {
    let refused = [
        (
            Conditions::default().with_unmodelled(Feature::LimitOrders),
            QuoteError::Unmodelled(Feature::LimitOrders),
        ),
        (Conditions::default().paused(), QuoteError::Paused),
        (Conditions::default().with_opens_at(later(1)), QuoteError::NotOpenYet),
    ];
    for (conditions, error) in refused {
        let pool = pool().with_conditions(conditions);
        assert_eq!(pool.amount_out(Direction::AToB, amount(1_000), NOW), Err(error));
        assert_eq!(pool.amount_in(Direction::AToB, amount(1_000), NOW), Err(error));
        assert_eq!(pool.spot_price(Direction::AToB, NOW), Err(error));
        assert_eq!(pool.after(Direction::AToB, amount(1_000), NOW), Err(error));
        let plain = pool_of("Raydium", "plain", ("A", "B"), (1 << 30, 1 << 30), 25);
        let set = PoolSet::new(vec![pool, plain]);
        let search = Search::new(&set, NOW);
        for found in [search.best("A", "B", amount(1_000)), search.best_exact_out("A", "B", amount(1_000))] {
            assert_eq!(found.best.unwrap().id(), "plain");
            assert_eq!(found.rejected[0].reason, RejectReason::Quote(error));
        }
    }
    let name = QuoteError::Unmodelled(Feature::LimitOrders).to_string();
    assert_eq!(name, "the pool has a feature that is not modelled: limit_orders");
}

#[test]
fn a_pool_opens_at_its_moment() {
    let pool = pool().with_conditions(Conditions::default().with_opens_at(later(1)));
    assert!(pool.amount_out(Direction::AToB, amount(1_000), later(1)).is_ok());
}

#[test]
fn a_feature_that_is_not_known_is_refused_with_its_name() {
    let mut json = serde_json::to_value(pool().with_conditions(Conditions::default().paused())).unwrap();
    let read = |json: &serde_json::Value| serde_json::from_value::<Pool>(json.clone());
    assert_eq!(read(&json).unwrap().conditions.unwrap().unmodelled, []);
    json["conditions"]["unmodelled"] = serde_json::json!(["scheduled_fee"]);
    assert_eq!(read(&json).unwrap().conditions.unwrap().unmodelled, [Feature::ScheduledFee]);
    json["conditions"]["unmodelled"] = serde_json::json!(["time_travel"]);
    assert!(read(&json).unwrap_err().to_string().contains("unknown variant `time_travel`"));
}

#[test]
fn the_token_takes_its_fee_of_what_goes_in_and_of_what_comes_out() {
    // One percent of a, at most 50 units; two percent of b without a bound.
    let fees = [TransferFee::new(100, amount(50)), TransferFee::new(200, Amount::MAX)].map(Result::unwrap);
    let free = pool_of("Raydium", "p", ("A", "B"), (1 << 60, 1 << 60), 0);
    let pool = free.with_conditions(Conditions::default().with_transfer_fees(Some(fees[0]), Some(fees[1])));
    // 1 000 − 10 arrive, the pool pays 989, of which ⌈19.78⌉ = 20 are taken.
    assert_eq!(pool.amount_out(Direction::AToB, amount(1_000), NOW), Ok(amount(969)));
    // 9 950 arrive, the pool pays 9 949, of which ⌈198.98⌉ = 199 are taken.
    assert_eq!(pool.amount_out(Direction::AToB, amount(10_000), NOW), Ok(amount(9_750)));
    assert!(TransferFee::new(10_001, Amount::MAX).is_err());
}

fn transfer_fee() -> impl Strategy<Value = Option<TransferFee>> {
    let fee =
        (0_u16..=10_000, arbitrary::amount()).prop_map(|(bps, most)| TransferFee::new(bps, most).unwrap());
    proptest::option::of(fee)
}

proptest! {
    #[test]
    fn with_transfer_fees_exact_out_is_the_least_input_and_never_promises_too_much(
        pool in arbitrary::pool(), of_a in transfer_fee(), of_b in transfer_fee(),
        direction in arbitrary::direction(), wanted in arbitrary::amount(),
    ) {
        let plain = pool.clone();
        let pool = pool.with_conditions(Conditions::default().with_transfer_fees(of_a, of_b));
        let out = |pool: &Pool, amount_in| pool.amount_out(direction, amount_in, NOW).unwrap_or(Amount::ZERO);
        if let Ok(amount_in) = pool.amount_in(direction, wanted, NOW) {
            prop_assert!(out(&pool, amount_in) >= wanted);
            prop_assert!(out(&pool, Amount::new(amount_in.base_units() - 1)) < wanted);
            // The pool may have no room for what the token takes.
            let free = plain.amount_out(direction, amount_in, NOW);
            prop_assert!(free.is_err() || out(&pool, amount_in) <= free.unwrap());
            let json = serde_json::to_string(&pool).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pool>(&json).unwrap(), pool);
        }
    }
}
