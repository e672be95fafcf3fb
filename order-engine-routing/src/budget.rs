//! How long a search may go on.

use std::cell::Cell;
use std::fmt;

/// How many evaluations pass between two looks at whether to stop: asking may cost as much as a
/// few evaluations do.
const EVALUATIONS_PER_LOOK: u64 = 64;

/// How long a search may go on before it must give the best that it has found.
///
/// A search knows no time: who has a clock hands in [`Budget::until`], and whoever wants the same
/// answer every time counts evaluations instead. The best single pool is always found, whatever
/// the budget.
pub struct Budget<'a> {
    left: Cell<u64>,
    until_look: Cell<u64>,
    is_over: Option<Box<dyn Fn() -> bool + 'a>>,
}

impl<'a> Budget<'a> {
    /// As long as it takes.
    pub fn unlimited() -> Self {
        Self::evaluations(u64::MAX)
    }

    /// So many evaluations of a pool.
    pub fn evaluations(count: u64) -> Self {
        Self { left: Cell::new(count), until_look: Cell::new(EVALUATIONS_PER_LOOK), is_over: None }
    }

    /// Until this says so. It is asked now and then.
    pub fn until(is_over: impl Fn() -> bool + 'a) -> Self {
        Self { is_over: Some(Box::new(is_over)), ..Self::unlimited() }
    }

    /// Counts one evaluation.
    pub(crate) fn spend(&self) {
        self.left.set(self.left.get().saturating_sub(1));
        let Some(is_over) = &self.is_over else { return };
        let until_look = self.until_look.get() - 1;
        self.until_look.set(if until_look == 0 { EVALUATIONS_PER_LOOK } else { until_look });
        if until_look == 0 && is_over() {
            self.left.set(0);
        }
    }

    /// Whether there is anything left of it.
    pub(crate) fn lasts(&self) -> bool {
        self.left.get() > 0
    }
}

impl Default for Budget<'_> {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.left.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_or_asks() {
        let two = Budget::evaluations(2);
        assert!(two.lasts());
        two.spend();
        assert!(two.lasts());
        two.spend();
        assert!(!two.lasts());

        let asked = Cell::new(0);
        let second_look = Budget::until(|| {
            asked.set(asked.get() + 1);
            asked.get() == 2
        });
        for spent in 1..=3 * EVALUATIONS_PER_LOOK {
            second_look.spend();
            assert_eq!(second_look.lasts(), spent < 2 * EVALUATIONS_PER_LOOK, "after {spent}");
        }
    }
}
