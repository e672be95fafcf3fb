//! Searches for the best flow through all pools: over the pools of the pair and over others, side by side and in a row.

use std::cell::Cell;

use super::scan::{Found, Loads, Scan, Shortlist};
use super::{End, Search};
use crate::flow::{self, Flow, Hop, Network, Plan, Task, Used};
use crate::footprint::Toll;
use crate::pool::Pool;

/// The amounts for which the first scans look for paths, as fractions of the whole: what is good for a part is not
/// what is good for all.
const PROBES: [u128; 3] = [1, 6, 36];

/// Further amounts, where pools had no room for the last of these: what a pool takes may be little, and yet the best that
/// is left.
const SMALL_PROBES: [u128; 2] = [400, 4_000];

/// Of a graph with more pools than this, one scan looks at all, and the others at a shortlist.
const LARGE: usize = 512;

/// How many hops the shortlist of a large graph has: ten times those that a route may have, because what is good for a part
/// of the amount may not be what is good for all of it.
const SHORTLISTED: usize = 640;

/// How many pools each scan proposes, for each leg that a route may have.
const CANDIDATES_PER_LEG: usize = 2;

/// The most pools that each scan proposes, and the fewest.
const CANDIDATES: std::ops::RangeInclusive<usize> = 16..=64;

/// The most rounds in which pools are added that would pay more than those that are used.
const MOST_ROUNDS: usize = 4;

/// The fraction of the amount for which the pools of a further round are compared.
const MARGIN: u128 = 48;

/// Where pools had no room for it, this fraction of that is tried, too.
const SMALLER: u128 = 64;

/// The first steps of a plan are this fraction of the amount.
const FIRST_STEPS: u128 = 8;

/// A search for the best flow.
struct FlowSearch<'s, 'a> {
    search: &'s Search<'a>,
    from: usize,
    to: usize,
    amount: u128,
    max_hops: usize,
    /// The most pools that a scan proposes.
    most: usize,
    /// For each token, how many hops it is away from the output.
    distances: Vec<usize>,
    /// Whether a pool had no room for the amount of the last scan.
    was_full: Cell<bool>,
    /// The hops to which scans are confined, once the first ones have seen all of a large graph.
    shortlist: Option<Shortlist>,
}

impl<'a> Search<'a> {
    /// Returns the best flow that the search finds.
    pub(super) fn best_flow(&self, (input, output): (&str, &str), amount: u128) -> Option<Flow<'a>> {
        let graph = self.pools.graph();
        let (from, to) = graph.token(input).zip(graph.token(output)).filter(|(from, to)| from != to)?;
        let max_hops = self.limits.max_hops_within_legs();
        let most = (self.limits.max_legs.saturating_mul(CANDIDATES_PER_LEG))
            .clamp(*CANDIDATES.start(), *CANDIDATES.end());
        let distances = graph.distances(to, max_hops);
        let was_full = Cell::new(false);
        FlowSearch { search: self, from, to, amount, max_hops, most, distances, was_full, shortlist: None }
            .run()
    }
}

impl<'a> FlowSearch<'_, 'a> {
    fn run(mut self) -> Option<Flow<'a>> {
        let task = Task {
            amount: self.amount,
            at: self.search.at,
            room: self.search.limits.room(),
            budget: &self.search.budget,
        };
        let mut network = self.first_network();
        let (mut used, mut rest) = (Vec::new(), self.amount);
        let mut step = self.amount / FIRST_STEPS;
        for _ in 0..=MOST_ROUNDS {
            let mut plan = Plan::resume(&network, task, &used, rest);
            flow::allocate(&mut plan, step.max(1));
            step = self.amount / MARGIN;
            (used, rest) = plan.used();
            if !self.search.budget.lasts() {
                break;
            }
            let next = self.next_network(&used, rest);
            if next.is_part_of(&network) {
                break;
            }
            network = next;
        }
        // A rest that no pool pays for alone goes with the others, whatever its size: an order may be so large that it
        // takes all that the pools hold. The exact evaluation says whether they have room for it.
        flow::finish(Plan::resume(&network, task, &used, rest))
    }

    /// Returns the pools of the paths that are the best for some part of the amount.
    fn first_network(&mut self) -> Network<'a> {
        let mut network = Network::new(self.from, self.to, 2 * self.most);
        let [whole, middle, part] = PROBES.map(|fraction| self.amount / fraction);
        self.confine_to_good_pools(part);
        self.add(&mut network, whole, &Loads::default());
        self.add(&mut network, middle, &Loads::default());
        self.add(&mut network, part, &Loads::default());
        for fraction in SMALL_PROBES {
            if self.was_full.get() {
                self.add(&mut network, self.amount / fraction, &Loads::default());
            }
        }
        network
    }

    /// Confines all further scans of a large graph to the pools that are good for a part of the amount, or, where few have
    /// room for it, for a smaller one.
    fn confine_to_good_pools(&mut self, part: u128) {
        if self.search.pools.len() <= LARGE {
            return;
        }
        let mut good = Vec::new();
        for amount in [part, self.amount / SMALL_PROBES[1]] {
            let found = self.scan(amount, &Loads::default(), SHORTLISTED);
            let is_enough = found.good.len() == SHORTLISTED || !self.was_full.get();
            good.extend(found.good);
            if is_enough {
                break;
            }
        }
        self.shortlist = Some(Shortlist::new(good));
    }

    /// Returns the pools that are used, and those of the paths that are the best for a little more. Pools that are not
    /// used make room for these, which may lead the other way.
    fn next_network(&self, used: &[Used], rest: u128) -> Network<'a> {
        let mut network = Network::new(self.from, self.to, 2 * self.most);
        for Used { hop, .. } in used {
            network.add_path(&[*hop], |hop| self.arc(hop));
        }
        let loads = Loads::new(used.to_vec());
        for margin in margins(self.amount, rest) {
            self.add(&mut network, margin, &loads);
            if self.was_full.get() {
                self.add(&mut network, margin / SMALLER, &loads);
            }
            // What has nowhere to go may have to push others out of a pool.
            if rest > 0 {
                self.add(&mut network, margin, &Loads::default());
            }
        }
        network
    }

    /// Adds the pools that a scan proposes for an amount.
    fn add(&self, network: &mut Network<'a>, amount: u128, loads: &Loads) {
        for path in self.scan(amount, loads, 0).paths {
            network.add_path(&path, |hop| self.arc(hop));
        }
    }

    fn scan(&self, amount: u128, loads: &Loads, listed: usize) -> Found {
        let Self { search, from, to, max_hops, .. } = *self;
        self.was_full.set(false);
        let (amount, distances, was_full) = (amount.max(1), &self.distances, &self.was_full);
        let within = self.shortlist.as_ref();
        let scan = Scan { search, from, to, amount, max_hops, distances, loads, within, was_full };
        scan.run(self.most, listed)
    }

    /// Returns a pool, and what a leg through it costs and takes.
    fn arc(&self, hop: &Hop) -> (&'a Pool, Toll) {
        (self.search.pool(hop.edge), self.search.toll_to(hop.edge.pool, End::of(hop.to, self.to)))
    }
}

/// Returns the amounts for which a further round looks for paths: a small part of the whole, or, where some of it has
/// nowhere to go yet, parts of the rest.
fn margins(amount: u128, rest: u128) -> Vec<u128> {
    if rest == 0 { vec![amount / MARGIN] } else { vec![rest, rest / 16, rest / 256, 1] }
}
