//! Splits an amount over several lanes at once.

mod closed_form;
mod scaling;
mod subsets;

use order_engine_core::Amount;

pub(crate) use self::closed_form::Hyperbola;
use self::closed_form::Seed;
use crate::budget::Budget;
use crate::ceiling::Ceiling;
use crate::lane::Lane;
use crate::pool::QuoteError;
use crate::trade::Moment;

/// What is to be split, over what, and on which terms.
#[derive(Debug)]
pub(crate) struct Problem<'p, 'a> {
    pub(crate) lanes: &'p [Lane<'a>],
    pub(crate) amount: u128,
    pub(crate) at: Moment,
    /// What every leg costs on the chain, in base units of the output token.
    pub(crate) leg_cost: u128,
    pub(crate) max_legs: usize,
    pub(crate) budget: &'p Budget<'p>,
}

/// What a lane is given, and what it pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) lane: usize,
    pub(crate) amount_in: u128,
    pub(crate) amount_out: u128,
}

/// A way to split the amount: parts whose inputs add up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Division {
    pub(crate) parts: Vec<Part>,
    pub(crate) gross: u128,
    pub(crate) legs: usize,
    /// Whether no other way to use these lanes yields more, but for the rounding of each leg.
    pub(crate) is_proven: bool,
}

/// A problem, and what is computed once for all the divisions that are tried.
struct Solver<'p, 'a> {
    problem: &'p Problem<'p, 'a>,
    /// The lanes that the closed form covers.
    seeds: Vec<Seed>,
    has_seed: Vec<bool>,
}

/// Some lanes of a problem, by their position among the chosen ones.
struct Chosen<'p, 'a> {
    problem: &'p Problem<'p, 'a>,
    lanes: &'p [usize],
}

impl scaling::Payer for Chosen<'_, '_> {
    fn pays(&self, lane: usize, amount_in: u128) -> Option<u128> {
        self.problem.evaluate(self.lanes[lane], amount_in)
    }

    fn pays_at_most(&self, lane: usize, amount_in: u128) -> Option<u128> {
        let lane = &self.problem.lanes[self.lanes[lane]];
        lane.worth(Amount::new(amount_in), self.problem.at).map(Amount::base_units)
    }
}

impl Problem<'_, '_> {
    /// The best division, given what each lane pays for the whole amount: never worse than the
    /// best of these. Nothing if the lanes together cannot take the amount.
    pub(crate) fn solve(&self, singles: &[Option<u128>]) -> Option<Division> {
        let single = self.best_single(singles);
        if self.lanes.len() == 1 || self.is_best(single.as_ref()) {
            return single.map(|single| Division { is_proven: true, ..single });
        }
        let solver = Solver::new(self);
        let free = solver.divide(|_| true);
        let is_free = self.leg_cost == 0 && free.as_ref().is_some_and(|free| free.legs <= self.max_legs);
        let divided = match free {
            Some(free) if !is_free => solver.choose(&free, single.clone()),
            free => free,
        };
        let is_exhaustive = is_free || self.lanes.len() <= subsets::MOST_ENUMERATED;
        let is_exact = is_exhaustive && self.lanes.iter().all(Lane::is_concave);
        let best = self.better(single, divided)?;
        Some(Division { is_proven: is_exact && self.budget.lasts(), ..best })
    }

    /// Whether no division over several lanes can be better than this one over a single lane: because it
    /// pays nearly as much as the best price of all would, and what is missing is less than another leg
    /// costs.
    fn is_best(&self, single: Option<&Division>) -> bool {
        let Some(single) = single else { return false };
        if self.max_legs == 1 {
            return true;
        }
        let price = self.lanes.iter().map(Lane::price_ceiling).max().unwrap_or(Ceiling::ZERO);
        let divided = self.net(price.of(Amount::new(self.amount)), 2);
        self.net(single.gross, single.legs) >= divided
    }

    /// What is left of an output when the chain has been paid.
    pub(crate) fn net(&self, gross: u128, legs: usize) -> u128 {
        gross.saturating_sub(self.leg_cost.saturating_mul(legs as u128))
    }

