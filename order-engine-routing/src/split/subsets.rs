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

/// The price of more than a part is that of this fraction of it.
const NEXT_UNITS: u128 = 256;

/// How many parts are tried before one is left out.
const TRIED: usize = 2;

/// Returns the best split that fits, if legs have a cost or the room for them is limited. `free` is the best split without
/// regard to either, `single` the best split over one path.
pub(super) fn best(solver: &Solver<'_, '_>, free: &Split, single: Option<Split>) -> Option<Split> {
    let problem = solver.problem;
    let best = Split::better(single, fitting(solver, Some(free.clone())));
    if problem.paths.len() <= MOST_ENUMERATED {
        let all: Vec<usize> = (0..problem.paths.len()).collect();
        return best_subset(solver, &all, 0, free.gross, best);
    }
    let (left, best) = eliminate(solver, free, best);
    let is_settled = problem.is_free() && best.is_some();
    if is_settled || left.parts.len() > MOST_ENUMERATED {
        return best;
    }
    let paths: Vec<usize> = left.parts.iter().map(|part| part.path).collect();
    let spared = spare(problem, &left);
    let is_needed = |bit: &usize| problem.room.admits(&left.toll) && !spared.contains(&paths[*bit]);
    let needed = (0..paths.len()).filter(is_needed).fold(0, |mask, bit| mask | 1 << bit);
    best_subset(solver, &paths, needed, free.gross, best)
}

/// There are too many subsets to try all: leaves out one path after the other, each time one of those that are worth the
/// least, while that is a gain or the split does not fit. Of many that are not worth their costs, several at once are left
/// out. Returns the last split, and the best.
fn eliminate(solver: &Solver<'_, '_>, free: &Split, mut best: Option<Split>) -> (Split, Option<Split>) {
    let problem = solver.problem;
    let mut uses = vec![false; problem.paths.len()];
    for part in &free.parts {
        uses[part.path] = true;
    }
    let mut split = free.clone();
    leave_out_the_smallest_half(solver, &mut uses, &mut split);
    let has_costs = !problem.is_free();
    while !problem.room.admits(&split.toll) || (has_costs && split.parts.len() > MOST_ENUMERATED) {
        let fits = problem.room.admits(&split.toll);
        let candidates = if fits { spare(problem, &split) } else { least(problem, &split) };
        if fits && let Some((next, fewer)) = without_many(solver, &uses, &split, &candidates) {
            best = Split::better(best, Some(next.clone()));
            (split, uses) = (next, fewer);
            continue;
        }
        let mut tried = candidates.into_iter().filter_map(|path| {
            uses[path] = false;
            let without =
                problem.budget.lasts().then(|| solver.split_near(&split.parts, |path| uses[path])).flatten();
            uses[path] = true;
            without.map(|without| (without, path))
        });
        // Where many parts are left, the least hardly differ.
        let count = if split.parts.len() > 2 * MOST_ENUMERATED { 1 } else { TRIED };
        let tried = tried.by_ref().take(count);
        let next = if fits {
            let gains = tried.filter(|(without, _)| without.rank() > split.rank());
            gains.max_by_key(|(split, path)| (split.rank(), std::cmp::Reverse(*path)))
        } else {
            let price = |without: &(Split, usize)| price_of(problem, &split, without);
            tried.min_by(|one, other| price(one).total_cmp(&price(other)).then(one.1.cmp(&other.1)))
        };
        let Some((next, left_out)) = next else { break };
        uses[left_out] = false;
        best = Split::better(best, fitting(solver, Some(next.clone())));
        split = next;
    }
    (split, best)
}

/// Returns the split without a third of the parts that are too many, and the paths that it may use, if so many can be spared
/// and the others have room.
fn without_many(
    solver: &Solver<'_, '_>,
    uses: &[bool],
    split: &Split,
    spared: &[usize],
) -> Option<(Split, Vec<bool>)> {
    let count = split.parts.len().checked_sub(2 * MOST_ENUMERATED)?.div_ceil(3).min(spared.len());
    if count < 2 || !solver.problem.budget.lasts() {
        return None;
    }
    let mut fewer = uses.to_vec();
    spared[..count].iter().for_each(|path| fewer[*path] = false);
    Some((solver.split_near(&split.parts, |path| fewer[path])?, fewer))
}

/// Returns the paths of a split that may not be worth what they cost, those first that are worth the least.
///
/// Without a path its part goes to the others, which pay no more for it than for their next units. What the path pays above
/// that is lost, and no less if other paths are missing, too. So a path that is worth its cost here is a part of the best
/// split.
#[allow(clippy::cast_precision_loss)] // Worths only say what to try.
fn spare(problem: &Problem<'_, '_>, split: &Split) -> Vec<usize> {
    let next_units = |part: &Part| {
        let step = (part.amount_in / NEXT_UNITS).max(1);
        let more = problem.evaluate(part.path, part.amount_in.checked_add(step)?)?;
        Some(more.saturating_sub(part.amount_out) as f64 / step as f64)
    };
    let price = split.parts.iter().filter_map(next_units).fold(0.0, f64::max);
    let worth = |part: &Part| {
        let elsewhere = price * part.amount_in as f64;
        part.amount_out as f64 - elsewhere - problem.tolls[part.path].cost as f64
    };
    let mut worths: Vec<(f64, usize)> =
        split.parts.iter().map(|part| (worth(part), part.path)).filter(|(worth, _)| *worth < 0.0).collect();
    worths.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    worths.into_iter().map(|(_, path)| path).collect()
}

/// Returns what a split that does not fit loses without a path, for what the path takes of what there is too little of.
#[allow(clippy::cast_precision_loss)] // Prices only say which path to leave out.
fn price_of(problem: &Problem<'_, '_>, split: &Split, (without, path): &(Split, usize)) -> f64 {
    let lost = split.gross.saturating_sub(without.gross) as f64;
    lost / problem.room.share_of_excess(&problem.tolls[*path], &split.toll)
}

/// Returns the paths of a split that does not fit, those first with the smallest parts for what they take of what there is
/// too little of.
#[allow(clippy::cast_precision_loss)] // The order only says what to try first.
fn least(problem: &Problem<'_, '_>, split: &Split) -> Vec<usize> {
    let mut parts = split.parts.clone();
    parts.sort_by_key(|part| (part.amount_in, part.path));
    let worth = |part: &Part| {
        part.amount_in as f64 / problem.room.share_of_excess(&problem.tolls[part.path], &split.toll)
    };
    parts.sort_by(|one, other| worth(one).total_cmp(&worth(other)));
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
    if let Some(found) = solver.split_near(&split.parts, |path| fewer[path]) {
        (*uses, *split) = (fewer, found);
    }
}

/// Returns the best of `best` and the splits over every subset of a few paths that has the `needed` ones, which are bits.
fn best_subset(
    solver: &Solver<'_, '_>,
    paths: &[usize],
    needed: usize,
    free_gross: u128,
    mut best: Option<Split>,
) -> Option<Split> {
    let problem = solver.problem;
    let all = (1_usize << paths.len()) - 1;
    let mut masks: Vec<usize> = (1..=all).filter(|mask| mask & needed == needed).collect();
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
