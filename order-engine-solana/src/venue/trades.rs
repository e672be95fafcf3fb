//! What each leg of a route sells, and the least that it has to pay.
//!
//! An instruction sells an amount that is fixed before anybody knows what the leg before it pays. So a leg sells the least that
//! the legs before it must pay, and never what the wallet held of a token on the way.

use std::collections::BTreeMap;

use order_engine_core::{Failure, FailureCode, Leg, PrepareRequest, Route, StepError};

/// A leg with its amounts in this transaction, in base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trade<'a> {
    pub(super) leg: &'a Leg,
    pub(super) amount_in: u64,
    pub(super) min_amount_out: u64,
}

/// A token that legs have bought and others sell.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// What the legs that bought it must pay, as far as it is not sold yet.
    promised: u128,
    /// What they are quoted, as far as it is not sold yet.
    quoted: u128,
    is_sold: bool,
}

/// Returns the trades of a route, in its order.
///
/// What a leg buys of a token on the way may be `tolerance_bps` less than quoted, and the legs that sell it sell no more than
/// that; less of a tolerance where the order's least output leaves no room for it. The least outputs of the legs that buy what
/// the order buys are the order's least output exactly.
pub(super) fn trades<'a>(
    request: &PrepareRequest<'a>,
    tolerance_bps: u16,
) -> Result<Vec<Trade<'a>>, StepError> {
    let PrepareRequest { order, route, min_amount_out, .. } = *request;
    let (input, output) = (order.request.input.mint.as_str(), order.request.output.mint.as_str());
    check_sum(route, input, order.request.amount.base_units())?;
    let min_amount_out = base_units(min_amount_out.base_units())?;
    let mut tolerance_bps = tolerance_bps.min(ONE_BPS);
    loop {
        let trades = plan(route, (input, output), tolerance_bps)?;
        match with_floors(trades, output, min_amount_out) {
            Some(trades) => return Ok(trades),
            None if tolerance_bps == 0 => return Err(below()),
            None => tolerance_bps /= 2,
        }
    }
}

const ONE_BPS: u16 = 10_000;

/// Checks that the legs sell what the order sells.
fn check_sum(route: &Route, input: &str, amount: u128) -> Result<(), StepError> {
    let of_input = route.legs.iter().filter(|leg| leg.input_mint == input);
    let sold = of_input.fold(0_u128, |sum, leg| sum.saturating_add(leg.amount_in.base_units()));
    if route.legs.is_empty() || sold != amount || route.amount_in.base_units() != amount {
        return Err(refused("The legs of the route do not sell what the order sells"));
    }
    Ok(())
}

/// Returns the trades with what the legs that buy what the order buys are expected to pay, which is not divided yet.
fn plan<'a>(
    route: &'a Route,
    (input, output): (&str, &str),
    tolerance_bps: u16,
) -> Result<Vec<Trade<'a>>, StepError> {
    let amount = route.amount_in.base_units();
    let mut held: BTreeMap<&str, Held> = BTreeMap::new();
    held.insert(input, Held { promised: amount, quoted: amount, is_sold: true });
    let mut trades = Vec::with_capacity(route.legs.len());
    for leg in &route.legs {
        let amount_in = sell(held.get_mut(leg.input_mint.as_str()), leg)?;
        let expected = part(leg.amount_out.base_units(), amount_in, leg.amount_in.base_units())?;
        let least = if leg.output_mint == output {
            expected
        } else {
            let least = expected - part(expected, tolerance_bps.into(), ONE_BPS.into())?;
            let bought = held.entry(&leg.output_mint).or_default();
            if bought.is_sold {
                return Err(refused("A leg of the route buys a token that is sold before"));
            }
            bought.promised = bought.promised.saturating_add(least);
            bought.quoted = bought.quoted.saturating_add(leg.amount_out.base_units());
            least
        };
        trades.push(Trade { leg, amount_in: base_units(amount_in)?, min_amount_out: base_units(least)? });
    }
    if held.values().any(|held| held.quoted > 0) {
        return Err(refused("The legs of the route do not sell all that they buy on the way"));
    }
    Ok(trades)
}

/// Takes a leg's share of what is promised of the token that it sells, and returns it: no more than it is quoted for.
fn sell(held: Option<&mut Held>, leg: &Leg) -> Result<u128, StepError> {
    let sold = leg.amount_in.base_units();
    let held = held.filter(|held| held.quoted >= sold && sold > 0);
    let held = held.ok_or_else(|| refused("A leg of the route sells what no leg before it buys"))?;
    let share = part(held.promised, sold, held.quoted)?;
    if share == 0 {
        return Err(refused("A leg of the route sells nothing"));
    }
    *held = Held { promised: held.promised - share, quoted: held.quoted - sold, is_sold: true };
    Ok(share)
}

