//! What a route takes of its transaction, and how much a transaction has room for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::wide::mul_div_ceil;

/// What a leg takes of the transaction that executes it.
///
/// A transaction of several legs takes the sum. What legs share, as a program or the vault of the wallet, is counted for
/// each, so that a route fits whenever the sum does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// The computation, in the chain's units: Solana's compute units, or gas.
    pub compute_units: u32,
    /// The arrays of ticks or bins that the swap may read.
    pub arrays: u32,
    /// The accounts that the transaction names for the swap, arrays included.
    pub accounts: u32,
    /// The bytes of the transaction.
    pub bytes: u32,
}

/// How much a transaction has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TransactionLimits {
    /// The most that a transaction may take.
    pub most: Footprint,
    /// What every transaction takes, whatever its legs.
    pub base: Footprint,
    /// What each leg takes more that buys a token on the way, which another leg sells: an account for that token, for
    /// instance, and making it.
    pub token_on_the_way: Footprint,
}

/// What a transaction has a limited amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// [`SearchLimits::max_legs`](crate::SearchLimits::max_legs).
    Legs,
    /// [`Footprint::compute_units`].
    ComputeUnits,
    /// [`Footprint::arrays`].
    Arrays,
    /// [`Footprint::accounts`].
    Accounts,
    /// [`Footprint::bytes`].
    Bytes,
}

/// What a route would take more of than a transaction has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the route takes {needed} {resource}, and a transaction has room for {most}")]
pub struct Excess {
    /// What there is too little of.
    pub resource: Resource,
    /// How much the route takes, what every transaction takes included.
    pub needed: u64,
    /// How much a transaction has.
    pub most: u64,
}

/// What legs cost and take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Toll {
    pub(crate) legs: usize,
    /// The chain's cost, in base units of the token in which routes are compared.
    pub(crate) cost: u128,
    pub(crate) footprint: Footprint,
}

/// What the chain takes for legs, in base units of the token in which routes are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tariff {
    /// For each leg, whatever its pool.
    pub(crate) leg: u128,
    /// For a million compute units.
    pub(crate) million_compute_units: u128,
}

/// How many legs a route may have, and what they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) legs: usize,
    pub(crate) transaction: TransactionLimits,
}

impl Footprint {
    /// Nothing.
    pub const NONE: Self = Self::all(0);
    /// As much as can be counted.
    pub const MAX: Self = Self::all(u32::MAX);

    const fn all(count: u32) -> Self {
        Self { compute_units: count, arrays: count, accounts: count, bytes: count }
    }

    /// Returns what a leg through a pool of this curve takes on its chain, for pools of which the source says nothing
    /// better: the accounts of the swap's instruction without those that all legs share (the wallet and the token
    /// programs), up to three arrays, two bytes for each account in a look-up table with 48 for the rest of the instruction,
    /// and an estimate of the compute units that is rather too high. On a chain of the EVM it is an estimate of the gas.
    pub const fn of_curve(curve: &Curve) -> Self {
        let (compute_units, arrays, accounts) = match curve {
            Curve::ConstantProduct(_) => (60_000, 0, 10),
            Curve::Concentrated(_) => (150_000, 3, 13),
            Curve::Dlmm(_) | Curve::Whirlpool(_) => (150_000, 3, 14),
            Curve::Stable(_) => (80_000, 0, 9),
            Curve::Vaulted(_) => (180_000, 0, 15),
            Curve::PumpSwap(_) => (150_000, 0, 18),
            Curve::DammV2(_) => (90_000, 0, 10),
            // Gas: there is nothing else that a transaction of the EVM has little of.
            Curve::UniswapV2(_) => return Self { compute_units: 90_000, ..Self::NONE },
            Curve::UniswapV3(_) => return Self { compute_units: 130_000, ..Self::NONE },
        };
        Self { compute_units, arrays, accounts, bytes: 48 + 2 * accounts }
    }

    /// Returns what both take together, at most what can be counted.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            compute_units: self.compute_units.saturating_add(other.compute_units),
            arrays: self.arrays.saturating_add(other.arrays),
            accounts: self.accounts.saturating_add(other.accounts),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Returns whether this takes no more than another footprint, of nothing.
    pub(crate) fn is_within(&self, most: &Self) -> bool {
        self.compute_units <= most.compute_units
            && self.arrays <= most.arrays
            && self.accounts <= most.accounts
            && self.bytes <= most.bytes
    }

