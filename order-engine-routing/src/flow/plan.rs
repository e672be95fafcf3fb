//! How much goes into each pool of a network, and the ways on which a little more or less could go.

use std::cell::RefCell;
use std::rc::Rc;

use order_engine_core::Amount;

use super::network::{INPUT, Network, OUTPUT};
use super::{Task, Used};
use crate::curve::Curve;
use crate::error::QuoteError;
use crate::footprint::Toll;
use crate::net::Rank;

/// The most passes over the network in which a way is searched. Each way forwards is found in the first pass; another
/// one is needed for each pool from which the way pushes others out.
const MOST_PASSES: usize = 4;

/// The input and output of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) amount_in: u128,
    pub(super) amount_out: u128,
}

/// How much goes into each pool of a network.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'n, 't, 'a> {
    pub(super) network: &'n Network<'a>,
    pub(super) task: Task<'t, 't>,
    loads: Vec<Load>,
    /// For each arc, whether it may not be used.
    closed: Vec<bool>,
    /// What of the input has no pool to go into yet.
    pub(super) rest: u128,
    /// The last quotes of each pool. Most steps ask the same of most pools as the step before; all copies of a plan share
    /// them.
    quotes: Rc<RefCell<Vec<Quotes>>>,
}

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

/// A change of one pool's load.
#[derive(Clone, Copy, Debug)]
struct Change {
    arc: usize,
    load: Load,
    /// The token from which the way comes to this pool.
    from: usize,
    /// The token to which the way leads.
    to: usize,
    /// The amount that arrives there.
    arriving: u128,
}

/// The best known ways from one token to all others.
struct Ways {
    amounts: Vec<Option<u128>>,
    last: Vec<Option<Change>>,
}

