//! How much work a search may do.

use std::cell::Cell;
use std::fmt;

/// How many evaluations pass between two calls of the stop condition, because a call may cost as much
/// as a few evaluations.
const EVALUATIONS_PER_CHECK: u64 = 64;

/// The work that a search may do before it must return the best route found so far.
///
/// A search reads no clock. A caller with a clock passes [`SearchBudget::until`]; a caller that needs
/// the same answer every time limits the evaluations instead. The search finds the best single pool
/// whatever the budget.
#[must_use]
pub struct SearchBudget<'a> {
    evaluations_left: Cell<u64>,
    evaluations_until_check: Cell<u64>,
    is_over: Option<Box<dyn Fn() -> bool + 'a>>,
}

impl<'a> SearchBudget<'a> {
    /// Returns a budget without a limit.
    pub fn unlimited() -> Self {
        Self::evaluations(u64::MAX)
    }

    /// Returns a budget of `count` evaluations of a pool or path.
    pub fn evaluations(count: u64) -> Self {
        Self {
            evaluations_left: Cell::new(count),
            evaluations_until_check: Cell::new(EVALUATIONS_PER_CHECK),
            is_over: None,
        }
    }

    /// Returns a budget that lasts until `is_over` returns true. The search calls `is_over` once every
    /// few evaluations.
    pub fn until(is_over: impl Fn() -> bool + 'a) -> Self {
        Self { is_over: Some(Box::new(is_over)), ..Self::unlimited() }
    }

    /// Counts one evaluation.
    pub(crate) fn spend(&self) {
        self.evaluations_left.set(self.evaluations_left.get().saturating_sub(1));
        let Some(is_over) = &self.is_over else { return };
        let until_check = self.evaluations_until_check.get() - 1;
        self.evaluations_until_check.set(if until_check == 0 { EVALUATIONS_PER_CHECK } else { until_check });
        if until_check == 0 && is_over() {
            self.evaluations_left.set(0);
        }
    }

    /// Returns whether the search may go on.
    pub(crate) fn lasts(&self) -> bool {
        self.evaluations_left.get() > 0
    }
}

impl Default for SearchBudget<'_> {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl fmt::Debug for SearchBudget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchBudget")
            .field("evaluations_left", &self.evaluations_left.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_evaluations_or_calls_the_stop_condition() {
        let two = SearchBudget::evaluations(2);
        assert!(two.lasts());
        two.spend();
        assert!(two.lasts());
        two.spend();
        assert!(!two.lasts());

        let calls = Cell::new(0);
        let second_check = SearchBudget::until(|| {
            calls.set(calls.get() + 1);
            calls.get() == 2
        });
        for spent in 1..=3 * EVALUATIONS_PER_CHECK {
            second_check.spend();
            assert_eq!(second_check.lasts(), spent < 2 * EVALUATIONS_PER_CHECK, "after {spent}");
        }
    }
}
