//! Finds the subset of paths that is worth the cost of its legs.
//!
//! A fixed cost per leg makes this a combinatorial search. It uses that a subset never pays more than any
//! set that contains it.

use super::problem::{Part, Problem, Split};
use super::solver::Solver;
use crate::footprint::Toll;
use crate::net::Rank;

/// The most paths that are searched exhaustively, in 255 subsets.
pub(super) const MOST_ENUMERATED: usize = 8;

/// How many of the smallest parts are tried before one is left out.
const TRIED: usize = 4;

/// Returns the best split that fits, if legs have a cost or the room for them is limited. `free` is the best split without
/// regard to either, `single` the best split over one path.
pub(super) fn best(solver: &Solver<'_, '_>, free: &Split, single: Option<Split>) -> Option<Split> {
    let problem = solver.problem;
    let best = Split::better(single, fitting(solver, Some(free.clone())));
    if problem.paths.len() <= MOST_ENUMERATED {
        let all: Vec<usize> = (0..problem.paths.len()).collect();
        return best_subset(solver, &all, free.gross, best);
    }
    let (kept, best) = eliminate(solver, free, best);
    let is_settled = problem.is_free() && best.is_some();
    if is_settled { best } else { best_subset(solver, &kept, free.gross, best) }
}

/// There are too many subsets to try all: leaves out one path after the other, each time one of the least without
/// which the others pay the most and have room for the amount. Returns the last few paths, and the best split.
fn eliminate(solver: &Solver<'_, '_>, free: &Split, mut best: Option<Split>) -> (Vec<usize>, Option<Split>) {
    let problem = solver.problem;
    let mut uses = vec![false; problem.paths.len()];
    for part in &free.parts {
        uses[part.path] = true;
    }
    let mut split = free.clone();
    leave_out_the_smallest_half(solver, &mut uses, &mut split);
    let has_costs = !problem.is_free();
    while !problem.room.admits(&split.toll) || (has_costs && split.parts.len() > MOST_ENUMERATED) {
        let mut tried = least(problem, &split).into_iter().filter_map(|path| {
            uses[path] = false;
            let without = problem.budget.lasts().then(|| solver.split(|path| uses[path])).flatten();
            uses[path] = true;
            without.map(|without| (without, path))
        });
        // Where many parts are left, the smallest hardly differ.
        let count = if split.parts.len() > 2 * MOST_ENUMERATED { 1 } else { TRIED };
        let tried = tried.by_ref().take(count);
        let next = if problem.room.admits(&split.toll) {
            tried.max_by_key(|(split, path)| (split.rank(), std::cmp::Reverse(*path)))
        } else {
            let price = |without: &(Split, usize)| price_of(problem, &split, without);
            tried.min_by(|one, other| price(one).total_cmp(&price(other)).then(one.1.cmp(&other.1)))
        };
        let Some((next, left_out)) = next else { break };
        uses[left_out] = false;
        best = Split::better(best, fitting(solver, Some(next.clone())));
        split = next;
    }
    let kept: Vec<usize> = split.parts.iter().map(|part| part.path).take(MOST_ENUMERATED).collect();
    (kept, best)
}

/// Returns what a split that does not fit loses without a path, for what the path takes of what there is too little of.
#[allow(clippy::cast_precision_loss)] // Prices only say which path to leave out.
fn price_of(problem: &Problem<'_, '_>, split: &Split, (without, path): &(Split, usize)) -> f64 {
    let lost = split.gross.saturating_sub(without.gross) as f64;
    lost / problem.room.share_of_excess(&problem.tolls[*path], &split.toll)
}

/// Returns the paths of a split, those first that can be spared best: those with the smallest parts, or, where the split
/// does not fit, with the smallest parts for what they take of what there is too little of.
#[allow(clippy::cast_precision_loss)] // The order only says what to try first.
fn least(problem: &Problem<'_, '_>, split: &Split) -> Vec<usize> {
    let mut parts = split.parts.clone();
    parts.sort_by_key(|part| (part.amount_in, part.path));
    if !problem.room.admits(&split.toll) {
        let worth = |part: &Part| {
            part.amount_in as f64 / problem.room.share_of_excess(&problem.tolls[part.path], &split.toll)
        };
        parts.sort_by(|one, other| worth(one).total_cmp(&worth(other)));
    }
    parts.into_iter().map(|part| part.path).collect()
}

/// Leaves out the paths with the smallest parts at once, down to twice the number of legs, if the others have room.
fn leave_out_the_smallest_half(solver: &Solver<'_, '_>, uses: &mut Vec<bool>, split: &mut Split) {
    let problem = solver.problem;
    let kept = problem.room.legs.clamp(MOST_ENUMERATED, problem.paths.len()).saturating_mul(2);
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
        let toll: Toll = paths.iter().filter(|&&path| contains(path)).map(|&path| problem.tolls[path]).sum();
        let cannot_win =
            best.as_ref().is_some_and(|best| Rank::new(ceiling, &toll).net() <= best.rank().net());
        if cannot_win || !problem.room.admits(&toll) || !problem.budget.lasts() {
            continue;
        }
        let split = solver.split(contains);
        let gross = split.as_ref().map_or(0, |split| split.gross.saturating_add(rounding));
        ceilings[mask] = gross.min(ceiling);
        best = Split::better(best, fitting(solver, split));
    }
    best
}

fn fitting(solver: &Solver<'_, '_>, split: Option<Split>) -> Option<Split> {
    split.filter(|split| solver.problem.room.admits(&split.toll))
}
