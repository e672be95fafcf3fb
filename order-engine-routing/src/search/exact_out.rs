//! Searches for the lowest input for an exact output.

use order_engine_core::Amount;

use super::Search;
use super::paths::SwapMode;
use crate::footprint::{Excess, Tariff};
use crate::path::MAX_HOPS;
use crate::quote::{Rejection, RouteQuote, SearchOutcome};
use crate::wide::mul_div_ceil;

/// The most searches for an output. Each brings the input nearer by about the share of the price that the order costs.
const MOST_SEARCHES: usize = 12;

/// An output that is above the wanted one by less than this fraction of it is near enough.
const NEAR_ENOUGH: u128 = 1 << 24;

impl<'a> Search<'a> {
    /// Returns the single path that takes the least input for exactly `amount_out`.
    ///
    /// The input buys at least `amount_out`. It may buy a little more, because one base unit less may buy
    /// too little. The legs show what each pool pays.
    pub fn best_path_exact_out(&self, input: &str, output: &str, amount_out: Amount) -> SearchOutcome<'a> {
        let (mut rejected, mut refusals) = (Vec::new(), Vec::new());
        for edge in self.usable_edges(input, output, &mut rejected) {
            let pool = self.pool(edge);
            if let Err(error) = pool.metered_in(edge.direction, amount_out, self.at, &*self.budget) {
                refusals.push(Rejection { pool, reason: error.into() });
            }
        }
        rejected.extend(refusals);
        let found = self.find_path(SwapMode::ExactOut, 1..=MAX_HOPS, (input, output), (amount_out, 0));
        // The legs are quoted forward, as they execute.
        let best = found.and_then(|found| self.route_over(&found, Amount::new(found.amount)));
        SearchOutcome { best, rejected, excess: None }
    }

    /// Returns the route that takes the least input for at least `amount_out`, the chain's cost included: a path, a
    /// split, or a flow over paths that share pools. The cost of a leg is in the input token.
    ///
    /// A route over several paths buys up to one part in sixteen million more than `amount_out`.
    pub fn best_exact_out(&self, input: &str, output: &str, amount_out: Amount) -> SearchOutcome<'a> {
        let SearchOutcome { best: path, rejected, .. } = self.best_path_exact_out(input, output, amount_out);
        let start = match &path {
            Some(path) => Some(path.amount_in),
            None => self.enough(input, output, amount_out),
        };
        let flow = start.and_then(|start| self.flow_exact_out((input, output), amount_out, start));
        // Whether a flow would take less than the path is not searched exhaustively.
        let path = path.map(|path| RouteQuote { is_proven_optimal: false, ..path });
        let total = |route: &RouteQuote<'_>| {
            let sum = route.amount_in.base_units().saturating_add(route.chain_cost.base_units());
            (sum, route.legs.len())
        };
        let best = [path, flow].into_iter().flatten().min_by_key(total);
        let excess = if best.is_none() { self.excess_exact_out(input, output, amount_out) } else { None };
        SearchOutcome { best, rejected, excess }
    }

    /// Returns the route over several paths that takes the least input, given an input that buys enough.
    fn flow_exact_out(
        &self,
        pair: (&str, &str),
        amount_out: Amount,
        start: Amount,
    ) -> Option<RouteQuote<'a>> {
        let wanted = amount_out.base_units();
        // The search for an exact input weighs legs in the output token, at the price of this order.
        let in_output =
            |cost: u128| mul_div_ceil(cost, wanted, start.base_units().max(1)).unwrap_or(u128::MAX);
        let Tariff { leg, million_compute_units } = self.tariff;
        let tariff = Tariff { leg: in_output(leg), million_compute_units: in_output(million_compute_units) };
        let search = self.costing(tariff);
        let mut amount_in = start;
        let mut least: Option<RouteQuote<'a>> = None;
        for _ in 0..MOST_SEARCHES {
            let found = search.best(pair.0, pair.1, amount_in).best;
            let Some(route) = found.filter(|route| route.amount_out >= amount_out) else { break };
            let bought = route.amount_out.base_units();
            // Outputs are concave, so this part of the input still buys enough.
            let less = mul_div_ceil(amount_in.base_units(), wanted, bought).map_or(amount_in, Amount::new);
            let is_near = bought - wanted <= wanted / NEAR_ENOUGH || less >= amount_in;
            least = Some(route);
            if is_near || !self.budget.lasts() {
                break;
            }
            amount_in = less;
        }
        least.map(|route| self.route(route.legs, route.amount_in, route.amount_out, false))
    }

    /// Returns what there is too little of for the path that would otherwise buy the output, if no route fits.
    fn excess_exact_out(&self, input: &str, output: &str, amount_out: Amount) -> Option<Excess> {
        let route = self.unbounded().best_path_exact_out(input, output, amount_out).best?;
        self.excess_of(&route)
    }

    /// Returns an input that buys enough over several paths, where no single path does.
    fn enough(&self, input: &str, output: &str, amount_out: Amount) -> Option<Amount> {
        let mut amount_in = amount_out;
        for _ in 0..MOST_SEARCHES {
            let bought = self.best(input, output, amount_in).best.map(|route| route.amount_out);
            match bought {
                Some(bought) if bought >= amount_out => return Some(amount_in),
                Some(bought) => {
                    // A little more than in proportion, because more has a worse price.
                    let (bought, wanted) = (bought.base_units(), amount_out.base_units());
                    let more = mul_div_ceil(amount_in.base_units(), wanted, bought)?;
                    amount_in = Amount::new(more.checked_add(more / 16 + 1)?);
                }
                // The pools have no room for so much, or pay nothing for so little.
                None => amount_in = Amount::new(amount_in.base_units() / 16),
            }
            if amount_in.is_zero() || !self.budget.lasts() {
                return None;
            }
        }
        None
    }
}
