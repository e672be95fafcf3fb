//! How much goes into each pool of a network, and the ways on which a little more or less could go.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::rc::Rc;

use order_engine_core::Amount;

use super::network::{Arc, INPUT, Network, OUTPUT};
use super::ways::{Change, Load, Ways};
use super::{Hop, Task, Used};
use crate::curve::Curve;
use crate::error::QuoteError;
use crate::footprint::Toll;
use crate::net::Rank;
use crate::pool::Pool;
use crate::pool_set::Edge;

/// The most passes over the network in which a way is searched. Each way forwards is found in the first pass; another
/// one is needed for each pool from which the way pushes others out.
const MOST_PASSES: usize = 4;

/// How much goes into each pool of a network.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'n, 't, 'a> {
    pub(super) network: &'n Network<'a>,
    pub(super) task: Task<'t, 't>,
    loads: Vec<Load>,
    /// The loads that pools had before the changes of an attempt, the first change first.
    before: Vec<(usize, Load)>,
    /// For each arc, whether it may not be used.
    closed: Vec<bool>,
    /// What of the input has no pool to go into yet.
    pub(super) rest: u128,
    /// The last quotes of each pool. Most steps ask the same of most pools as the step before; all copies of a plan share
    /// them.
    quotes: Rc<RefCell<Vec<Quotes>>>,
    /// Whether a pool had no room for something; all copies of a plan share it.
    was_full: Rc<Cell<bool>>,
}

/// What brings less than one part in two to the power of this is not worth any further work.
const NEGLIGIBLE: u32 = 17;

/// The part of the input of which the price is compared with that of all.
const STRAINED_PART: u128 = 16;

/// How often what becomes free of the input goes into the pool that takes the rest. It becomes less each time, because that
/// pool pays less each time.
const MOST_RETURNS: usize = 32;

/// What is left of a token by rounding is less than this.
const TOO_LITTLE: u128 = 8;

/// How many quotes of a pool are kept: a step forwards, one back, and both from the load before the last exchange.
const KEPT_QUOTES: usize = 4;

/// What a pool pays for an amount, `None` if it cannot trade it.
#[derive(Clone, Copy, Debug)]
struct Quote {
    amount_in: u128,
    paid: Option<u128>,
}

/// The last quotes of a pool.
#[derive(Clone, Copy, Debug, Default)]
struct Quotes {
    known: [Option<Quote>; KEPT_QUOTES],
    next: usize,
}

impl<'n, 't, 'a> Plan<'n, 't, 'a> {
    /// Returns a plan that sends nothing yet.
    fn new(network: &'n Network<'a>, task: Task<'t, 't>) -> Self {
        let arcs = network.len();
        Self {
            network,
            task,
            loads: vec![Load::default(); arcs],
            before: Vec::new(),
            closed: vec![false; arcs],
            rest: task.amount,
            quotes: Rc::new(RefCell::new(vec![Quotes::default(); arcs])),
            was_full: Rc::default(),
        }
    }

    /// Returns a plan in which these pools of the network have these loads, and `rest` has nowhere to go yet.
    pub(crate) fn resume(network: &'n Network<'a>, task: Task<'t, 't>, used: &[Used], rest: u128) -> Self {
        let mut plan = Self { rest, ..Self::new(network, task) };
        for Used { hop, amount_in, amount_out } in used {
            if let Some(arc) = network.arc(hop.edge) {
                plan.loads[arc] = Load { amount_in: *amount_in, amount_out: *amount_out };
            }
        }
        plan
    }

    /// Returns the plan with the knowledge whether pools had no room for something.
    pub(crate) fn with_full_pools(self, was_full: bool) -> Self {
        self.was_full.set(was_full);
        self
    }

    /// Returns the pools that are used, and what has nowhere to go yet.
    pub(crate) fn used(&self) -> (Vec<Used>, u128) {
        let used = self.loads().map(|(arc, load)| {
            let Load { amount_in, amount_out } = load;
            Used { hop: self.network.hop(arc), amount_in, amount_out }
        });
        (used.collect(), self.rest)
    }

