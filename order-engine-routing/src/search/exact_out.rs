//! The least input for an output.

use order_engine_core::Amount;

use super::Search;
use super::paths::{Path, PathSearch, Sense};
use crate::pool::QuoteError;
use crate::quote::{Found, LegQuote, Rejection, RouteQuote};

impl<'a> Search<'a> {
    /// The single path that takes the least input for exactly so much output.
    ///
    /// The input buys at least `amount_out`: where one base unit less of an input buys too little,
    /// the next one may buy a little more. The legs show what each pool pays.
    pub fn best_exact_out(&self, input: &str, output: &str, amount_out: Amount) -> Found<'a> {
        let (mut rejected, mut refusals) = (Vec::new(), Vec::new());
        for edge in self.fresh_edges(input, output, &mut rejected) {
            let pool = self.pool(edge);
            if let Err(error) = pool.amount_in(edge.direction, amount_out, self.at) {
                refusals.push(Rejection { pool, reason: error.into() });
            }
        }
        rejected.extend(refusals);
        let best = self.find_path_back((input, output), amount_out);
        Found { best: best.and_then(|path| self.run(&path).ok()), rejected }
    }

    fn find_path_back(&self, (input, output): (&str, &str), amount_out: Amount) -> Option<Path<'a>> {
        let graph = self.pools.graph();
        let (from, to) = graph.token(output).zip(graph.token(input))?;
        let search = PathSearch {
            pools: self.pools,
            at: self.at,
            sense: Sense::ExactOut,
            ends: (from, to),
            amount: amount_out.base_units(),
            leg_cost: self.leg_cost.base_units(),
            hops: (1, self.limits.max_hops.min(self.limits.max_legs)),
            labels_per_token: self.limits.labels_per_token,
            banned: &self.stale(),
            budget: &self.budget,
        };
        search.best()
    }

    /// The path as it is executed: forward, from the input that was found.
    fn run(&self, path: &Path<'a>) -> Result<RouteQuote<'a>, QuoteError> {
        let mut legs: Vec<LegQuote<'a>> = Vec::with_capacity(path.lane.len());
        let amount_in = Amount::new(path.amount);
        let amount_out = crate::quote::push_legs(&mut legs, &path.lane, amount_in, self.at)?;
        let chain_cost = self.chain_cost(legs.len());
        let is_proven_optimal = path.is_proven;
        Ok(RouteQuote { legs, amount_in, amount_out, chain_cost, is_proven_optimal, at: self.at })
    }
}
