//! What is left of an output when the chain is paid.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use order_engine_core::Amount;

use crate::footprint::Toll;

/// An output minus the chain's cost, in base units of the output token. Where the chain costs more it is a loss, and
/// the least loss is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetAmount {
    /// The chain costs this much more than comes out.
    Loss(Reverse<Amount>),
    /// The output is this much above the chain's cost, or equal to it.
    Gain(Amount),
}

impl NetAmount {
    /// Returns an output minus a cost.
    pub fn of(output: Amount, cost: Amount) -> Self {
        let (output, cost) = (output.base_units(), cost.base_units());
        match output.checked_sub(cost) {
            Some(gain) => Self::Gain(Amount::new(gain)),
            None => Self::Loss(Reverse(Amount::new(cost - output))),
        }
    }

    /// Returns what is left, zero for a loss.
    pub fn gain(self) -> Amount {
        match self {
            Self::Gain(gain) => gain,
            Self::Loss(_) => Amount::ZERO,
        }
    }

    /// Returns whether the chain costs more than comes out.
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::Loss(_))
    }
}

impl fmt::Display for NetAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gain(gain) => write!(f, "{gain}"),
            Self::Loss(Reverse(loss)) => write!(f, "-{loss}"),
        }
    }
}

/// How good a route is: its net output, then, of losses, the output itself, then the fewer legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    net: NetAmount,
    gross: u128,
    legs: usize,
}

impl Rank {
    /// Returns the rank of an output of legs with this toll.
    pub(crate) fn new(gross: u128, toll: &Toll) -> Self {
        Self::of(Amount::new(gross), Amount::new(toll.cost), toll.legs)
    }

    /// Returns the rank of an output over a number of legs, which together cost `cost`.
    pub(crate) fn of(gross: Amount, cost: Amount, legs: usize) -> Self {
        Self { net: NetAmount::of(gross, cost), gross: gross.base_units(), legs }
    }

    pub(crate) const fn net(self) -> NetAmount {
        self.net
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_gross = || if self.net.is_loss() { self.gross.cmp(&other.gross) } else { Ordering::Equal };
        self.net.cmp(&other.net).then_with(by_gross).then_with(|| other.legs.cmp(&self.legs))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loss_is_the_best_then_the_higher_output_then_the_fewer_legs() {
        let rank = |gross, legs: usize, leg_cost: u128| {
            let cost = Amount::new(leg_cost.saturating_mul(legs as u128));
            Rank::of(Amount::new(gross), cost, legs)
        };
        assert!(rank(597, 1, 1_000) > rank(5, 1, 1_000));
        assert!(rank(5, 1, 1_000) > rank(597, 2, 1_000));
        assert!(rank(1_005, 2, 1_000) > rank(5, 1, 1_000), "of equal losses the higher output");
        assert!(rank(2_000, 1, 1_000) > rank(3_000, 2, 1_000), "of equal gains the fewer legs");
        assert!(rank(1, 1, 1) > rank(0, 1, 1));
        assert!(rank(0, usize::MAX, u128::MAX) < rank(0, 1, 1));
    }

    #[test]
    fn a_loss_is_written_with_its_sign() {
        let net = |output, cost| NetAmount::of(Amount::new(output), Amount::new(cost)).to_string();
        assert_eq!([net(7, 3), net(3, 7)], ["4", "-4"]);
    }
}
