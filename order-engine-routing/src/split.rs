//! Splits an amount over several paths.

mod closed_form;
mod problem;
mod scaling;
mod solver;
mod subsets;

pub(crate) use self::problem::{Problem, Split};
use self::solver::Solver;
use crate::path::Path;

/// Returns the best split, given what each path pays for the whole amount. It is never worse than the best
/// of these. Returns `None` if all paths together cannot trade the amount.
pub(crate) fn solve(problem: &Problem<'_, '_>, singles: &[Option<u128>]) -> Option<Split> {
    let single = problem.best_single(singles);
    if problem.paths.len() == 1 || single.as_ref().is_some_and(|single| problem.is_unbeatable(single)) {
        return single.map(|single| Split { is_proven: true, ..single });
    }
    let solver = Solver::new(problem);
    let free = solver.split(|_| true);
    let is_free = problem.is_free() && free.as_ref().is_some_and(|free| problem.room.admits(&free.toll));
    let split = match free {
        Some(free) if !is_free => subsets::best(&solver, &free, single.clone()),
        free => free,
    };
    let is_exhaustive = is_free || problem.paths.len() <= subsets::MOST_ENUMERATED;
    let is_exact = is_exhaustive && problem.paths.iter().all(Path::is_concave);
    let best = Split::better(single, split)?;
    Some(Split { is_proven: is_exact && problem.budget.lasts(), ..best })
}
