//! Splits the amount of a problem over chosen paths.

use order_engine_core::Amount;

use super::closed_form;
use super::problem::{Part, Problem, Split};
use super::scaling::{self, PathOutputs};
use crate::footprint::Toll;

/// A problem, and the terms that are computed once for all splits of it.
pub(super) struct Solver<'p, 'a> {
    pub(super) problem: &'p Problem<'p, 'a>,
    /// The terms of the paths that the closed form covers.
    terms: Vec<closed_form::Terms>,
    /// For each path, whether the closed form covers it.
    has_terms: Vec<bool>,
}

/// Some paths of a problem, by their position among the chosen ones.
struct ChosenPaths<'p, 'a> {
    problem: &'p Problem<'p, 'a>,
    paths: &'p [usize],
}

impl PathOutputs for ChosenPaths<'_, '_> {
    fn output(&self, path: usize, amount_in: u128) -> Option<u128> {
        self.problem.evaluate(self.paths[path], amount_in)
    }

    fn output_ceiling(&self, path: usize, amount_in: u128) -> Option<u128> {
        let path = &self.problem.paths[self.paths[path]];
        path.value_of(Amount::new(amount_in), self.problem.at).map(Amount::base_units)
    }
}

impl<'p, 'a> Solver<'p, 'a> {
    pub(super) fn new(problem: &'p Problem<'p, 'a>) -> Self {
        let mut has_terms = vec![false; problem.paths.len()];
        let covered =
            problem.paths.iter().zip(&mut has_terms).enumerate().filter_map(|(index, (path, has_terms))| {
                let hyperbola = path.hyperbola()?;
                *has_terms = true;
                Some((index, hyperbola))
            });
        let terms = closed_form::terms(covered);
        Self { problem, terms, has_terms }
    }

    /// Returns the best split over the paths that `uses` admits, without regard to the cost of legs.
    pub(super) fn split(&self, uses: impl Fn(usize) -> bool) -> Option<Split> {
        self.split_near(&[], uses)
    }

    /// Returns the best split over the paths that `uses` admits, given the parts of the best one over these and a few
    /// others.
    pub(super) fn split_near(&self, known: &[Part], uses: impl Fn(usize) -> bool) -> Option<Split> {
        let is_covered = (0..self.has_terms.len()).all(|path| self.has_terms[path] || !uses(path));
        let by_form = if is_covered { self.split_by_closed_form(&uses) } else { None };
        by_form.or_else(|| self.split_by_scaling(known, &uses))
    }

    fn split_by_closed_form(&self, uses: impl Fn(usize) -> bool) -> Option<Split> {
        let mut parts = Vec::with_capacity(self.terms.len());
        let add_part = |path, amount_in| parts.push(Part { path, amount_in, amount_out: 0 });
        closed_form::split(&self.terms, self.problem.amount, uses, add_part);
        self.evaluate(parts)
    }

    fn split_by_scaling(&self, known: &[Part], uses: impl Fn(usize) -> bool) -> Option<Split> {
        let paths: Vec<usize> = (0..self.has_terms.len()).filter(|&path| uses(path)).collect();
        let Problem { amount, budget, .. } = *self.problem;
        if let [path] = paths[..] {
            return self.evaluate(vec![Part { path, amount_in: amount, amount_out: 0 }]);
        }
        let chosen = ChosenPaths { problem: self.problem, paths: &paths };
        // What the other paths traded is to be divided among these.
        let start =
            |path: &usize| known.iter().find(|part| part.path == *path).map_or(0, |part| part.amount_in);
        let start: Vec<u128> = paths.iter().map(start).collect();
        let inputs = scaling::split(&start, amount, budget, &chosen)?;
        let part = |(&path, amount_in)| Part { path, amount_in, amount_out: 0 };
        self.evaluate(paths.iter().zip(inputs).map(part).collect())
    }

    /// Evaluates the parts of a split exactly. An input for which a path pays nothing goes to the path
    /// with the largest input instead.
    fn evaluate(&self, mut parts: Vec<Part>) -> Option<Split> {
        let largest = parts.iter().map(|part| (part.amount_in, part.path)).max()?.1;
        let mut rest = self.problem.amount;
        for part in parts.iter_mut().filter(|part| part.path != largest && part.amount_in > 0) {
            part.amount_out = self.problem.evaluate(part.path, part.amount_in)?;
            if part.amount_out > 0 {
                rest -= part.amount_in;
            }
        }
        let amount_out = self.problem.evaluate(largest, rest).filter(|out| *out > 0)?;
        parts.retain(|part| part.path == largest || part.amount_out > 0);
        let (mut gross, mut toll) = (0_u128, Toll::default());
        for part in &mut parts {
            if part.path == largest {
                *part = Part { path: largest, amount_in: rest, amount_out };
            }
            gross = gross.checked_add(part.amount_out)?;
            toll = toll.plus(self.problem.tolls[part.path]);
        }
        parts.sort_unstable_by_key(|part| part.path);
        Some(Split { parts, gross, toll, is_proven: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::SearchBudget;
    use crate::curve::{ConstantProduct, Curve};
    use crate::fee::Fee;
    use crate::footprint::{Footprint, Room, Tariff, TransactionLimits};
    use crate::path::{Hop, Path};
    use crate::pool::Pool;
    use crate::trade::{Direction, Moment};
    use proptest::prelude::*;

    fn pool() -> impl Strategy<Value = Pool> {
        (20_u32..60, 1_u128..1_000, 900_000_u128..1_100_000, 1_u64..100).prop_map(
            |(bits, depth, price_ppm, fee_bps)| {
                let reserve_a = depth << bits;
                let (a, b) = (Amount::new(reserve_a), Amount::new(reserve_a * price_ppm / 1_000_000));
                let curve = ConstantProduct::new(a, b, Fee::new(fee_bps, 10_000).unwrap()).unwrap();
                Pool::new("", "", ("", ""), Curve::ConstantProduct(curve))
            },
        )
    }

    proptest! {
        /// The closed form and the scaling search are independent, so their agreement checks both.
        #[test]
        fn both_ways_to_split_pay_the_same(
            pools in proptest::collection::vec(proptest::collection::vec(pool(), 1..4), 2..10), amount in 1_u128..1 << 64,
        ) {
            let hop = |pool| Hop { pool, direction: Direction::AToB, footprint: Footprint::NONE };
            let paths: Vec<Path<'_>> = pools.iter().map(|pools| Path::new(pools.iter().map(hop))).collect();
            let budget = SearchBudget::unlimited();
            let at = Moment::EARLIEST;
            let room = Room { legs: usize::MAX, transaction: TransactionLimits::UNLIMITED };
            let tolls = paths.iter().map(|path| path.toll(&Tariff::default())).collect();
            let problem = Problem { paths: &paths, amount, at, tolls, room, budget: &budget };
            let solver = Solver::new(&problem);
            let gross = |split: Option<Split>| split.map_or(0, |split| split.gross);
            let form = gross(solver.split_by_closed_form(|_| true));
            let scaling = gross(solver.split_by_scaling(&[], |_| true));
            // Each swap rounds down to whole units, and the swaps after it may multiply the difference.
            let rounding = 2 * paths.len() as u128 * 4;
            prop_assert!(form.abs_diff(scaling) <= rounding, "{} and {}", form, scaling);
        }
    }
}