    /// Returns how much more a path would pay, beside the loads of its pools, than the plan does: for a `fraction` of the
    /// input, or of what the plan buys of a token on the path, whichever gains the most.
    pub(crate) fn gain_of(&self, path: &[Hop], fraction: u128, pool: impl Fn(Edge) -> &'a Pool) -> u128 {
        let gain = |start: usize| {
            let token = self.network.number(path[start].from)?;
            let held = if token == INPUT { self.task.amount } else { self.bought(token) };
            let amount = held / fraction;
            let lost = self.clone().take_back_from(token, amount)?;
            self.paid_along(&path[start..], amount, &pool)?.checked_sub(lost)
        };
        (0..path.len()).filter_map(gain).max().unwrap_or(0)
    }

    fn paid_along(&self, path: &[Hop], amount: u128, pool: &impl Fn(Edge) -> &'a Pool) -> Option<u128> {
        let Task { at, budget, .. } = self.task;
        path.iter().try_fold(amount, |amount, hop| {
            budget.spend();
            let load = self.network.arc(hop.edge).map_or(Load::default(), |arc| self.loads[arc]);
            let total = Amount::new(load.amount_in.checked_add(amount)?);
            let paid = pool(hop.edge).metered_out(hop.edge.direction, total, at, budget).ok()?;
            paid.base_units().checked_sub(load.amount_out)
        })
    }

    pub(super) fn load(&self, arc: usize) -> Load {
        self.loads[arc]
    }

    pub(super) fn loads(&self) -> impl Iterator<Item = (usize, Load)> {
        self.loads.iter().copied().enumerate().filter(|(_, load)| load.amount_in > 0)
    }

    /// Returns the number of pools that are used.
    pub(super) fn legs(&self) -> usize {
        self.loads().count()
    }

    /// Returns what the used pools cost and take.
    pub(super) fn toll(&self) -> Toll {
        self.loads().map(|(arc, _)| self.network.arcs()[arc].toll).sum()
    }

    /// Returns how good the plan is.
    pub(super) fn rank(&self) -> Rank {
        Rank::new(self.output(), &self.toll())
    }

    /// Returns what comes out.
    pub(super) fn output(&self) -> u128 {
        let is_last = |(arc, _): &(usize, Load)| self.network.arcs()[*arc].to == OUTPUT;
        self.loads().filter(is_last).fold(0, |sum, (_, load)| sum.saturating_add(load.amount_out))
    }

    /// Returns how much of a token is bought.
    pub(super) fn bought(&self, token: usize) -> u128 {
        let buys = |(arc, _): &(usize, Load)| self.network.arcs()[*arc].to == token;
        self.loads().filter(buys).fold(0, |sum, (_, load)| sum.saturating_add(load.amount_out))
    }

    /// Returns whether the last part of the input pays much less than the rest of it, because it is much for these pools.
    pub(super) fn is_strained(&self) -> bool {
        let part = self.task.amount / STRAINED_PART;
        let lost = self.clone().take_back_from(INPUT, part).unwrap_or(0);
        lost.saturating_mul(STRAINED_PART) < self.output() / 4 * 3
    }

    /// Returns what is not worth any further work.
    pub(crate) fn negligible(&self) -> u128 {
        self.output() >> NEGLIGIBLE
    }

    /// Closes a pool, and returns its load, which it loses.
    pub(super) fn close(&mut self, arc: usize) -> Load {
        self.closed[arc] = true;
        let load = self.loads[arc];
        self.set(arc, Load::default());
        load
    }

    fn set(&mut self, arc: usize, load: Load) {
        self.before.push((arc, std::mem::replace(&mut self.loads[arc], load)));
    }

    /// Changes loads, and takes that back where it comes to nothing. An attempt has no attempts in it.
    pub(super) fn attempt<T>(&mut self, change: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.before.clear();
        let changed = change(self);
        if changed.is_none() {
            while let Some((arc, load)) = self.before.pop() {
                self.loads[arc] = load;
            }
        }
        changed
    }

