//! Finds the subset of paths that is worth the cost of its legs.
//!
//! A fixed cost per leg makes this a combinatorial search. It uses that a subset never pays more than any
//! set that contains it.

use super::problem::Split;
use super::solver::Solver;

/// The most paths that are searched exhaustively, in 255 subsets.
pub(super) const MOST_ENUMERATED: usize = 8;

/// How many of the smallest parts are tried before one is left out.
const TRIED: usize = 4;

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
    let (kept, best) = eliminate(solver, free, best);
    if problem.leg_cost == 0 { best } else { best_subset(solver, &kept, free.gross, best) }
}

/// There are too many subsets to try all: leaves out one path after the other, each time one of the smallest without
/// which the others pay the most and have room for the amount. Returns the last few paths, and the best split.
fn eliminate(solver: &Solver<'_, '_>, free: &Split, mut best: Option<Split>) -> (Vec<usize>, Option<Split>) {
    let problem = solver.problem;
    let mut uses = vec![false; problem.paths.len()];
    for part in &free.parts {
        uses[part.path] = true;
    }
    let mut split = free.clone();
    leave_out_the_smallest_half(solver, &mut uses, &mut split);
    let has_costs = problem.leg_cost > 0;
    while split.legs > problem.max_legs || (has_costs && split.parts.len() > MOST_ENUMERATED) {
        let mut smallest = split.parts.clone();
        smallest.sort_by_key(|part| (part.amount_in, part.path));
        let mut tried = smallest.iter().filter_map(|part| {
            uses[part.path] = false;
            let without = problem.budget.lasts().then(|| solver.split(|path| uses[path])).flatten();
            uses[part.path] = true;
            without.map(|without| (without, part.path))
        });
        // Where many parts are left, the smallest hardly differ.
        let count = if split.parts.len() > 2 * MOST_ENUMERATED { 1 } else { TRIED };
        let next = tried
            .by_ref()
            .take(count)
            .max_by_key(|(split, path)| (problem.rank(split.gross, split.legs), std::cmp::Reverse(*path)));
        let Some((next, left_out)) = next else { break };
        uses[left_out] = false;
        best = problem.better(best, within_max_legs(solver, Some(next.clone())));
        split = next;
    }
    let kept: Vec<usize> = split.parts.iter().map(|part| part.path).take(MOST_ENUMERATED).collect();
    (kept, best)
}

/// Leaves out the paths with the smallest parts at once, down to twice the number of legs, if the others have room.
fn leave_out_the_smallest_half(solver: &Solver<'_, '_>, uses: &mut Vec<bool>, split: &mut Split) {
    let problem = solver.problem;
    let kept = problem.max_legs.clamp(MOST_ENUMERATED, problem.paths.len()).saturating_mul(2);
    if split.parts.len() <= kept {
        return;
    }
    let mut ranked = split.parts.clone();
    ranked.sort_by_key(|part| (std::cmp::Reverse(part.amount_in), part.path));
    let mut fewer = vec![false; uses.len()];
    for part in &ranked[..kept] {
        fewer[part.path] = true;
    }
    if let Some(found) = solver.split(|path| fewer[path]) {
        (*uses, *split) = (fewer, found);
    }
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
        let cannot_win = best.as_ref().is_some_and(|best| {
            problem.rank(ceiling, legs).net() <= problem.rank(best.gross, best.legs).net()
        });
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
