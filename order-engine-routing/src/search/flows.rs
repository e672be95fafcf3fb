//! Searches for the best flow through all pools: over the pools of the pair and over others, side by side and in a row.

use super::Search;
use super::scan::{Loads, Scan};
use crate::flow::{self, Flow, Hop, Network, Plan, Task};

/// The amounts for which the first scans look for paths, as fractions of the whole: what is good for a part is not
/// what is good for all.
const PROBES: [u128; 3] = [1, 6, 36];

/// How many pools each scan proposes, for each leg that a route may have.
const CANDIDATES_PER_LEG: usize = 2;

/// The most pools that each scan proposes, and the fewest.
const CANDIDATES: std::ops::RangeInclusive<usize> = 16..=64;

/// The most rounds in which pools are added that would pay more than those that are used.
const MOST_ROUNDS: usize = 3;

/// The fraction of the amount for which the pools of a further round are compared.
const MARGIN: u128 = 48;

/// The first steps of a plan are this fraction of the amount.
const FIRST_STEPS: u128 = 8;

impl<'a> Search<'a> {
    /// Returns the best flow that the search finds.
    pub(super) fn best_flow(&self, (input, output): (&str, &str), amount: u128) -> Option<Flow<'a>> {
        let graph = self.pools.graph();
        let (from, to) = graph.token(input).zip(graph.token(output)).filter(|(from, to)| from != to)?;
        let max_hops = self.limits.max_hops_within_legs();
        let distances = graph.distances(to, max_hops);
        let most = (self.limits.max_legs.saturating_mul(CANDIDATES_PER_LEG))
            .clamp(*CANDIDATES.start(), *CANDIDATES.end());
        let scan = |amount: u128, loads: &Loads| {
            let amount = amount.max(1);
            let distances = &distances;
            Scan { search: self, from, to, amount, max_hops, distances, loads }.run(most)
        };
        let mut network = Network::new(from, to, 2 * most);
        for fraction in PROBES {
            self.add(&mut network, &scan(amount / fraction, &Loads::new()));
        }
        let task = Task {
            amount,
            at: self.at,
            leg_cost: self.leg_cost.base_units(),
            max_legs: self.limits.max_legs,
            budget: &self.budget,
        };
        let mut state = (Vec::new(), amount);
        let mut step = amount / FIRST_STEPS;
        for round in 0..=MOST_ROUNDS {
            let known = network.len();
            if round > 0 {
                let loads = loads_of(&network, &state.0);
                for amount in margins(amount, state.1) {
                    self.add(&mut network, &scan(amount, &loads));
                }
            }
            if network.len() == known && round > 0 {
                break;
            }
            let mut plan = Plan::resume(&network, task, &state.0, state.1);
            flow::allocate(&mut plan, step.max(1));
            step = amount / MARGIN;
            state = plan.into_loads();
            if !self.budget.lasts() {
                break;
            }
        }
        let plan = Plan::resume(&network, task, &state.0, state.1);
        // A rest that no pool pays for alone goes with the others; the exact evaluation says whether they take it.
        if state.1 > amount / 64 { None } else { flow::finish(plan) }
    }

    fn add(&self, network: &mut Network<'a>, paths: &[Vec<Hop>]) {
        for path in paths {
            network.add_path(path, |edge| self.pools.pool(edge));
        }
    }
}

/// Returns the loads of the pools of a network.
fn loads_of(network: &Network<'_>, loads: &[(u128, u128)]) -> Loads {
    let of = |(arc, &(amount_in, amount_out)): (usize, &(u128, u128))| {
        (network.edge(arc).pool, (network.edge(arc), amount_in, amount_out))
    };
    loads.iter().enumerate().filter(|(_, load)| load.0 > 0).map(of).collect()
}

/// Returns the amounts for which a further round looks for paths: a small part of the whole, or, where some of it has
/// nowhere to go yet, parts of the rest.
fn margins(amount: u128, rest: u128) -> Vec<u128> {
    if rest == 0 { vec![amount / MARGIN] } else { vec![rest, rest / 16, rest / 256, 1] }
}