    /// Returns what a pool pays: zero if the amount is too small, `None` if the pool cannot trade it.
    fn evaluate(&self, arc: usize, amount_in: u128) -> Option<u128> {
        // To look a quote up takes as long as to compute one of constant product.
        if let Curve::ConstantProduct(_) = self.network.arcs()[arc].pool.curve {
            return self.quote(arc, amount_in);
        }
        if let Some(known) = self.quotes.borrow()[arc].get(amount_in) {
            return known.paid;
        }
        let paid = self.quote(arc, amount_in);
        self.quotes.borrow_mut()[arc].keep(Quote { amount_in, paid });
        paid
    }

    fn quote(&self, arc: usize, amount_in: u128) -> Option<u128> {
        let arc = &self.network.arcs()[arc];
        let Task { at, budget, .. } = self.task;
        budget.spend();
        match arc.pool.metered_out(arc.direction, Amount::new(amount_in), at, budget) {
            Ok(out) => Some(out.base_units()),
            Err(QuoteError::TooSmall) => Some(0),
            Err(_) => {
                self.was_full.set(true);
                None
            }
        }
    }

    /// Returns whether a pool had no room for something.
    pub(crate) fn was_full(&self) -> bool {
        self.was_full.get()
    }

    /// Sends a step from the input to the output, along the way that pays the most. Returns whether there is one.
    pub(super) fn send(&mut self, step: u128) -> bool {
        let is_sent = self.send_from(INPUT, step).is_some();
        if is_sent {
            self.rest -= step;
        }
        is_sent
    }

    /// Sends an amount of a token to the output, along the way that pays the most. Returns what it pays.
    pub(super) fn send_from(&mut self, token: usize, amount: u128) -> Option<u128> {
        let ways = self.ways_from(token, amount);
        let paid = ways.amount(OUTPUT).filter(|paid| *paid > 0)?;
        self.apply(&ways, OUTPUT);
        Some(paid)
    }

    /// Takes back what an amount of a token has bought of the output, along the way that loses the least. Returns what
    /// is lost, or `None` if no pool takes so much.
    pub(super) fn take_back_from(&mut self, token: usize, amount: u128) -> Option<u128> {
        self.take_back(token, amount, |_| true)
    }

    /// Takes back what an amount of the token that a pool sells has bought of the output through that pool.
    pub(super) fn take_back_through(&mut self, arc: usize, amount: u128) -> Option<u128> {
        let from = self.network.arcs()[arc].from;
        let others: Vec<bool> = self.network.arcs().iter().map(|other| other.from == from).collect();
        self.take_back(from, amount, |other| other == arc || !others[other])
    }

    fn take_back(&mut self, token: usize, amount: u128, admits: impl Fn(usize) -> bool) -> Option<u128> {
        let mut ways = self.start(token, amount);
        for (arc, &Arc { from, to, .. }) in self.network.arcs().iter().enumerate() {
            let Load { amount_in, amount_out } = self.loads[arc];
            if amount_in == 0 || !admits(arc) {
                continue;
            }
            let Some(less) = ways.amount(from).filter(|less| (1..=amount_in).contains(less)) else {
                continue;
            };
            let left = if less == amount_in { Some(0) } else { self.evaluate(arc, amount_in - less) };
            let Some(left) = left else { continue };
            let lost = amount_out.saturating_sub(left);
            if ways.amount(to).is_none_or(|least| lost < least) {
                let load = Load { amount_in: amount_in - less, amount_out: left };
                ways.keep(Change { arc, load, from, to, arriving: lost });
            }
        }
        let lost = ways.amount(OUTPUT)?;
        self.apply(&ways, OUTPUT);
        Some(lost)
    }

    /// Puts all that has nowhere to go into one pool, whatever little that pays for it: into the one with which the most
    /// comes out.
    ///
    /// What the pool pays more for it may be of a token that has no more room. Then others buy less of that token, and what
    /// of the input becomes free goes into the pool, too.
    pub(super) fn absorb_rest(&mut self) {
        let absorbed = self.sellers(INPUT).filter_map(|arc| {
            let mut plan = self.clone();
            plan.absorb_rest_with(arc)?;
            Some(plan)
        });
        if let Some(best) = absorbed.max_by_key(Plan::output) {
            *self = best;
        }
    }

