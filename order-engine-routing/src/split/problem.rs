//! What is to be split, and the splits that solve it.

use order_engine_core::Amount;

use crate::budget::SearchBudget;
use crate::error::QuoteError;
use crate::footprint::{Room, Toll};
use crate::net::{NetAmount, Rank};
use crate::path::Path;
use crate::price_ceiling::PriceCeiling;
use crate::trade::Moment;

/// An amount to split over paths, and the constraints.
#[derive(Debug)]
pub(crate) struct Problem<'p, 'a> {
    pub(crate) paths: &'p [Path<'a>],
    pub(crate) amount: u128,
    pub(crate) at: Moment,
    /// For each path, what its legs cost and take. Costs are in base units of the output token.
    pub(crate) tolls: Vec<Toll>,
    pub(crate) room: Room,
    pub(crate) budget: &'p SearchBudget<'p>,
}

/// The part of a split that goes through one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The path, by its index in the problem.
    pub(crate) path: usize,
    pub(crate) amount_in: u128,
    pub(crate) amount_out: u128,
}

/// A split of the amount: parts whose inputs add up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) parts: Vec<Part>,
    /// The output, before the chain's cost.
    pub(crate) gross: u128,
    /// What the legs cost and take.
    pub(crate) toll: Toll,
    /// Whether no other split over these paths pays more than the rounding of each leg explains.
    pub(crate) is_proven: bool,
}

impl Split {
    /// Returns how good the split is.
    pub(super) fn rank(&self) -> Rank {
        Rank::new(self.gross, &self.toll)
    }

    /// Returns the better of two splits, of equal ones the first.
    pub(super) fn better(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.rank() > one.rank() { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}

impl Problem<'_, '_> {
    /// Returns whether legs cost nothing.
    pub(super) fn is_free(&self) -> bool {
        self.tolls.iter().all(|toll| toll.cost == 0)
    }

    /// Returns the best split over a single path that fits, given what each path pays for the whole amount.
    pub(super) fn best_single(&self, singles: &[Option<u128>]) -> Option<Split> {
        let paid = singles.iter().enumerate().filter_map(|(path, out)| Some((path, (*out)?)));
        let fitting = paid.filter(|(path, _)| self.room.admits(&self.tolls[*path]));
        let (path, amount_out) = fitting.max_by(|&(one, out_one), &(other, out_other)| {
            let rank = |path: usize, out| Rank::new(out, &self.tolls[path]);
            let by_rank = rank(one, out_one).cmp(&rank(other, out_other));
            by_rank.then_with(|| self.paths[other].ids().cmp(self.paths[one].ids()))
        })?;
        let part = Part { path, amount_in: self.amount, amount_out };
        Some(Split { parts: vec![part], gross: amount_out, toll: self.tolls[path], is_proven: false })
    }

    /// Returns whether no split over several paths can beat this one over a single path: it pays nearly as
    /// much as the best price of all paths would, and the difference is less than the cost of another leg.
    pub(super) fn is_unbeatable(&self, single: &Split) -> bool {
        if self.room.legs == 1 {
            return true;
        }
        let price = self.paths.iter().map(Path::price_ceiling).max().unwrap_or(PriceCeiling::ZERO);
        // A split has two paths at least, and none is cheaper than these two.
        let (mut least, mut second) = (u128::MAX, u128::MAX);
        for Toll { cost, .. } in &self.tolls {
            second = second.min(*cost.max(&least));
            least = least.min(*cost);
        }
        let ceiling = price.value_of(Amount::new(self.amount));
        let cost = least.saturating_add(second);
        single.rank().net() >= NetAmount::of(Amount::new(ceiling), Amount::new(cost))
    }

    /// Returns what a path pays: zero if the amount is too small, `None` if the path cannot trade it.
    pub(super) fn evaluate(&self, path: usize, amount_in: u128) -> Option<u128> {
        self.budget.spend();
        match self.paths[path].amount_out(Amount::new(amount_in), self.at, self.budget) {
            Ok(out) => Some(out.base_units()),
            Err(QuoteError::TooSmall) => Some(0),
            Err(_) => None,
        }
    }
}
