//! What is to be split, and the splits that solve it.

use order_engine_core::Amount;

use crate::budget::SearchBudget;
use crate::error::QuoteError;
use crate::net::Rank;
use crate::path::Path;
use crate::price_ceiling::PriceCeiling;
use crate::trade::Moment;

/// An amount to split over paths, and the constraints.
#[derive(Debug)]
pub(crate) struct Problem<'p, 'a> {
    pub(crate) paths: &'p [Path<'a>],
    pub(crate) amount: u128,
    pub(crate) at: Moment,
    /// The chain's cost for one leg, in base units of the output token.
    pub(crate) leg_cost: u128,
    pub(crate) max_legs: usize,
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
    pub(crate) legs: usize,
    /// Whether no other split over these paths pays more than the rounding of each leg explains.
    pub(crate) is_proven: bool,
}

impl Problem<'_, '_> {
    /// Returns how good an output over a number of legs is.
    pub(super) fn rank(&self, gross: u128, legs: usize) -> Rank {
        Rank::new(gross, legs, self.leg_cost)
    }

    /// Returns the better of two splits, of equal ones the first.
    pub(super) fn better(&self, one: Option<Split>, other: Option<Split>) -> Option<Split> {
        let rank = |split: &Split| self.rank(split.gross, split.legs);
        match (one, other) {
            (Some(one), Some(other)) => Some(if rank(&other) > rank(&one) { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    /// Returns the best split over a single path, given what each path pays for the whole amount.
    pub(super) fn best_single(&self, singles: &[Option<u128>]) -> Option<Split> {
        let paid = singles.iter().enumerate().filter_map(|(path, out)| Some((path, (*out)?)));
        let (path, amount_out) = paid.max_by(|&(one, out_one), &(other, out_other)| {
            let (one, other) = (&self.paths[one], &self.paths[other]);
            let by_rank = self.rank(out_one, one.len()).cmp(&self.rank(out_other, other.len()));
            by_rank.then_with(|| other.ids().cmp(one.ids()))
        })?;
        let part = Part { path, amount_in: self.amount, amount_out };
        let legs = self.paths[path].len();
        Some(Split { parts: vec![part], gross: amount_out, legs, is_proven: false })
    }

    /// Returns whether no split over several paths can beat this one over a single path: it pays nearly as
    /// much as the best price of all paths would, and the difference is less than the cost of another leg.
    pub(super) fn is_unbeatable(&self, single: &Split) -> bool {
        if self.max_legs == 1 {
            return true;
        }
        let price = self.paths.iter().map(Path::price_ceiling).max().unwrap_or(PriceCeiling::ZERO);
        let ceiling = self.rank(price.value_of(Amount::new(self.amount)), 2);
        self.rank(single.gross, single.legs).net() >= ceiling.net()
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