    fn absorb_rest_with(&mut self, arc: usize) -> Option<()> {
        for _ in 0..MOST_RETURNS {
            let rest = std::mem::take(&mut self.rest);
            self.absorb_with(arc, rest)?;
            if self.rest == 0 {
                return Some(());
            }
        }
        None
    }

    /// Puts more into a pool, and finds a place for what it then pays more.
    fn absorb_with(&mut self, arc: usize, amount: u128) -> Option<()> {
        let before = self.loads[arc];
        let amount_in = before.amount_in.checked_add(amount)?;
        let amount_out = self.evaluate(arc, amount_in).filter(|paid| *paid > 0)?;
        self.set(arc, Load { amount_in, amount_out });
        let more = amount_out.saturating_sub(before.amount_out);
        let is_open = !std::mem::replace(&mut self.closed[arc], true);
        let placed = self.place(self.network.arcs()[arc].to, more);
        self.closed[arc] = !is_open;
        placed
    }

    /// Finds a place for more of a token: pools that pay for it, or others buy less of it, or pools take it that pay little
    /// or nothing more.
    fn place(&mut self, token: usize, amount: u128) -> Option<()> {
        if token == OUTPUT || amount == 0 || self.send_from(token, amount).is_some() {
            return Some(());
        }
        let mut plan = self.clone();
        if plan.buy_less(token, amount).is_some() {
            *self = plan;
            return Some(());
        }
        let mut sellers: Vec<usize> = self.sellers(token).collect();
        sellers.sort_by_key(|arc| (Reverse(self.loads[*arc].amount_in), *arc));
        let placed = sellers.into_iter().find_map(|arc| {
            let mut plan = self.clone();
            plan.absorb_with(arc, amount)?;
            Some(plan)
        })?;
        *self = placed;
        Some(())
    }

    /// Returns the open pools that sell a token.
    fn sellers(&self, token: usize) -> impl Iterator<Item = usize> {
        let arcs = self.network.arcs().iter().enumerate();
        arcs.filter(move |(arc, sold)| sold.from == token && !self.closed[*arc]).map(|(arc, _)| arc)
    }

    /// Buys less of a token, by an amount or a little more, from the open pools that pay the most of it. What these took
    /// goes elsewhere, or less of it is bought, too. What becomes free of the input has nowhere to go then.
    pub(super) fn buy_less(&mut self, token: usize, amount: u128) -> Option<()> {
        let mut amount = amount;
        while amount > 0 {
            let buys = |(arc, _): &(usize, Load)| self.network.arcs()[*arc].to == token && !self.closed[*arc];
            let (arc, load) = self.loads().filter(buys).max_by_key(|(arc, load)| (load.amount_out, *arc))?;
            let needed = load.amount_out.saturating_sub(amount);
            let reduced = if needed == 0 { Load::default() } else { self.load_for_at_most(arc, needed)? };
            self.set(arc, reduced);
            amount = amount.saturating_sub(load.amount_out - reduced.amount_out);
            self.send_back(arc, load.amount_in - reduced.amount_in)?;
        }
        Some(())
    }

    /// Returns the load with which a pool pays an amount or a little less.
    fn load_for_at_most(&self, arc: usize, amount_out: u128) -> Option<Load> {
        let amount_in = self.least_input(arc, amount_out)?;
        let paid = self.evaluate(arc, amount_in)?;
        if paid <= amount_out {
            return Some(Load { amount_in, amount_out: paid });
        }
        let amount_in = amount_in - 1;
        let amount_out = if amount_in == 0 { 0 } else { self.evaluate(arc, amount_in)? };
        Some(Load { amount_in, amount_out })
    }