/// Divides the least output of the order over the legs that buy what the order buys, by what they are expected to pay, so
/// that the sum is exactly the whole and no leg must pay more than is expected; nothing if less is expected.
fn with_floors<'a>(mut trades: Vec<Trade<'a>>, output: &str, min_amount_out: u64) -> Option<Vec<Trade<'a>>> {
    let is_last = |trade: &&mut Trade<'a>| trade.leg.output_mint == output;
    let expected = trades.iter_mut().filter(is_last).map(|trade| u128::from(trade.min_amount_out)).sum();
    let (mut rest, mut rest_expected): (u128, u128) = (min_amount_out.into(), expected);
    if rest > rest_expected {
        return None;
    }
    for trade in trades.iter_mut().filter(is_last) {
        let out = u128::from(trade.min_amount_out);
        // Of what is left, this leg's share, rounded up: at most what is expected of it, because no more is left than that.
        let floor = rest.checked_mul(out)?.div_ceil(rest_expected.max(1));
        trade.min_amount_out = u64::try_from(floor).ok()?;
        (rest, rest_expected) = (rest - floor, rest_expected - out);
    }
    Some(trades)
}

/// Returns `whole · part / of`, rounded down.
fn part(whole: u128, part: u128, of: u128) -> Result<u128, StepError> {
    // All amounts of the chain have 64 bits, so this is within 128 unless a leg is none of the chain's.
    whole.checked_mul(part).and_then(|product| product.checked_div(of)).ok_or_else(too_large)
}

/// Returns an amount as the chain has it.
pub(super) fn base_units(amount: u128) -> Result<u64, StepError> {
    u64::try_from(amount).map_err(|_| too_large())
}

fn too_large() -> StepError {
    refused("An amount is larger than the chain can hold")
}

fn below() -> StepError {
    let message = "The quotes of the legs do not reach the least output of the order";
    StepError::requote(Failure::new(FailureCode::SLIPPAGE, message))
}

