//! DAMM v2 pools: their fees, and the limiter, whose rounding makes outputs uneven.

use order_engine_core::Amount;
use order_engine_routing::{
    DammBaseFee, DammLiquidity, DammReduction, DammState, DammV2, Direction, FeeOn, Moment, QuoteError,
};
use proptest::prelude::*;
use ruint::aliases::U256;

use crate::arbitrary::{damm_base_fee, damm_v2_with, magnitude, moment};

const NOW: Moment = Moment::from_unix_seconds(1_700_000_000);

fn later(seconds: u64) -> Moment {
    Moment::from_unix_seconds(NOW.unix_seconds() + seconds)
}

/// Returns a pool at a price of one with a million of each token in a wide range.
fn state(base_fee: DammBaseFee) -> DammState {
    DammState {
        liquidity: DammLiquidity::Range {
            sqrt_price_x64: 1 << 64,
            sqrt_min_price_x64: 1 << 63,
            sqrt_max_price_x64: 1 << 65,
            liquidity_x64: 2_000_000_000 << 64,
        },
        base_fee,
        dynamic_fee: None,
        fee_on: FeeOn::TokenB,
        max_fee_rate: 500_000_000,
        activated_at: NOW,
    }
}

/// Returns the rate of the fee on a small input of token b, in thousandths.
fn rate(base_fee: DammBaseFee, at: Moment) -> u64 {
    let pool = DammV2::new(state(base_fee)).unwrap();
    // Both prices have the same denominator.
    let (spot, _) = pool.spot_price(Direction::BToA, at).unwrap().parts();
    let (mid, _) = pool.mid_price(Direction::BToA).unwrap().parts();
    1_000 - u64::try_from(spot * U256::from(1_000) / mid).unwrap()
}

#[test]
fn a_scheduled_fee_falls_and_a_limited_one_ends() {
    let linear = DammBaseFee::TimeScheduler {
        cliff_rate: 400_000_000,
        periods: 10,
        period_s: 60,
        reduction: DammReduction::Linear(30_000_000),
    };
    assert_eq!([0, 59, 60, 600, 9_999].map(|s| rate(linear, later(s))), [400, 400, 370, 100, 100]);
    // A clock that lags behind the activation sees no lower fee than at it.
    assert_eq!(rate(linear, Moment::EARLIEST), 400);
    let exponential = DammBaseFee::TimeScheduler {
        cliff_rate: 400_000_000,
        periods: 10,
        period_s: 60,
        reduction: DammReduction::Exponential(5_000),
    };
    assert_eq!([0, 60, 120].map(|s| rate(exponential, later(s))), [400, 200, 100]);
    let by_price = DammBaseFee::MarketCapScheduler {
        cliff_rate: 400_000_000,
        periods: 10,
        sqrt_price_step_bps: 500,
        expires_after_s: 100,
        // The square root of the price is a quarter above the first one: five steps.
        initial_sqrt_price_x64: (1 << 66) / 5,
        reduction: DammReduction::Linear(30_000_000),
    };
    assert_eq!([100, 101].map(|s| rate(by_price, later(s))), [250, 100]);
}

#[test]
fn a_limiter_takes_more_of_each_further_part() {
    let limiter = DammBaseFee::RateLimiter {
        cliff_rate: 10_000_000,
        increment_bps: 100,
        max_fee_bps: 5_000,
        reference_amount: 1_000_000,
        duration_s: 60,
    };
    let pool = DammV2::new(state(limiter)).unwrap();
    let net = |amount: u128, at| {
        // Deep enough that the price hardly moves: what comes out is about the net input.
        pool.amount_out(Direction::BToA, Amount::new(amount), at).unwrap().base_units()
    };
    // One percent of the first million, two of the second, and three of the half of the third.
    let expected = 2_500_000 - (10_000 + 20_000 + 15_000);
    assert!(net(2_500_000, NOW).abs_diff(expected) <= expected / 500, "{}", net(2_500_000, NOW));
    assert!(net(2_500_000, later(61)) > 2_470_000);
    // Sales of token a are not limited.
    assert!(pool.amount_out(Direction::AToB, Amount::new(2_500_000), NOW).unwrap() > Amount::new(2_470_000));
}