    /// Finds another way for what a pool no longer takes, or buys less of it.
    fn send_back(&mut self, arc: usize, amount: u128) -> Option<()> {
        let (from, to) = (self.network.arcs()[arc].from, self.network.arcs()[arc].to);
        let arcs = self.network.arcs().iter();
        let closed = arcs.zip(&self.closed).map(|(arc, closed)| *closed || arc.to == to).collect();
        let open = std::mem::replace(&mut self.closed, closed);
        let is_sent = amount == 0 || self.send_from(from, amount).is_some();
        self.closed = open;
        match (is_sent, from) {
            (true, _) => Some(()),
            (false, INPUT) => {
                self.rest += amount;
                Some(())
            }
            // Where no way pays for so little, the exact evaluation adds it to another pool.
            (false, _) if amount < TOO_LITTLE => Some(()),
            (false, _) => self.buy_less(from, amount),
        }
    }

    fn start(&self, token: usize, amount: u128) -> Ways {
        Ways::from(token, amount, self.network.tokens())
    }

    /// Returns the ways on which the most of an amount arrives at each token.
    fn ways_from(&self, token: usize, amount: u128) -> Ways {
        let mut ways = self.start(token, amount);
        for _ in 0..MOST_PASSES {
            let mut has_changed = false;
            for arc in (0..self.network.len()).filter(|arc| !self.closed[*arc]) {
                has_changed |= self.extend_forwards(&mut ways, arc);
            }
            // A way back only helps if there is something to push out.
            for arc in (0..self.network.len()).rev() {
                has_changed |= self.loads[arc].amount_in > 0 && self.extend_backwards(&mut ways, arc);
            }
            if !has_changed {
                break;
            }
        }
        ways
    }

    /// Extends the way to a pool's input token through the pool.
    fn extend_forwards(&self, ways: &mut Ways, arc: usize) -> bool {
        let (from, to) = (self.network.arcs()[arc].from, self.network.arcs()[arc].to);
        let Some((before, more)) = ways.best_to(from) else { return false };
        // Where this way has been extended before, nothing new comes of it.
        if more == 0 || ways.extends(to, arc, before) {
            return false;
        }
        let Load { amount_in, amount_out } = self.loads[arc];
        let Some(total) = amount_in.checked_add(more) else { return false };
        let Some(paid) = self.evaluate(arc, total) else { return false };
        let load = Load { amount_in: total, amount_out: paid };
        ways.offer(Change { arc, load, from, to, arriving: paid.saturating_sub(amount_out) })
    }

    /// Extends the way to a pool's output token backwards: what arrives there replaces a part of what the pool pays, so
    /// that the pool needs less of its input token.
    fn extend_backwards(&self, ways: &mut Ways, arc: usize) -> bool {
        let Load { amount_in, amount_out } = self.loads[arc];
        let (from, to) = (self.network.arcs()[arc].from, self.network.arcs()[arc].to);
        let Some(more) = ways.amount(to).filter(|more| *more > 0 && to != OUTPUT) else { return false };
        let Some(needed) = amount_out.checked_sub(more) else { return false };
        let least = if needed == 0 { Some(0) } else { self.least_input(arc, needed) };
        let Some(least) = least.filter(|least| *least < amount_in) else { return false };
        let Some(paid) = (if least == 0 { Some(0) } else { self.evaluate(arc, least) }) else { return false };
        let load = Load { amount_in: least, amount_out: paid };
        ways.offer(Change { arc, load, from: to, to: from, arriving: amount_in - least })
    }

    fn least_input(&self, arc: usize, amount_out: u128) -> Option<u128> {
        let arc = &self.network.arcs()[arc];
        let Task { at, budget, .. } = self.task;
        budget.spend();
        let found = arc.pool.metered_in(arc.direction, Amount::new(amount_out), at, budget);
        found.ok().map(Amount::base_units)
    }

    /// Changes the loads on the best way to a token.
    fn apply(&mut self, ways: &Ways, to: usize) {
        for change in ways.changes_to(to) {
            self.set(change.arc, change.load);
        }
    }
}

impl Quotes {
    fn get(&self, amount_in: u128) -> Option<Quote> {
        self.known.iter().flatten().find(|known| known.amount_in == amount_in).copied()
    }

    /// Keeps a quote instead of the oldest.
    fn keep(&mut self, quote: Quote) {
        self.known[self.next] = Some(quote);
        self.next = (self.next + 1) % KEPT_QUOTES;
    }
}