fn refused(message: &str) -> StepError {
    StepError::permanent(Failure::new(FailureCode::REJECTED, message))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use order_engine_core::testing::LatestNonce;
    use order_engine_core::{Amount, Fence, Order, OrderId, OrderRequest, Token};
    use proptest::prelude::*;

    use super::*;

    const FENCE: Fence = Fence { epoch: 1, owner: 1 };

    fn leg((sold, amount_in): (&str, u64), (bought, amount_out): (&str, u64)) -> Leg {
        let [amount_in, amount_out] = [amount_in, amount_out].map(|amount| Amount::new(amount.into()));
        Leg::new("x", format!("{sold}{bought}"), (sold, amount_in), (bought, amount_out))
    }

    /// Returns the amounts of the trades, or the error, of an order that sells `a` for `z`.
    fn amounts(
        legs: Vec<Leg>,
        amount: u64,
        min_amount_out: u64,
        tolerance_bps: u16,
    ) -> Result<Vec<(u64, u64)>, StepError> {
        let token = |mint: &str| Token::new(mint, mint, 6);
        let amount = Amount::new(amount.into());
        let request = OrderRequest::new("alice", token("a"), token("z"), amount);
        let at = DateTime::<Utc>::UNIX_EPOCH;
        let (order, _) = Order::accept(OrderId::new(at, 1), request, 3, at);
        let route = Route::new("x", legs, amount, Amount::new(1));
        let least = Amount::new(min_amount_out.into());
        let request = PrepareRequest::new(&order, &route, least, FENCE, &LatestNonce);
        let trades = trades(&request, tolerance_bps)?;
        Ok(trades.iter().map(|trade| (trade.amount_in, trade.min_amount_out)).collect())
    }

    #[test]
    fn a_hop_sells_what_the_one_before_it_must_pay() {
        let legs = || vec![leg(("a", 1_000), ("m", 500)), leg(("m", 500), ("z", 2_000))];
        assert_eq!(amounts(legs(), 1_000, 1_900, 0).unwrap(), [(1_000, 500), (500, 1_900)]);
        // A hundredth less on the way, which the order's own tolerance has room for.
        assert_eq!(amounts(legs(), 1_000, 1_900, 100).unwrap(), [(1_000, 495), (495, 1_900)]);
        // Twenty percent would not reach the least output, ten and five do not leave it either, two and a half do.
        assert_eq!(amounts(legs(), 1_000, 1_950, 2_000).unwrap(), [(1_000, 488), (488, 1_950)]);
        assert_eq!(amounts(legs(), 1_000, 2_000, 100).unwrap(), [(1_000, 500), (500, 2_000)]);
    }

    #[test]
    fn a_flow_through_shared_tokens_sells_all_that_is_promised_of_each() {
        let legs = vec![
            leg(("a", 600), ("m", 300)),
            leg(("a", 300), ("m", 100)),
            leg(("a", 100), ("z", 90)),
            leg(("m", 250), ("z", 500)),
            leg(("m", 150), ("z", 310)),
        ];
        let strict = amounts(legs.clone(), 1_000, 900, 0).unwrap();
        assert_eq!(strict, [(600, 300), (300, 100), (100, 90), (250, 500), (150, 310)]);
        let loose = amounts(legs, 1_000, 850, 100).unwrap();
        assert_eq!(loose[..2], [(600, 297), (300, 99)]);
        assert_eq!(loose[3].0 + loose[4].0, 396);
        assert_eq!(loose[2].1 + loose[3].1 + loose[4].1, 850);
    }

    #[test]
    fn what_is_no_route_of_the_order_is_refused() {
        let refused = |legs: Vec<Leg>| amounts(legs, 1_000, 1, 0).unwrap_err().failure.message.clone();
        let sells_less = refused(vec![leg(("a", 999), ("z", 1))]);
        assert_eq!(sells_less, "The legs of the route do not sell what the order sells");
        assert_eq!(refused(Vec::new()), sells_less);
        let of_the_wallet = vec![leg(("a", 1_000), ("m", 5)), leg(("m", 6), ("z", 9))];
        assert_eq!(refused(of_the_wallet), "A leg of the route sells what no leg before it buys");
        let before = vec![leg(("m", 5), ("z", 9)), leg(("a", 1_000), ("m", 5))];
        assert_eq!(refused(before), "A leg of the route sells what no leg before it buys");
        let left = vec![leg(("a", 1_000), ("m", 5)), leg(("m", 4), ("z", 9))];
        assert_eq!(refused(left), "The legs of the route do not sell all that they buy on the way");
        let late = vec![
            leg(("a", 500), ("m", 5)),
            leg(("m", 5), ("z", 9)),
            leg(("a", 500), ("m", 5)),
            leg(("m", 5), ("z", 9)),
        ];
        assert_eq!(refused(late), "A leg of the route buys a token that is sold before");
        let circle = vec![leg(("a", 1_000), ("m", 5)), leg(("m", 5), ("a", 9))];
        assert_eq!(refused(circle), "A leg of the route buys a token that is sold before");
    }

    #[test]
    fn a_least_output_above_the_quotes_is_slippage() {
        let legs = || vec![leg(("a", 1), ("z", 5)), leg(("a", 1), ("z", 5))];
        assert_eq!(amounts(legs(), 2, 11, 0).unwrap_err().failure.code, FailureCode::SLIPPAGE);
        assert_eq!(amounts(legs(), 2, 10, 50).unwrap(), [(1, 5), (1, 5)]);
    }

    proptest! {
        #[test]
        fn the_floors_are_the_whole_and_nothing_is_sold_that_is_not_bought(
            first in proptest::collection::vec((1..u64::MAX / 16, 100..u64::MAX / 16), 1..4),
            cuts in proptest::collection::vec(1_u64..1_000, 1..4),
            outputs in proptest::collection::vec(1_000..u64::MAX / 16, 4),
            share in 0_u64..=10_000,
            tolerance_bps in 0_u16..2_000,
        ) {
            let mut legs: Vec<Leg> = first.iter().map(|(sold, bought)| leg(("a", *sold), ("m", *bought))).collect();
            let (sold, bought): (u64, u64) = first.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let mut rest = bought;
            for (number, cut) in cuts.iter().enumerate() {
                let amount = if number + 1 == cuts.len() { rest } else { rest / 1_001 * cut + 1 };
                prop_assume!(amount > 10 && amount <= rest);
                legs.push(leg(("m", amount), ("z", outputs[number])));
                rest -= amount;
            }
            let quoted: u128 = outputs[..cuts.len()].iter().map(|out| u128::from(*out)).sum();
            let least = u64::try_from(quoted * u128::from(share) / 10_000).unwrap();
            let trades = amounts(legs.clone(), sold, least, tolerance_bps).unwrap();
            let (firsts, lasts) = trades.split_at(first.len());
            prop_assert_eq!(firsts.iter().map(|trade| trade.0).sum::<u64>(), sold);
            prop_assert_eq!(firsts.iter().map(|trade| trade.1).sum::<u64>(), lasts.iter().map(|trade| trade.0).sum::<u64>());
            prop_assert_eq!(lasts.iter().map(|trade| u128::from(trade.1)).sum::<u128>(), u128::from(least));
            for (trade, leg) in trades.iter().zip(&legs) {
                prop_assert!(u128::from(trade.0) <= leg.amount_in.base_units());
                prop_assert!(u128::from(trade.1) <= leg.amount_out.base_units());
            }
        }
    }
}
