//! Properties that hold for every curve.

use order_engine_core::Amount;
use order_engine_routing::{
    Curve, DammBaseFee, DammLiquidity, DammState, Direction, Fee, Moment, Pool, QuoteError, Ratio,
};
use proptest::prelude::*;
use ruint::aliases::{U256, U512};

use crate::arbitrary::{amount, direction, moment, pool};

/// An amount relative to the size of a pool, because most purely random amounts would be far too small or
/// far too large for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    part: u16,
    otherwise: Amount,
}

impl Share {
    /// Returns an output of about this share of the pool's reserve.
    fn of_output(self, pool: &Pool, direction: Direction, at: Moment) -> Amount {
        if self.part == 0 {
            return self.otherwise;
        }
        // The order of magnitude of the reserve is precise enough.
        let held = |bit: &u32| pool.amount_in(direction, Amount::new(1 << bit), at).is_ok();
        let most = (0..127).rev().find(held).map_or(0, |bit| 1_u128 << bit);
        let part = u128::from(self.part);
        Amount::new(((most >> 15) * part + part % (most + 1)).max(1))
    }

    /// Returns an input that buys about this share of the pool's reserve.
    pub(crate) fn of_input(self, pool: &Pool, direction: Direction, at: Moment) -> Amount {
        let out = self.of_output(pool, direction, at);
        pool.amount_in(direction, out, at).unwrap_or(self.otherwise)
    }
}

pub(crate) fn share() -> impl Strategy<Value = Share> {
    (any::<u16>(), amount()).prop_map(|(part, otherwise)| Share { part, otherwise })
}

fn out(pool: &Pool, direction: Direction, amount_in: Amount, at: Moment) -> Amount {
    pool.amount_out(direction, amount_in, at).unwrap_or(Amount::ZERO)
}

/// Returns whether an output is at most the value of an input at a price.
fn is_at_most(out: Amount, amount_in: Amount, price: Ratio) -> bool {
    let (numerator, denominator) = price.parts();
    let wide = |amount: Amount| U256::from(amount.base_units());
    let left: U512 = wide(out).widening_mul(denominator);
    let right: U512 = wide(amount_in).widening_mul(numerator);
    left <= right
}

/// Returns whether a trade may move a pool back towards where its volatility counts from, so that its fee falls.
fn moves_back(pool: &Pool, at: Moment) -> bool {
    let elapsed_s = |since: Moment| at.unix_seconds().saturating_sub(since.unix_seconds());
    match &pool.curve {
        Curve::Dlmm(curve) => {
            let state = curve.state();
            elapsed_s(state.volatility.last_update) < u64::from(state.fees.filter_period_s)
        }
        Curve::Concentrated(curve) => curve
            .state()
            .dynamic_fee
            .is_some_and(|fee| elapsed_s(fee.volatility.last_update) < u64::from(fee.filter_period_s)),
        Curve::Whirlpool(curve) => curve.state().adaptive_fee.is_some_and(|fee| {
            let last = fee.volatility.last_reference_update.max(fee.volatility.last_major_swap);
            elapsed_s(last) < u64::from(fee.filter_period_s)
        }),
        _ => false,
    }
}

/// Returns whether the next trade may pay less of a fee than the same trade as a part of a larger one. The program of
/// Raydium takes its highest dynamic fee up to the next tick, even if the price has come back to where the fee is lower. In a
/// DAMM v2 pool a trade has one rate, which the trade before it may lower, and some fees come back into the reserves.
fn may_restart_cheaper(pool: &Pool, at: Moment) -> bool {
    match &pool.curve {
        Curve::Concentrated(_) => moves_back(pool, at),
        // The next trade may fall into another tier.
        Curve::PumpSwap(curve) => curve.state().tiers.len() > 1,
        Curve::DammV2(curve) => {
            let DammState { liquidity, base_fee, dynamic_fee, .. } = curve.state();
            dynamic_fee.is_some()
                || matches!(base_fee, DammBaseFee::MarketCapScheduler { .. })
                || matches!(liquidity, DammLiquidity::Compounding { .. })
        }
        _ => false,
    }
}

/// Returns the part of a trade's fee that stays in the reserve of the output token, where the next trade may regain it:
/// the fee of a stable pool, and that of the liquidity providers on a sale to `PumpSwap`.
fn fee_in_output_reserve(pool: &Pool, direction: Direction, bought: Amount) -> Amount {
    let bps = |bps: u16| Fee::new(u64::from(bps), 10_000).unwrap();
    let fee = match (&pool.curve, direction) {
        (Curve::Stable(curve), _) => {
            curve.state().fee.gross_up(bought).and_then(|gross| gross.checked_sub(bought))
        }
        (Curve::PumpSwap(curve), Direction::AToB) => {
            let fees = curve.fees();
            let all = bps(fees.lp_bps + fees.protocol_bps + fees.creator_bps);
            // Quotes are up to two units below what is paid, and the next trade's as well.
            let gross = bought.checked_add(Amount::new(4)).and_then(|paid| all.gross_up(paid));
            gross.map(|gross| bps(fees.lp_bps).of(gross))
        }
        _ => return Amount::ZERO,
    };
    // One unit is the rounding of the output, and another the rounding of the fee.
    fee.and_then(|fee| fee.checked_add(Amount::new(2))).unwrap()
}

