//! A route as paths, each of which a router trades from its first token to its last. Pure.
//!
//! A route is a flow: where several legs buy a token and several sell it, it does not say which of them belong together.
//! A router cannot divide what it has bought, so a leg that feeds several others is traded in parts, each as the beginning of
//! a path of its own.

use alloy_primitives::U256;
use order_engine_core::Leg;

/// Parts of a leg below this share of it go along with another part.
const DUST: u128 = 1_000_000;

/// What is sold on one way, and the legs of it, by their places in the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) amount_in: u128,
    pub(super) legs: Vec<usize>,
}

/// Divides legs, which stand in the order of execution, into paths from the one token to the other. The paths sell what the
/// first legs sell; `None` if a leg leads nowhere.
pub(super) fn paths(legs: &[Leg], input: &str, output: &str) -> Option<Vec<Path>> {
    let mut left: Vec<u128> = legs.iter().map(|leg| leg.amount_in.base_units()).collect();
    let mut paths: Vec<Path> = Vec::new();
    for first in (0..legs.len()).filter(|leg| legs[*leg].input_mint == input) {
        while left[first] > 0 {
            let path = path(legs, &left, first, output)?;
            spend(legs, &mut left, &path);
            let rest = left[first];
            paths.push(path);
            // What rounding has left is no path of its own.
            if rest <= legs[first].amount_in.base_units() / DUST {
                left[first] = 0;
                paths.last_mut()?.amount_in += rest;
            }
        }
    }
    Some(paths)
}

/// Returns the path from a leg on that takes as much as every leg of it has left.
fn path(legs: &[Leg], left: &[u128], first: usize, output: &str) -> Option<Path> {
    let (mut amount_in, mut way) = (left[first], vec![first]);
    let mut amount = out_of(&legs[first], amount_in);
    let mut last = first;
    while legs[last].output_mint != output {
        let follows = |leg: &usize| *leg > last && legs[*leg].input_mint == legs[last].output_mint;
        let mut next = (0..legs.len()).filter(follows);
        // What rounding has left of a token goes with its last leg.
        let with_room = next.clone().find(|leg| left[*leg] > 0);
        let leg = with_room.or_else(|| next.next_back())?;
        let room = left[leg];
        if with_room.is_some() && amount > room {
            amount_in = of(amount_in, room, amount).max(1);
            amount = room;
        }
        amount = out_of(&legs[leg], amount);
        way.push(leg);
        last = leg;
    }
    Some(Path { amount_in, legs: way })
}

/// Takes what a path trades from what is left of its legs.
fn spend(legs: &[Leg], left: &mut [u128], path: &Path) {
    let mut amount = path.amount_in;
    for &leg in &path.legs {
        let rest = left[leg].saturating_sub(amount);
        // What rounding leaves of a leg does not open a path.
        left[leg] =
            if rest <= legs[leg].amount_in.base_units() / DUST && leg != path.legs[0] { 0 } else { rest };
        amount = out_of(&legs[leg], amount);
    }
}

/// Returns about what a leg pays for a part of its input.
fn out_of(leg: &Leg, amount_in: u128) -> u128 {
    of(amount_in, leg.amount_out.base_units(), leg.amount_in.base_units())
}

/// Returns `⌊a · b / c⌋`; what does not fit is more than any leg has.
fn of(a: u128, b: u128, c: u128) -> u128 {
    let product = U256::from(a) * U256::from(b);
    u128::try_from(product / U256::from(c.max(1))).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use order_engine_core::Amount;
    use proptest::prelude::*;

    use super::*;

    fn leg((input, amount_in): (&str, u128), (output, amount_out): (&str, u128)) -> Leg {
        Leg::new("x", "p", (input, Amount::new(amount_in)), (output, Amount::new(amount_out)))
    }

    fn of_route(legs: &[Leg]) -> Vec<(u128, Vec<usize>)> {
        let paths = paths(legs, "a", "z").unwrap();
        paths.into_iter().map(|path| (path.amount_in, path.legs)).collect()
    }

    #[test]
    fn legs_beside_each_other_and_in_a_row_are_paths() {
        let legs = [
            leg(("a", 70), ("z", 140)),
            leg(("a", 30), ("m", 300)),
            leg(("m", 300), ("n", 30)),
            leg(("n", 30), ("z", 60)),
        ];
        assert_eq!(of_route(&legs), [(70, vec![0]), (30, vec![1, 2, 3])]);
    }

    #[test]
    fn two_legs_may_feed_one() {
        let legs = [leg(("a", 70), ("m", 700)), leg(("a", 30), ("m", 300)), leg(("m", 1_000), ("z", 5))];
        assert_eq!(of_route(&legs), [(70, vec![0, 2]), (30, vec![1, 2])]);
    }

    #[test]
    fn a_leg_that_feeds_two_is_traded_in_parts() {
        let legs = [leg(("a", 100), ("m", 1_000)), leg(("m", 600), ("z", 6)), leg(("m", 400), ("z", 4))];
        assert_eq!(of_route(&legs), [(60, vec![0, 1]), (40, vec![0, 2])]);
    }

    #[test]
    fn a_leg_that_leads_nowhere_is_refused() {
        assert_eq!(paths(&[leg(("a", 1), ("m", 1))], "a", "z"), None);
    }

    proptest! {
        #[test]
        fn the_paths_sell_exactly_what_the_first_legs_sell(
            firsts in proptest::collection::vec((1_u128..1 << 100, 1_u128..1 << 100), 1..4),
            shares in proptest::collection::vec(1_u128..1_000, 1..4),
        ) {
            let bought: u128 = firsts.iter().map(|(_, out)| out).sum();
            let mut legs: Vec<Leg> = firsts.iter().map(|(amount, out)| leg(("a", *amount), ("m", *out))).collect();
            let all: u128 = shares.iter().sum();
            legs.extend(shares.iter().map(|share| leg(("m", of(bought, *share, all).max(1)), ("z", *share))));
            let paths = paths(&legs, "a", "z").unwrap();
            for (first, (amount, _)) in firsts.iter().enumerate() {
                let sold: u128 = paths.iter().filter(|path| path.legs[0] == first).map(|path| path.amount_in).sum();
                prop_assert_eq!(sold, *amount);
            }
            prop_assert!(paths.iter().all(|path| path.amount_in > 0 && path.legs.len() == 2));
            prop_assert!(paths.len() <= legs.len() + firsts.len());
        }
    }
}
