//! Searches for the best flow through all pools: over the pools of the pair and over others, side by side and in a row.

use std::cell::Cell;
use std::cmp::Reverse;

use super::scan::{Found, Loads, Scan, Shortlist};
use super::{End, Search};
use crate::flow::{self, Flow, Hop, Network, NetworkBuilder, Plan, Task, Used};
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

/// How many of the paths that a scan proposes are remembered if others block them, the best ones. More bring nothing.
const BLOCKED: usize = 4;

/// The first steps of a plan are this fraction of the amount.
const FIRST_STEPS: u128 = 8;

/// A network, and the paths that are not a part of it because they would lead in a circle with others.
type Start<'a> = (Network<'a>, Vec<Vec<Hop>>);

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
        self.confine_to_good_pools();
        let (first, other_way_round) = self.start(self.first_network());
        let second = other_way_round.and_then(|network| self.start(network).0);
        [first, second].into_iter().flatten().reduce(better)
    }

    /// Searches from a network. Returns what it finds, and, if paths would pay more that are blocked by pools that the flow
    /// uses the other way round, the network with those paths.
    fn start(&self, (mut network, mut blocked): Start<'a>) -> (Option<Flow<'a>>, Option<Start<'a>>) {
        let task = Task {
            amount: self.amount,
            at: self.search.at,
            room: self.search.limits.room(),
            budget: &self.search.budget,
        };
        let (mut used, mut rest) = (Vec::new(), self.amount);
        let mut step = self.amount / FIRST_STEPS;
        let mut was_full = false;
        for _ in 0..=MOST_ROUNDS {
            let mut plan = Plan::resume(&network, task, &used, rest);
            flow::allocate(&mut plan, step.max(1));
            step = self.amount / MARGIN;
            (used, rest) = plan.used();
            was_full |= plan.was_full();
            if !self.search.budget.lasts() {
                break;
            }
            let next = self.next_network(&used, rest, &mut blocked);
            if next.is_part_of(&network) {
                break;
            }
            network = next;
        }
        // A rest that no pool pays for alone goes with the others, whatever its size: an order may be so large that it
        // takes all that the pools hold. The exact evaluation says whether they have room for it.
        let mut plan = Plan::resume(&network, task, &used, rest).with_full_pools(was_full);
        flow::polish(&mut plan);
        let other = self.other_way_round(&network, &plan, blocked);
        (flow::finish(plan), other)
    }

    /// Returns a network with the blocked paths that would pay more than the plan, and as much of its network as leads in no
    /// circle with them; `None` if none would.
    fn other_way_round(
        &self,
        network: &Network<'a>,
        plan: &Plan<'_, '_, 'a>,
        blocked: Vec<Vec<Hop>>,
    ) -> Option<Start<'a>> {
        if !self.search.budget.lasts() {
            return None;
        }
        let gain = |path: Vec<Hop>| (plan.gain_of(&path, MARGIN, |edge| self.search.pool(edge)), path);
        let is_worth_it = |(gain, _): &(u128, Vec<Hop>)| *gain > plan.negligible();
        let mut gaining: Vec<(u128, Vec<Hop>)> = blocked.into_iter().map(gain).filter(is_worth_it).collect();
        gaining.sort_by_key(|(gain, _)| Reverse(*gain));
        let mut paths = gaining.into_iter().map(|(_, path)| path);
        let mut other = NetworkBuilder::new(self.from, self.to, 2 * self.most);
        other.add_path(&paths.next()?, |hop| self.arc(hop));
        // What the flow uses stays, as far as it does not block the best of these paths.
        for Used { hop, .. } in plan.used().0 {
            other.add_path(&[hop], |hop| self.arc(hop));
        }
        for path in paths.chain(network.hops().map(|hop| vec![hop])) {
            other.add_path(&path, |hop| self.arc(hop));
        }
        Some((other.build(), Vec::new()))
    }

    /// Returns the pools of the paths that are the best for some part of the amount.
    fn first_network(&self) -> Start<'a> {
        let mut network = NetworkBuilder::new(self.from, self.to, 2 * self.most);
        let mut blocked = Vec::new();
        for fraction in PROBES {
            self.add(&mut network, self.amount / fraction, &Loads::default(), &mut blocked);
        }
        for fraction in SMALL_PROBES {
            if self.was_full.get() {
                self.add(&mut network, self.amount / fraction, &Loads::default(), &mut blocked);
            }
        }
        (network.build(), blocked)
    }

    /// Confines all further scans of a large graph to the pools that are good for a part of the amount, or, where few have
    /// room for it, for a smaller one.
    fn confine_to_good_pools(&mut self) {
        if self.search.pools.len() <= LARGE {
            return;
        }
        let part = self.amount / PROBES[PROBES.len() - 1];
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
    fn next_network(&self, used: &[Used], rest: u128, blocked: &mut Vec<Vec<Hop>>) -> Network<'a> {
        let mut network = NetworkBuilder::new(self.from, self.to, 2 * self.most);
        for Used { hop, .. } in used {
            network.add_path(&[*hop], |hop| self.arc(hop));
        }
        let loads = Loads::new(used.to_vec());
        for margin in margins(self.amount, rest) {
            self.add(&mut network, margin, &loads, blocked);
            if self.was_full.get() {
                self.add(&mut network, margin / SMALLER, &loads, blocked);
            }
            // What has nowhere to go may have to push others out of a pool.
            if rest > 0 {
                self.add(&mut network, margin, &Loads::default(), blocked);
            }
        }
        network.build()
    }

    /// Adds the pools that a scan proposes for an amount, and to `blocked` the paths that would lead in a circle with others.
    fn add(
        &self,
        network: &mut NetworkBuilder<'a>,
        amount: u128,
        loads: &Loads,
        blocked: &mut Vec<Vec<Hop>>,
    ) {
        let most = blocked.len() + BLOCKED;
        for path in self.scan(amount, loads, 0).paths {
            let is_added = network.add_path(&path, |hop| self.arc(hop));
            if !is_added && blocked.len() < most && !blocked.contains(&path) {
                blocked.push(path);
            }
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

/// Returns the better of two flows, of equal ones the first.
fn better<'a>(one: Flow<'a>, other: Flow<'a>) -> Flow<'a> {
    if other.rank() > one.rank() { other } else { one }
}

/// Returns the amounts for which a further round looks for paths: a small part of the whole, or, where some of it has
/// nowhere to go yet, parts of the rest.
fn margins(amount: u128, rest: u128) -> Vec<u128> {
    if rest == 0 { vec![amount / MARGIN] } else { vec![rest, rest / 16, rest / 256, 1] }
}