proptest! {
    #[test]
    fn exact_out_is_the_inverse_of_exact_in_and_minimal(
        pool in pool(), direction in direction(), at in moment(), share in share(),
    ) {
        let wanted = share.of_output(&pool, direction, at);
        if let Ok(amount_in) = pool.amount_in(direction, wanted, at) {
            prop_assert!(pool.amount_out(direction, amount_in, at).unwrap() >= wanted);
            let less = Amount::new(amount_in.base_units() - 1);
            prop_assert!(out(&pool, direction, less, at) < wanted);
        }
    }

    #[test]
    fn what_an_input_buys_needs_no_larger_input(
        pool in pool(), direction in direction(), at in moment(), share in share(),
    ) {
        let amount_in = share.of_input(&pool, direction, at);
        if let Ok(bought) = pool.amount_out(direction, amount_in, at) {
            prop_assert!(pool.amount_in(direction, bought, at).unwrap() <= amount_in);
        }
    }

    #[test]
    fn output_is_monotone_in_input(
        pool in pool(), direction in direction(), at in moment(), x in share(), y in share(), near: bool,
    ) {
        let x = x.of_input(&pool, direction, at);
        let y = if near { x.checked_add(Amount::new(1)) } else { Some(y.of_input(&pool, direction, at)) };
        let Some(y) = y else { return Ok(()) };
        if let (Ok(less), Ok(more)) =
            (pool.amount_out(direction, x.min(y), at), pool.amount_out(direction, x.max(y), at))
        {
            prop_assert!(less <= more);
        }
    }

    #[test]
    fn two_trades_never_pay_more_than_one(
        pool in pool(), direction in direction(), at in moment(), x in share(), y in share(),
    ) {
        let (x, y) = (x.of_input(&pool, direction, at), y.of_input(&pool, direction, at));
        let Some(both) = x.checked_add(y) else { return Ok(()) };
        let (Ok(first), Ok(next)) = (pool.amount_out(direction, x, at), pool.after(direction, x, at)) else {
            return Ok(());
        };
        let second = out(&next, direction, y, at);
        if let Ok(once) = pool.amount_out(direction, both, at)
            && !may_restart_cheaper(&pool, at)
        {
            let once = once.checked_add(fee_in_output_reserve(&pool, direction, first)).unwrap();
            prop_assert!(first.checked_add(second).unwrap() <= once);
        }
    }

    #[test]
    fn a_round_trip_brings_no_profit(
        pool in pool(), direction in direction(), at in moment(), share in share(),
    ) {
        let amount_in = share.of_input(&pool, direction, at);
        let Ok(bought) = pool.amount_out(direction, amount_in, at) else { return Ok(()) };
        let Ok(next) = pool.after(direction, amount_in, at) else { return Ok(()) };
        prop_assert!(out(&next, direction.reversed(), bought, at) <= amount_in);
    }

    #[test]
    fn no_trade_beats_the_spot_price_and_no_spot_price_beats_the_mid_price(
        pool in pool(), direction in direction(), at in moment(), share in share(),
    ) {
        let amount_in = share.of_input(&pool, direction, at);
        if let Ok(bought) = pool.amount_out(direction, amount_in, at) {
            let (spot, mid) = (pool.spot_price(direction, at).unwrap(), pool.mid_price(direction).unwrap());
            prop_assert!(is_at_most(bought, amount_in, mid) && spot <= mid);
            prop_assert!(moves_back(&pool, at) || is_at_most(bought, amount_in, spot));
            prop_assert!(pool.after(direction, amount_in, at).unwrap().mid_price(direction).unwrap() <= mid);
        }
    }

    #[test]
    fn a_pool_survives_a_trade_and_json(
        pool in pool(), direction in direction(), at in moment(), share in share(),
    ) {
        let amount_in = share.of_input(&pool, direction, at);
        let next = pool.after(direction, amount_in, at);
        prop_assert_eq!(next.is_ok(), pool.amount_out(direction, amount_in, at).is_ok());
        for pool in [Some(pool), next.ok()].into_iter().flatten() {
            let json = serde_json::to_string(&pool).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pool>(&json).unwrap(), pool);
        }
    }

    #[test]
    fn any_amount_is_quoted_or_refused(
        pool in pool(), direction in direction(), at: u64, amount in any::<u128>().prop_map(Amount::new),
    ) {
        let at = Moment::from_unix_seconds(at);
        for result in [pool.amount_out(direction, amount, at), pool.amount_in(direction, amount, at)] {
            prop_assert!(!matches!(result, Ok(Amount::ZERO) | Err(QuoteError::WrongPair)));
        }
    }
}