    /// The better of two; the first if they are equal and equally long.
    fn better(&self, one: Option<Division>, other: Option<Division>) -> Option<Division> {
        let rank = |it: &Division| (self.net(it.gross, it.legs), std::cmp::Reverse(it.legs));
        match (one, other) {
            (Some(one), Some(other)) => Some(if rank(&other) > rank(&one) { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    fn best_single(&self, singles: &[Option<u128>]) -> Option<Division> {
        let best = singles.iter().enumerate().filter_map(|(lane, out)| Some((lane, (*out)?)));
        let (lane, amount_out) = best.max_by(|&(one, out_one), &(other, out_other)| {
            let (one, other) = (&self.lanes[one], &self.lanes[other]);
            let net = |lane: &Lane<'_>, out| self.net(out, lane.len());
            let shorter = || other.len().cmp(&one.len());
            net(one, out_one)
                .cmp(&net(other, out_other))
                .then_with(shorter)
                .then_with(|| other.ids().cmp(one.ids()))
        })?;
        let part = Part { lane, amount_in: self.amount, amount_out };
        Some(Division {
            parts: vec![part],
            gross: amount_out,
            legs: self.lanes[lane].len(),
            is_proven: false,
        })
    }

    /// What a lane pays; zero for what is too little to be paid for, nothing if it cannot take it.
    fn evaluate(&self, lane: usize, amount_in: u128) -> Option<u128> {
        self.budget.spend();
        match self.lanes[lane].amount_out(Amount::new(amount_in), self.at) {
            Ok(out) => Some(out.base_units()),
            Err(QuoteError::TooSmall) => Some(0),
            Err(_) => None,
        }
    }
}

impl<'p, 'a> Solver<'p, 'a> {
    fn new(problem: &'p Problem<'p, 'a>) -> Self {
        let mut has_seed = vec![false; problem.lanes.len()];
        let shapes =
            problem.lanes.iter().zip(&mut has_seed).enumerate().filter_map(|(index, (lane, has_seed))| {
                let shape = lane.hyperbola()?;
                *has_seed = true;
                Some((index, shape))
            });
        let seeds = closed_form::seeds(shapes);
        Self { problem, seeds, has_seed }
    }

    /// The best division over the lanes that `uses` admits, whatever the legs cost.
    fn divide(&self, uses: impl Fn(usize) -> bool) -> Option<Division> {
        let has_form = (0..self.has_seed.len()).all(|lane| self.has_seed[lane] || !uses(lane));
        let by_form = if has_form { self.divide_by_form(&uses) } else { None };
        by_form.or_else(|| self.divide_by_scaling(&uses))
    }

    fn divide_by_form(&self, uses: impl Fn(usize) -> bool) -> Option<Division> {
        let mut parts = Vec::with_capacity(self.seeds.len());
        let place = |lane, amount_in| parts.push(Part { lane, amount_in, amount_out: 0 });
        closed_form::divide(&self.seeds, self.problem.amount, uses, place);
        self.assess(parts)
    }

    fn divide_by_scaling(&self, uses: impl Fn(usize) -> bool) -> Option<Division> {
        let lanes: Vec<usize> = (0..self.has_seed.len()).filter(|&lane| uses(lane)).collect();
        let Problem { amount, budget, .. } = *self.problem;
        if let [lane] = lanes[..] {
            return self.assess(vec![Part { lane, amount_in: amount, amount_out: 0 }]);
        }
        let inputs =
            scaling::divide(lanes.len(), amount, budget, &Chosen { problem: self.problem, lanes: &lanes })?;
        let part = |(&lane, amount_in)| Part { lane, amount_in, amount_out: 0 };
        self.assess(lanes.iter().zip(inputs).map(part).collect())
    }

    /// Evaluates the parts of a division exactly. What would go into a lane that pays nothing for it
    /// goes into the lane that is given the most.
    fn assess(&self, mut parts: Vec<Part>) -> Option<Division> {
        let largest = parts.iter().map(|part| (part.amount_in, part.lane)).max()?.1;
        let mut rest = self.problem.amount;
        for part in parts.iter_mut().filter(|part| part.lane != largest && part.amount_in > 0) {
            part.amount_out = self.problem.evaluate(part.lane, part.amount_in)?;
            if part.amount_out > 0 {
                rest -= part.amount_in;
            }
        }
        let amount_out = self.problem.evaluate(largest, rest)?;
        parts.retain(|part| part.lane == largest || part.amount_out > 0);
        let (mut gross, mut legs) = (0_u128, 0);
        for part in &mut parts {
            if part.lane == largest {
                *part = Part { lane: largest, amount_in: rest, amount_out };
            }
            gross = gross.checked_add(part.amount_out)?;
            legs += self.problem.lanes[part.lane].len();
        }
        parts.sort_unstable_by_key(|part| part.lane);
        (gross > 0).then_some(Division { parts, gross, legs, is_proven: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{ConstantProduct, Curve};
    use crate::fee::Fee;
    use crate::lane::Hop;
    use crate::pool::Pool;
    use crate::trade::Direction;
    use proptest::prelude::*;

    fn pool() -> impl Strategy<Value = Pool> {
        (20_u32..60, 1_u128..1_000, 900_000_u128..1_100_000, 1_u64..100).prop_map(
            |(bits, depth, price_ppm, fee_bps)| {
                let reserve_a = depth << bits;
                let (a, b) = (Amount::new(reserve_a), Amount::new(reserve_a * price_ppm / 1_000_000));
                let curve = ConstantProduct::new(a, b, Fee::new(fee_bps, 10_000).unwrap()).unwrap();
                let text = String::new;
                Pool {
                    id: text(),
                    dex: text(),
                    token_a: text(),
                    token_b: text(),
                    curve: Curve::ConstantProduct(curve),
                }
            },
        )
    }

    proptest! {
        /// The closed form and the scaling search know nothing of each other, and agree.
        #[test]
        fn both_ways_to_divide_yield_the_same(
            paths in proptest::collection::vec(proptest::collection::vec(pool(), 1..4), 2..10), amount in 1_u128..1 << 64,
        ) {
            let hop = |pool| Hop { pool, direction: Direction::AToB };
            let lanes: Vec<Lane<'_>> = paths.iter().map(|pools| Lane::new(pools.iter().map(hop))).collect();
            let budget = Budget::unlimited();
            let at = Moment::EARLIEST;
            let problem = Problem { lanes: &lanes, amount, at, leg_cost: 0, max_legs: usize::MAX, budget: &budget };
            let solver = Solver::new(&problem);
            let gross = |division: Option<Division>| division.map_or(0, |division| division.gross);
            let form = gross(solver.divide_by_form(|_| true));
            let scaling = gross(solver.divide_by_scaling(|_| true));
            // Each swap is cut to whole units, each of which the swaps after it may multiply.
            let rounding = 2 * paths.len() as u128 * 4;
            prop_assert!(form.abs_diff(scaling) <= rounding, "{} and {}", form, scaling);
        }
    }
}
