//! Searches for the lowest input for an exact output.

use order_engine_core::Amount;

use super::Search;
use super::paths::SwapMode;
use crate::path::MAX_HOPS;
use crate::quote::{Rejection, SearchOutcome};

impl<'a> Search<'a> {
    /// Returns the single path that takes the least input for exactly `amount_out`.
    ///
    /// The input buys at least `amount_out`. It may buy a little more, because one base unit less may buy
    /// too little. The legs show what each pool pays.
    pub fn best_exact_out(&self, input: &str, output: &str, amount_out: Amount) -> SearchOutcome<'a> {
        let (mut rejected, mut refusals) = (Vec::new(), Vec::new());
        for edge in self.fresh_edges(input, output, &mut rejected) {
            let pool = self.pool(edge);
            if let Err(error) = pool.metered_in(edge.direction, amount_out, self.at, &self.budget) {
                refusals.push(Rejection { pool, reason: error.into() });
            }
        }
        rejected.extend(refusals);
        let found = self.find_path(SwapMode::ExactOut, 1..=MAX_HOPS, (input, output), amount_out);
        // The legs are quoted forward, as they execute.
        let best = found.and_then(|found| self.route_over(&found, Amount::new(found.amount)));
        SearchOutcome { best, rejected }
    }
}
