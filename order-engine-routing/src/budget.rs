//! How much work a search may do.

use std::cell::Cell;
use std::fmt;

use crate::error::QuoteError;

/// How many evaluations pass between two calls of the stop condition, because a call may cost as much
/// as a few evaluations.
const EVALUATIONS_PER_CHECK: u64 = 64;

/// How many ticks or bins of a walk count as one evaluation: they take about as long as a quote that passes none.
const STEPS_PER_EVALUATION: u32 = 16;

/// How many ticks or bins the quotes of single pools may pass beyond the budget, all together: a few milliseconds.
/// So the best single pool is found whatever the budget, unless pools have many thousands of ticks.
const STEPS_BEYOND: u32 = 1 << 16;

/// Counts the ticks or bins that a quote passes.
pub(crate) trait Meter {
    /// Counts one tick or bin.
    ///
    /// # Errors
    /// [`QuoteError::OutOfBudget`] if the quote may pass no more.
    fn step(&self) -> Result<(), QuoteError>;
}

/// A quote may pass all ticks and bins.
pub(crate) struct Unmetered;

impl Meter for Unmetered {
    fn step(&self) -> Result<(), QuoteError> {
        Ok(())
    }
}

/// The work that a search may do before it must return the best route found so far.
///
/// A search reads no clock. A caller with a clock passes [`SearchBudget::until`]; a caller that needs
/// the same answer every time limits the evaluations instead. The work within a quote counts, too: sixteen ticks or
/// bins are an evaluation. The search quotes each single pool of the pair whatever the budget, and these quotes may
/// pass 65,536 ticks or bins beyond it, all together.
#[must_use]
pub struct SearchBudget<'a> {
    evaluations_left: Cell<u64>,
    evaluations_until_check: Cell<u64>,
    steps_until_evaluation: Cell<u32>,
    steps_beyond: Cell<u32>,
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
            steps_until_evaluation: Cell::new(STEPS_PER_EVALUATION),
            steps_beyond: Cell::new(STEPS_BEYOND),
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
        if !self.lasts() {
            return;
        }
        self.evaluations_left.set(self.evaluations_left.get() - 1);
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

impl Meter for SearchBudget<'_> {
    fn step(&self) -> Result<(), QuoteError> {
        let until_evaluation = self.steps_until_evaluation.get() - 1;
        if until_evaluation > 0 {
            self.steps_until_evaluation.set(until_evaluation);
        } else {
            self.steps_until_evaluation.set(STEPS_PER_EVALUATION);
            self.spend();
        }
        if self.lasts() {
            return Ok(());
        }
        let beyond = self.steps_beyond.get().checked_sub(1).ok_or(QuoteError::OutOfBudget)?;
        self.steps_beyond.set(beyond);
        Ok(())
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

    #[test]
    fn the_steps_of_a_walk_are_counted_too() {
        let budget = SearchBudget::evaluations(3);
        let steps = (0..1 << 20).take_while(|_| budget.step().is_ok()).count();
        assert_eq!(steps, 3 * STEPS_PER_EVALUATION as usize - 1 + STEPS_BEYOND as usize);
    }
}
