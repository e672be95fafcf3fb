//! The value of an amount of one token in another.

use order_engine_core::Amount;

use super::Search;
use super::paths::SwapMode;

/// The path that decides about a value pays the most for this many times the amount, or, where the pools are not that
/// deep, for as much as they take. A pool that is not deep has no say, whatever price it offers: to have one, it would
/// have to hold more than all others pay.
const DEPTH: u128 = 1 << 20;

/// The factor between two probes of the depth.
const DEPTH_STEP: u128 = 1 << 4;

/// The most pools on the path.
const MOST_HOPS: usize = 3;

impl Search<'_> {
    /// Returns the value of an amount of one token in another, rounded up: what the deepest path would pay for it. That is
    /// the path that pays the most for a million times the amount; no pool has a say by its price alone. Returns `None`
    /// if no pools connect the tokens.
    pub fn value(&self, amount: Amount, of: &str, in_terms_of: &str) -> Option<Amount> {
        if of == in_terms_of || amount.is_zero() {
            return Some(amount);
        }
        let probes =
            std::iter::successors(Some(DEPTH), |depth| Some(depth / DEPTH_STEP).filter(|next| *next > 0));
        let probes = probes.filter_map(|depth| amount.base_units().checked_mul(depth).map(Amount::new));
        let mut found = probes.filter_map(|probe| {
            let found = self.find_path(SwapMode::ExactIn, 1..=MOST_HOPS, (of, in_terms_of), (probe, 0))?;
            Some((probe, found))
        });
        let (probe, deepest) = found.next()?;
        let paid = deepest.path.amount_out(amount, self.at, &*self.budget).ok();
        // Where the amount is too small to be paid for, it is worth its part of what was.
        let part = || crate::wide::mul_div_ceil(deepest.amount, amount.base_units(), probe.base_units());
        paid.and_then(|paid| paid.checked_add(Amount::new(1))).or_else(|| part().map(Amount::new))
    }
}