    /// Returns of everything the lower of both.
    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            compute_units: self.compute_units.min(other.compute_units),
            arrays: self.arrays.min(other.arrays),
            accounts: self.accounts.min(other.accounts),
            bytes: self.bytes.min(other.bytes),
        }
    }

    /// Returns each resource with its amount.
    fn amounts(&self) -> [(Resource, u32); 4] {
        [
            (Resource::ComputeUnits, self.compute_units),
            (Resource::Arrays, self.arrays),
            (Resource::Accounts, self.accounts),
            (Resource::Bytes, self.bytes),
        ]
    }
}

impl TransactionLimits {
    /// A transaction has room for everything.
    pub const UNLIMITED: Self = Self::new(Footprint::MAX, Footprint::NONE);

    /// The limits of a transaction on Solana: 1,400,000 compute units, 64 accounts and 1,232 bytes. Every transaction
    /// takes a signature, a header, a recent block hash and a look-up table, names the wallet, its two token accounts, the system's,
    /// the tokens' and the compute budget's programs and the one that trades, and sets its compute budget. A token on the
    /// way takes its mint and the wallet's account for it, which is made.
    pub const SOLANA: Self = Self {
        most: Footprint { compute_units: 1_400_000, arrays: u32::MAX, accounts: 64, bytes: 1_232 },
        base: Footprint { compute_units: 20_000, arrays: 0, accounts: 8, bytes: 400 },
        token_on_the_way: Footprint { compute_units: 25_000, arrays: 0, accounts: 2, bytes: 43 },
    };

    /// Returns what of a footprint counts: nothing of what there is any amount of.
    pub(crate) fn limited(&self, footprint: Footprint) -> Footprint {
        let count = |taken: u32, most: u32| if most == u32::MAX { 0 } else { taken };
        let most = &self.most;
        Footprint {
            compute_units: count(footprint.compute_units, most.compute_units),
            arrays: count(footprint.arrays, most.arrays),
            accounts: count(footprint.accounts, most.accounts),
            bytes: count(footprint.bytes, most.bytes),
        }
    }

    /// Returns limits of these amounts, of which every transaction takes `base`, and tokens on the way take nothing.
    pub const fn new(most: Footprint, base: Footprint) -> Self {
        Self { most, base, token_on_the_way: Footprint::NONE }
    }

    /// Sets [`token_on_the_way`](Self::token_on_the_way).
    #[must_use]
    pub const fn with_token_on_the_way(self, token_on_the_way: Footprint) -> Self {
        Self { token_on_the_way, ..self }
    }
}

impl Default for TransactionLimits {
    /// Returns [`TransactionLimits::UNLIMITED`].
    fn default() -> Self {
        Self::UNLIMITED
    }
}

impl Tariff {
    /// Returns what a leg with this footprint costs and takes.
    pub(crate) fn toll(&self, footprint: Footprint) -> Toll {
        let computation = if self.is_uniform() { 0 } else { self.computation(footprint.compute_units) };
        Toll { legs: 1, cost: self.leg.saturating_add(computation), footprint }
    }

    /// Returns the cost of a computation, rounded up.
    fn computation(&self, compute_units: u32) -> u128 {
        mul_div_ceil(self.million_compute_units, u128::from(compute_units), 1_000_000).unwrap_or(u128::MAX)
    }

    /// Returns whether every leg costs the same.
    pub(crate) const fn is_uniform(&self) -> bool {
        self.million_compute_units == 0
    }
}

impl Toll {
    /// Returns what both cost and take together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            legs: self.legs.saturating_add(other.legs),
            cost: self.cost.saturating_add(other.cost),
            footprint: self.footprint.plus(other.footprint),
        }
    }

    /// Returns whether this costs and takes no more than another toll.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.legs <= other.legs && self.cost <= other.cost && self.footprint.is_within(&other.footprint)
    }

    /// Returns what so many legs take at least, each of which takes this.
    pub(crate) fn times(self, legs: usize) -> Self {
        (0..legs).fold(Self::default(), |sum, _| sum.plus(self))
    }
}

impl std::iter::Sum for Toll {
    fn sum<I: Iterator<Item = Self>>(tolls: I) -> Self {
        tolls.fold(Self::default(), Self::plus)
    }
}

impl Room {
    /// Returns whether legs with this toll fit.
    pub(crate) fn admits(&self, toll: &Toll) -> bool {
        let TransactionLimits { most, base, .. } = &self.transaction;
        toll.legs <= self.legs && base.plus(toll.footprint).is_within(most)
    }

