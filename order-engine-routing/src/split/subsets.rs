//! Which lanes are worth what their legs cost.
//!
//! A fixed cost a leg makes this combinatorial. The search uses that a subset never yields more
//! than any set that contains it: what removing one lane loses, removing a second only adds to.

use super::{Division, Solver};

/// How many lanes are searched exhaustively: 255 subsets.
pub(super) const MOST_ENUMERATED: usize = 8;

impl Solver<'_, '_> {
    /// The best division when legs cost something or may only be so many, from the best division
    /// without a regard to either.
    pub(super) fn choose(&self, free: &Division, single: Option<Division>) -> Option<Division> {
        let lanes = self.problem.lanes.len();
        let fits = (free.legs <= self.problem.max_legs).then(|| free.clone());
        let best = self.problem.better(single, fits);
        if lanes <= MOST_ENUMERATED {
            let all: Vec<usize> = (0..lanes).collect();
            return self.enumerate(&all, free.gross, best);
        }
        // Too many to try them all: those that matter most without costs matter most with them.
        let mut ranked = free.parts.clone();
        ranked.sort_by_key(|part| (std::cmp::Reverse(part.amount_in), part.lane));
        let ranked: Vec<usize> = ranked.iter().map(|part| part.lane).collect();
        let best = self.best_prefix(&ranked, best);
        self.enumerate(&ranked[..ranked.len().min(MOST_ENUMERATED)], free.gross, best)
    }

    /// The best over the first lanes of a ranking, however many of them.
    fn best_prefix(&self, ranked: &[usize], mut best: Option<Division>) -> Option<Division> {
        let mut uses = vec![false; self.problem.lanes.len()];
        for &lane in ranked.iter().take(self.problem.max_legs) {
            if !self.problem.budget.lasts() {
                break;
            }
            uses[lane] = true;
            best = self.problem.better(best, self.admissible(|lane| uses[lane]));
        }
        best
    }

    /// The best over every subset of a few lanes.
    fn enumerate(&self, lanes: &[usize], free_gross: u128, mut best: Option<Division>) -> Option<Division> {
        let all = (1_usize << lanes.len()) - 1;
        let mut masks: Vec<usize> = (1..=all).collect();
        masks.sort_by_key(|mask| std::cmp::Reverse(mask.count_ones()));
        // The most that each subset may yield. A division is exact but for the rounding of its legs.
        let rounding = lanes.len() as u128;
        let mut ceilings = vec![free_gross.saturating_add(rounding); all + 1];
        for mask in masks {
            let wider = (0..lanes.len()).map(|bit| mask | 1 << bit).filter(|&wider| wider != mask);
            let ceiling = wider.map(|wider| ceilings[wider]).min().unwrap_or(ceilings[mask]);
            ceilings[mask] = ceiling;
            let contains =
                |lane| lanes.iter().position(|&known| known == lane).is_some_and(|bit| mask >> bit & 1 == 1);
            let legs: usize = lanes
                .iter()
                .filter(|&&lane| contains(lane))
                .map(|&lane| self.problem.lanes[lane].len())
                .sum();
            let hope = self.problem.net(ceiling, legs);
            let is_hopeless =
                best.as_ref().is_some_and(|best| hope <= self.problem.net(best.gross, best.legs));
            if legs > self.problem.max_legs || is_hopeless || !self.problem.budget.lasts() {
                continue;
            }
            let division = self.divide(contains);
            ceilings[mask] =
                division.as_ref().map_or(0, |division| division.gross.saturating_add(rounding)).min(ceiling);
            best =
                self.problem.better(best, division.filter(|division| division.legs <= self.problem.max_legs));
        }
        best
    }

    fn admissible(&self, uses: impl Fn(usize) -> bool) -> Option<Division> {
        self.divide(uses).filter(|division| division.legs <= self.problem.max_legs)
    }
}