#[test]
fn impossible_pools_are_errors() {
    let fixed = DammBaseFee::Fixed { rate: 2_500_000 };
    let field = |change: fn(&mut DammState)| {
        let mut state = state(DammBaseFee::Fixed { rate: 2_500_000 });
        change(&mut state);
        DammV2::new(state).unwrap_err().field
    };
    assert!(DammV2::new(state(fixed)).is_ok());
    assert_eq!(field(|state| state.fee_on = FeeOn::Input), "fee_on");
    assert_eq!(field(|state| state.max_fee_rate = 1_000_000_000), "max_fee_rate");
    assert_eq!(field(|state| state.base_fee = DammBaseFee::Fixed { rate: 1_000_000_000 }), "base_fee");
    let falls_too_far = |state: &mut DammState| {
        let reduction = DammReduction::Linear(100);
        state.base_fee = DammBaseFee::TimeScheduler { cliff_rate: 999, periods: 10, period_s: 1, reduction };
    };
    assert_eq!(field(falls_too_far), "base_fee");
    let held = |liquidity| DammV2::new(DammState { liquidity, ..state(fixed) }).unwrap_err().field;
    let range = |sqrt_price_x64, sqrt_min_price_x64, liquidity_x64| DammLiquidity::Range {
        sqrt_price_x64,
        sqrt_min_price_x64,
        sqrt_max_price_x64: 1 << 65,
        liquidity_x64,
    };
    assert_eq!(held(range(1 << 64, 0, 1)), "sqrt_min_price_x64");
    assert_eq!(held(range(1 << 66, 1 << 63, 1)), "sqrt_price_x64");
    assert_eq!(held(range(1 << 64, 1 << 63, 0)), "liquidity_x64");
}

#[test]
fn a_trade_that_leaves_the_range_is_refused() {
    let pool = DammV2::new(state(DammBaseFee::Fixed { rate: 0 })).unwrap();
    // To the end of the range goes L·(1/√½² − 1) = 2 000 000 000 of a, and half as much of b comes out.
    let (all, half) = (Amount::new(2_000_000_000), Amount::new(1_000_000_000));
    assert_eq!(pool.amount_out(Direction::AToB, all, NOW), Ok(half));
    let more = Amount::new(all.base_units() + 1);
    assert_eq!(pool.amount_out(Direction::AToB, more, NOW), Err(QuoteError::NotEnoughLiquidity));
    assert_eq!(pool.amount_in(Direction::AToB, half, NOW), Ok(all));
    let more = Amount::new(half.base_units() + 1);
    assert_eq!(pool.amount_in(Direction::AToB, more, NOW), Err(QuoteError::NotEnoughLiquidity));
}

proptest! {
    #[test]
    fn with_a_limiter_an_exact_output_is_reached_and_one_unit_less_is_not_enough(
        pool in damm_v2_with(damm_base_fee(true)), at in moment(), wanted in magnitude(60),
    ) {
        let (direction, wanted) = (Direction::BToA, Amount::new(wanted));
        if let Ok(amount_in) = pool.amount_in(direction, wanted, at) {
            prop_assert!(pool.amount_out(direction, amount_in, at).unwrap() >= wanted);
            let less = Amount::new(amount_in.base_units() - 1);
            prop_assert!(pool.amount_out(direction, less, at).unwrap_or_default() < wanted);
        }
    }

    #[test]
    fn with_a_limiter_a_round_trip_brings_no_profit_and_the_pool_survives(
        pool in damm_v2_with(damm_base_fee(true)), at in moment(), amount_in in magnitude(60),
    ) {
        let amount_in = Amount::new(amount_in);
        let Ok(bought) = pool.amount_out(Direction::BToA, amount_in, at) else { return Ok(()) };
        let next = pool.after(Direction::BToA, amount_in, at).unwrap();
        prop_assert!(next.amount_out(Direction::AToB, bought, at).unwrap_or_default() <= amount_in);
        let json = serde_json::to_string(&next).unwrap();
        prop_assert_eq!(serde_json::from_str::<DammV2>(&json).unwrap(), next);
    }
}