    /// Returns what there is too little of for legs with this toll: what is exceeded by the largest factor.
    pub(crate) fn excess(&self, toll: &Toll) -> Option<Excess> {
        let TransactionLimits { most, base, .. } = &self.transaction;
        let count = |legs: usize| u64::try_from(legs).unwrap_or(u64::MAX);
        let legs = (Resource::Legs, count(toll.legs), count(self.legs));
        let taken = base.plus(toll.footprint).amounts();
        let others = taken.into_iter().zip(most.amounts());
        let others =
            others.map(|((resource, needed), (_, most))| (resource, u64::from(needed), u64::from(most)));
        let exceeded = std::iter::once(legs).chain(others).filter(|(_, needed, most)| needed > most);
        let (resource, needed, most) = exceeded.reduce(|one, other| {
            let is_worse = u128::from(other.1) * u128::from(one.2) > u128::from(one.1) * u128::from(other.2);
            if is_worse { other } else { one }
        })?;
        Some(Excess { resource, needed, most })
    }

    /// Returns which share a leg takes of what legs with `toll` together take too much of. It says which legs to
    /// leave out first.
    pub(crate) fn share_of_excess(&self, leg: &Toll, toll: &Toll) -> f64 {
        let [own, taken, most, base] =
            [leg.footprint, toll.footprint, self.transaction.most, self.transaction.base]
                .map(|of| of.amounts());
        // A leg too many is as good as any other.
        let mut share = if toll.legs > self.legs { as_share(self.legs) } else { 0.0 };
        for resource in 0..own.len() {
            let room = most[resource].1.saturating_sub(base[resource].1);
            if taken[resource].1 > room {
                share = share.max(f64::from(own[resource].1) / f64::from(room.max(1)));
            }
        }
        share
    }
}

/// Returns one part of so many.
#[allow(clippy::cast_precision_loss)] // The share only says in which order to try.
fn as_share(parts: usize) -> f64 {
    (parts.max(1) as f64).recip()
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legs => "legs",
            Self::ComputeUnits => "compute units",
            Self::Arrays => "arrays of ticks or bins",
            Self::Accounts => "accounts",
            Self::Bytes => "bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toll(legs: usize, footprint: Footprint) -> Toll {
        Toll { legs, cost: 0, footprint }
    }

    #[test]
    fn what_is_exceeded_by_the_largest_factor_is_named() {
        let most = Footprint { compute_units: 1_000, arrays: 4, accounts: 10, bytes: 500 };
        let base = Footprint { compute_units: 100, arrays: 0, accounts: 2, bytes: 100 };
        let room = Room { legs: 3, transaction: TransactionLimits::new(most, base) };
        let footprint = Footprint { compute_units: 900, arrays: 4, accounts: 8, bytes: 400 };
        assert!(room.admits(&toll(3, footprint)));
        assert_eq!(room.excess(&toll(3, footprint)), None);
        let excess = |legs, footprint| room.excess(&toll(legs, footprint)).unwrap().to_string();
        assert_eq!(excess(4, footprint), "the route takes 4 legs, and a transaction has room for 3");
        let more = Footprint { accounts: 19, bytes: 450, ..footprint };
        assert!(!room.admits(&toll(3, more)));
        assert_eq!(excess(4, more), "the route takes 21 accounts, and a transaction has room for 10");
        let none = Room { legs: 1, transaction: TransactionLimits::new(Footprint::NONE, base) };
        assert_eq!(none.excess(&toll(1, footprint)).unwrap().most, 0);
        assert!(Room { legs: 1, transaction: TransactionLimits::UNLIMITED }.admits(&toll(1, Footprint::MAX)));
    }

    #[test]
    fn the_leg_that_takes_the_most_of_what_is_missing_goes_first() {
        let most = Footprint { compute_units: 1_000, arrays: 4, accounts: 10, bytes: 500 };
        let room = Room { legs: 3, transaction: TransactionLimits::new(most, Footprint::NONE) };
        let [heavy, light] = [9, 2].map(|accounts| toll(1, Footprint { accounts, ..Footprint::NONE }));
        let both = heavy.plus(light);
        assert!(room.share_of_excess(&heavy, &both) > room.share_of_excess(&light, &both));
        let many = toll(4, Footprint::NONE);
        assert!((room.share_of_excess(&heavy, &many) - room.share_of_excess(&light, &many)).abs() < 1e-12);
    }
}
