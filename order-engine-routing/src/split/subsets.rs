//! Finds the subset of paths that is worth the cost of its legs.
//!
//! A fixed cost per leg makes this a combinatorial search. It uses that a subset never pays more than any
//! set that contains it.

use super::problem::Split;
use super::solver::Solver;

/// The most paths that are searched exhaustively, in 255 subsets.
pub(super) const MOST_ENUMERATED: usize = 8;

/// Returns the best split if legs have a cost or their number is limited. `free` is the best split without
/// regard to either, `single` the best split over one path.
pub(super) fn best(solver: &Solver<'_, '_>, free: &Split, single: Option<Split>) -> Option<Split> {
    let problem = solver.problem;
    let fits = (free.legs <= problem.max_legs).then(|| free.clone());
    let best = problem.better(single, fits);
    if problem.paths.len() <= MOST_ENUMERATED {
        let all: Vec<usize> = (0..problem.paths.len()).collect();
        return best_subset(solver, &all, free.gross, best);
    }
    // There are too many subsets to try all: the paths with the largest inputs in the free split are the
    // most useful with costs, too.
    let mut ranked = free.parts.clone();
    ranked.sort_by_key(|part| (std::cmp::Reverse(part.amount_in), part.path));
    let ranked: Vec<usize> = ranked.iter().map(|part| part.path).collect();
    let best = best_prefix(solver, &ranked, best);
    best_subset(solver, &ranked[..ranked.len().min(MOST_ENUMERATED)], free.gross, best)
}

/// Returns the best of `best` and the splits over the first one, two, three … paths of a ranking.
fn best_prefix(solver: &Solver<'_, '_>, ranked: &[usize], mut best: Option<Split>) -> Option<Split> {
    let problem = solver.problem;
    let mut uses = vec![false; problem.paths.len()];
    for &path in ranked.iter().take(problem.max_legs) {
        if !problem.budget.lasts() {
            break;
        }
        uses[path] = true;
        best = problem.better(best, within_max_legs(solver, solver.split(|path| uses[path])));
    }
    best
}

/// Returns the best of `best` and the splits over every subset of a few paths.
fn best_subset(
    solver: &Solver<'_, '_>,
    paths: &[usize],
    free_gross: u128,
    mut best: Option<Split>,
) -> Option<Split> {
    let problem = solver.problem;
    let all = (1_usize << paths.len()) - 1;
    let mut masks: Vec<usize> = (1..=all).collect();
    masks.sort_by_key(|mask| std::cmp::Reverse(mask.count_ones()));
    // Upper bounds of what each subset pays. A split is exact except for the rounding of its legs.
    let rounding = paths.len() as u128;
    let mut ceilings = vec![free_gross.saturating_add(rounding); all + 1];
    for mask in masks {
        let wider = (0..paths.len()).map(|bit| mask | 1 << bit).filter(|&wider| wider != mask);
        let ceiling = wider.map(|wider| ceilings[wider]).min().unwrap_or(ceilings[mask]);
        ceilings[mask] = ceiling;
        let contains =
            |path| paths.iter().position(|&known| known == path).is_some_and(|bit| mask >> bit & 1 == 1);
        let legs: usize =
            paths.iter().filter(|&&path| contains(path)).map(|&path| problem.paths[path].len()).sum();
        let net_ceiling = problem.net(ceiling, legs);
        let cannot_win = best.as_ref().is_some_and(|best| net_ceiling <= problem.net(best.gross, best.legs));
        if legs > problem.max_legs || cannot_win || !problem.budget.lasts() {
            continue;
        }
        let split = solver.split(contains);
        let gross = split.as_ref().map_or(0, |split| split.gross.saturating_add(rounding));
        ceilings[mask] = gross.min(ceiling);
        best = problem.better(best, within_max_legs(solver, split));
    }
    best
}

fn within_max_legs(solver: &Solver<'_, '_>, split: Option<Split>) -> Option<Split> {
    split.filter(|split| split.legs <= solver.problem.max_legs)
}