impl<'n, 't, 'a> Plan<'n, 't, 'a> {
    /// Returns a plan that sends nothing yet.
    fn new(network: &'n Network<'a>, task: Task<'t, 't>) -> Self {
        let arcs = network.len();
        Self {
            network,
            task,
            loads: vec![Load::default(); arcs],
            closed: vec![false; arcs],
            rest: task.amount,
            quotes: Rc::new(RefCell::new(vec![Quotes::default(); arcs])),
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

    /// Returns the pools that are used, and what has nowhere to go yet.
    pub(crate) fn used(&self) -> (Vec<Used>, u128) {
        let used = self.loads().map(|(arc, load)| {
            let Load { amount_in, amount_out } = load;
            Used { hop: self.network.hop(arc), amount_in, amount_out }
        });
        (used.collect(), self.rest)
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

    /// Closes a pool, and returns its load, which it loses.
    pub(super) fn close(&mut self, arc: usize) -> Load {
        self.closed[arc] = true;
        std::mem::take(&mut self.loads[arc])
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
            Err(_) => None,
        }
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
        let paid = ways.amounts[OUTPUT].filter(|paid| *paid > 0)?;
        self.apply(&ways, token, OUTPUT);
        Some(paid)
    }

    /// Takes back what an amount of a token has bought of the output, along the way that loses the least. Returns what
    /// is lost, or `None` if no pool takes so much.
    pub(super) fn take_back_from(&mut self, token: usize, amount: u128) -> Option<u128> {
        let mut ways = self.start(token, amount);
        for &arc in self.network.order() {
            let Load { amount_in, amount_out } = self.loads[arc];
            let (from, to) = (self.network.arcs()[arc].from, self.network.arcs()[arc].to);
            let Some(less) = ways.amounts[from].filter(|less| (1..=amount_in).contains(less)) else {
                continue;
            };
            let left = if less == amount_in { Some(0) } else { self.evaluate(arc, amount_in - less) };
            let Some(left) = left else { continue };
            let lost = amount_out.saturating_sub(left);
            if ways.amounts[to].is_none_or(|least| lost < least) {
                let load = Load { amount_in: amount_in - less, amount_out: left };
                ways.amounts[to] = Some(lost);
                ways.last[to] = Some(Change { arc, load, from, to, arriving: lost });
            }
        }
        let lost = ways.amounts[OUTPUT]?;
        self.apply(&ways, token, OUTPUT);
        Some(lost)
    }

    /// Buys less of a token, by an amount or a little more, from the pool that pays the most of it. What that pool took
    /// goes elsewhere.
    pub(super) fn buy_less(&mut self, token: usize, amount: u128) -> Option<()> {
        let buys = |(arc, _): &(usize, Load)| self.network.arcs()[*arc].to == token;
        let (arc, load) = self.loads().filter(buys).max_by_key(|(arc, load)| (load.amount_out, *arc))?;
        let needed = load.amount_out.checked_sub(amount).filter(|needed| *needed > 0)?;
        let mut amount_in = self.least_input(arc, needed)?;
        if self.evaluate(arc, amount_in)? > needed {
            amount_in -= 1;
        }
        let amount_out = self.evaluate(arc, amount_in)?;
        self.loads[arc] = Load { amount_in, amount_out };
        let arcs = self.network.arcs().iter();
        let closed = std::mem::replace(&mut self.closed, arcs.map(|arc| arc.to == token).collect());
        // Where no way pays for so little, the exact evaluation adds it to another pool.
        let _paid = self.send_from(self.network.arcs()[arc].from, load.amount_in - amount_in);
        self.closed = closed;
        Some(())
    }

    fn start(&self, token: usize, amount: u128) -> Ways {
        let tokens = self.network.tokens();
        let mut ways = Ways { amounts: vec![None; tokens], last: vec![None; tokens] };
        ways.amounts[token] = Some(amount);
        ways
    }

    /// Returns the ways on which the most of an amount arrives at each token.
    fn ways_from(&self, token: usize, amount: u128) -> Ways {
        let mut ways = self.start(token, amount);
        for _ in 0..MOST_PASSES {
            let mut has_changed = false;
            for &arc in self.network.order() {
                if self.closed[arc] {
                    continue;
                }
                has_changed |= self.extend_forwards(&mut ways, arc);
            }
            // A way back only helps if there is something to push out.
            for &arc in self.network.order().iter().rev() {
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
        let Some(more) = ways.amounts[from].filter(|more| *more > 0) else { return false };
        // Where this way has been extended before, nothing new comes of it.
        if ways.last[to]
            .is_some_and(|known| known.arc == arc && known.load.amount_in == self.loads[arc].amount_in + more)
        {
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
        let Some(more) = ways.amounts[to].filter(|more| *more > 0 && to != OUTPUT) else { return false };
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

    /// Changes the loads on the way to a token.
    fn apply(&mut self, ways: &Ways, from: usize, to: usize) {
        let mut token = to;
        while token != from {
            let Some(change) = ways.last[token] else { return };
            self.loads[change.arc] = change.load;
            token = change.from;
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

impl Ways {
    /// Keeps a change if more arrives by it than by the known way to its token, and it does not lead in a circle.
    fn offer(&mut self, change: Change) -> bool {
        let is_better = self.amounts[change.to].is_none_or(|most| change.arriving > most);
        if !is_better || change.arriving == 0 || self.passes(change.from, change.to, change.arc) {
            return false;
        }
        self.amounts[change.to] = Some(change.arriving);
        self.last[change.to] = Some(change);
        true
    }

    /// Returns whether the way to a token passes another one, or uses a pool.
    fn passes(&self, mut token: usize, other: usize, arc: usize) -> bool {
        // A way that was replaced behind this one may lead in a circle; it has no more changes than there are tokens.
        for _ in 0..=self.last.len() {
            if token == other {
                return true;
            }
            match self.last[token] {
                Some(change) if change.arc == arc => return true,
                Some(change) => token = change.from,
                None => return false,
            }
        }
        true
    }
}
