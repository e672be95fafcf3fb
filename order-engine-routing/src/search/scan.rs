//! Scans all pools for those that a good route may use.
//!
//! A scan quotes each pool once or a few times: for the most of its input token that an amount of the order's input
//! buys in at most so many hops. From the prices of these quotes follows, for each pool, the price of the best path
//! through it. Pools whose best paths pay the most are the candidates for a route. As each pool is quoted for an
//! amount, one that only trades dust weighs nothing, whatever its price.
//!
//! A scan only chooses candidates, so it computes with floats, and needs no more of a constant-product pool than its
//! outline.

use std::cell::Cell;

use order_engine_core::Amount;

use super::Search;
use crate::error::QuoteError;
use crate::flow::{Hop, Used};
use crate::pool_set::Edge;

/// A label that is better by less than this share does not make the search quote all pools of its token again.
const WORTH_A_QUOTE: f64 = 0.001;

/// The loads of a few pools.
#[derive(Debug, Default)]
pub(super) struct Loads(Vec<Used>);

impl Loads {
    pub(super) fn new(mut used: Vec<Used>) -> Self {
        used.sort_unstable_by_key(|used| used.hop.edge.pool);
        Self(used)
    }

    fn of(&self, pool: usize) -> Option<&Used> {
        let found = self.0.binary_search_by_key(&pool, |used| used.hop.edge.pool);
        found.ok().map(|found| &self.0[found])
    }
}

/// The hops to which a scan may be confined, in the order of the tokens from which they lead.
#[derive(Debug)]
pub(super) struct Shortlist(Vec<Hop>);

impl Shortlist {
    pub(super) fn new(mut hops: Vec<Hop>) -> Self {
        hops.sort_unstable_by_key(|hop| (hop.from, hop.to, hop.edge.pool));
        hops.dedup_by_key(|hop| hop.edge);
        Self(hops)
    }

    /// Returns the hops from a token.
    fn from(&self, token: usize) -> &[Hop] {
        let start = self.0.partition_point(|hop| hop.from < token);
        let len = self.0[start..].partition_point(|hop| hop.from == token);
        &self.0[start..start + len]
    }
}

/// What a scan has found.
pub(super) struct Found {
    /// The best paths through the pools whose best paths pay the most, the best first.
    pub(super) paths: Vec<Vec<Hop>>,
    /// The hops that a shortlist should have, the best first.
    pub(super) good: Vec<Hop>,
}

/// A scan for the paths of an amount.
pub(super) struct Scan<'s, 'a> {
    pub(super) search: &'s Search<'a>,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) amount: u128,
    pub(super) max_hops: usize,
    /// For each token, how many hops it is away from the output.
    pub(super) distances: &'s [usize],
    pub(super) loads: &'s Loads,
    /// The hops to which the scan is confined; `None` for all.
    pub(super) within: Option<&'s Shortlist>,
    /// Whether a pool had no room for its amount.
    pub(super) was_full: &'s Cell<bool>,
}

/// A quote of a pool.
struct Quoted {
    hop: Hop,
    price: f64,
}

/// The best way to each token in at most so many hops.
struct Forward {
    /// For each number of hops and each token, the amount; zero if there is no way.
    amounts: Vec<Vec<f64>>,
    /// For each number of hops and each token, the quote of the last hop, and the number of hops before it.
    last: Vec<Vec<Option<(usize, usize)>>>,
    quoted: Vec<Quoted>,
}

/// The ways to each token that have one hop more than those before.
struct Layer {
    hops: usize,
    amounts: Vec<f64>,
    last: Vec<Option<(usize, usize)>>,
    /// The tokens of which so much more arrives that their pools are worth a quote.
    improved: Vec<usize>,
    is_improved: Vec<bool>,
}

/// The best way from each token to the output in at most so many hops.
struct Backward {
    prices: Vec<Vec<f64>>,
    next: Vec<Vec<Option<(usize, usize)>>>,
}

impl Scan<'_, '_> {
    /// Returns the best paths through those pools whose best paths pay the most, up to `most` pools, and up to `listed` of
    /// the best hops.
    pub(super) fn run(&self, most: usize, listed: usize) -> Found {
        let forward = self.forward();
        let backward = self.backward(&forward.quoted);
        let mut ranked = self.ranked(&forward, &backward);
        let by_price = |one: &(f64, usize), other: &(f64, usize)| {
            let pool = |quote: usize| forward.quoted[quote].hop.edge.pool;
            other.0.total_cmp(&one.0).then_with(|| (pool(one.1), one.1).cmp(&(pool(other.1), other.1)))
        };
        for kept in [most.max(listed), most] {
            if ranked.len() > kept {
                ranked.select_nth_unstable_by(kept, by_price);
            }
            if kept > most {
                ranked.truncate(kept);
            }
        }
        let good = ranked.iter().take(listed).map(|(_, quote)| forward.quoted[*quote].hop).collect();
        ranked.truncate(most);
        ranked.sort_by(by_price);
        let paths = ranked.into_iter().filter_map(|(_, quote)| self.path_through(&forward, &backward, quote));
        Found { paths: paths.collect(), good }
    }

    fn forward(&self) -> Forward {
        let tokens = self.search.pools.graph().len();
        let mut forward =
            Forward { amounts: vec![vec![0.0; tokens]], last: vec![vec![None; tokens]], quoted: Vec::new() };
        forward.amounts[0][self.from] = float(self.amount);
        let mut active = vec![self.from];
        for hops in 1..=self.max_hops {
            let amounts = forward.amounts[hops - 1].clone();
            let mut layer = Layer {
                hops,
                amounts,
                last: vec![None; tokens],
                improved: Vec::new(),
                is_improved: vec![false; tokens],
            };
            for &token in &active {
                self.extend(token, &mut forward, &mut layer);
            }
            forward.amounts.push(layer.amounts);
            forward.last.push(layer.last);
            active = layer.improved;
        }
        forward
    }

    /// Quotes the pools that sell a token, and extends the best way to it through each.
    fn extend(&self, token: usize, forward: &mut Forward, layer: &mut Layer) {
        let mut quote =
            |to: usize, edge: Edge| self.extend_through(Hop { edge, from: token, to }, forward, layer);
        match self.within {
            Some(shortlist) => shortlist.from(token).iter().for_each(|hop| quote(hop.to, hop.edge)),
            None => {
                for neighbour in self.search.pools.graph().neighbours(token) {
                    neighbour.edges.iter().for_each(|edge| quote(neighbour.token, *edge));
                }
            }
        }
    }

    fn extend_through(&self, hop: Hop, forward: &mut Forward, layer: &mut Layer) {
        let Hop { edge, from, to } = hop;
        let before = layer.hops - 1;
        if to == self.from || layer.hops + self.distances[to] > self.max_hops || !self.search.budget.lasts() {
            return;
        }
        let amount_in = forward.amounts[before][from];
        let Some(out) = self.quote(edge, amount_in) else { return };
        forward.quoted.push(Quoted { hop, price: out / amount_in });
        if out > layer.amounts[to] && !forward.passes(from, before, to) {
            let known = forward.amounts[before][to];
            let is_worth_it = out - known > known * WORTH_A_QUOTE;
            if to != self.to && is_worth_it && !layer.is_improved[to] {
                layer.is_improved[to] = true;
                layer.improved.push(to);
            }
            layer.amounts[to] = out;
            layer.last[to] = Some((forward.quoted.len() - 1, before));
        }
    }

    /// Returns what a pool pays for an amount, beside its load.
    fn quote(&self, edge: Edge, amount_in: f64) -> Option<f64> {
        let search = self.search;
        if search.is_excluded(edge.pool) {
            return None;
        }
        search.budget.spend();
        let load = self.loads.of(edge.pool);
        if load.is_some_and(|load| load.hop.edge != edge) {
            return None;
        }
        let (load_in, load_out) = load.map_or((0, 0), |load| (load.amount_in, load.amount_out));
        let out = match search.pools.hyperbola(edge) {
            Some(hyperbola) => {
                let load_in = float(load_in);
                hyperbola.output(load_in + amount_in) - hyperbola.output(load_in)
            }
            None => {
                let total = self.exact(edge, load_in.checked_add(units(amount_in))?)?;
                float(total.checked_sub(load_out)?)
            }
        };
        // What is less than a unit is nothing.
        (out >= 1.0).then_some(out)
    }

    fn exact(&self, edge: Edge, amount_in: u128) -> Option<u128> {
        let Search { pools, at, budget, .. } = self.search;
        let pool = pools.pool(edge);
        let paid = pool.metered_out(edge.direction, Amount::new(amount_in), *at, &**budget);
        if matches!(paid, Err(QuoteError::NotEnoughLiquidity | QuoteError::Overflow)) {
            self.was_full.set(true);
        }
        paid.ok().map(Amount::base_units)
    }

    fn backward(&self, quoted: &[Quoted]) -> Backward {
        let tokens = self.search.pools.graph().len();
        let mut backward = Backward { prices: vec![vec![0.0; tokens]], next: vec![vec![None; tokens]] };
        backward.prices[0][self.to] = 1.0;
        for hops in 1..self.max_hops {
            let mut prices = backward.prices[hops - 1].clone();
            let mut next = vec![None; tokens];
            for (number, Quoted { hop, price }) in quoted.iter().enumerate() {
                let through = price * backward.prices[hops - 1][hop.to];
                if through > prices[hop.from] && !backward.passes(quoted, (hop.to, hops - 1), hop.from) {
                    prices[hop.from] = through;
                    next[hop.from] = Some((number, hops - 1));
                }
            }
            backward.prices.push(prices);
            backward.next.push(next);
        }
        backward
    }

    /// Returns the prices of the best paths through a pool, for each number of hops before and after it.
    fn prices_through(
        &self,
        forward: &Forward,
        backward: &Backward,
        quote: usize,
    ) -> Vec<(f64, usize, usize)> {
        let Quoted { hop, price } = &forward.quoted[quote];
        let mut prices = Vec::new();
        for before in 0..self.max_hops {
            for after in 0..self.max_hops - before {
                let through = forward.amounts[before][hop.from] * price * backward.prices[after][hop.to];
                if through > 0.0 {
                    prices.push((through, before, after));
                }
            }
        }
        prices
    }

    /// Returns the highest price of a path through each pool, and the pool's quote, where there is a path.
    fn ranked(&self, forward: &Forward, backward: &Backward) -> Vec<(f64, usize)> {
        let mut ranked = Vec::with_capacity(forward.quoted.len());
        let mut first = 0;
        for side_by_side in forward.quoted.chunk_by(|one, next| one.hop.is_beside(&next.hop)) {
            // The pools of a pair have all the rest of their paths in common.
            let Hop { from, to, .. } = side_by_side[0].hop;
            let others = (0..self.max_hops)
                .map(|before| forward.amounts[before][from] * backward.prices[self.max_hops - 1 - before][to])
                .fold(0.0, f64::max);
            if others > 0.0 {
                let prices = side_by_side.iter().map(|quoted| others * quoted.price);
                ranked.extend(prices.zip(first..).filter(|(price, _)| *price > 0.0));
            }
            first += side_by_side.len();
        }
        ranked
    }

    /// Returns the best path through a pool that comes to no token twice.
    fn path_through(&self, forward: &Forward, backward: &Backward, quote: usize) -> Option<Vec<Hop>> {
        let hop = forward.quoted[quote].hop;
        let mut prices = self.prices_through(forward, backward, quote);
        prices.sort_by(|one, other| other.0.total_cmp(&one.0));
        prices.into_iter().find_map(|(_, before, after)| {
            let mut path: Vec<Hop> = forward.way_to(hop.from, before).collect();
            path.reverse();
            path.push(hop);
            path.extend(backward.way_from(&forward.quoted, hop.to, after));
            let comes_back = path.iter().enumerate().any(|(position, hop)| {
                hop.to == self.from || path[position + 1..].iter().any(|later| later.to == hop.to)
            });
            (!comes_back).then_some(path)
        })
    }
}

impl Forward {
    /// Returns the hops of the best way to a token in at most so many hops, the last first.
    fn way_to(&self, token: usize, hops: usize) -> impl Iterator<Item = Hop> {
        let mut place = (token, hops);
        std::iter::from_fn(move || {
            // The way in at most so many hops may have fewer.
            while self.last[place.1][place.0].is_none() {
                place.1 = place.1.checked_sub(1)?;
            }
            let (number, before) = self.last[place.1][place.0]?;
            let hop = self.quoted[number].hop;
            place = (hop.from, before);
            Some(hop)
        })
    }

    /// Returns whether the best way to a token passes another one.
    fn passes(&self, token: usize, hops: usize, other: usize) -> bool {
        self.way_to(token, hops).any(|hop| hop.from == other)
    }
}

impl Backward {
    /// Returns the hops of the best way from a token in at most so many hops.
    fn way_from(&self, quoted: &[Quoted], token: usize, hops: usize) -> impl Iterator<Item = Hop> {
        let mut place = (token, hops);
        std::iter::from_fn(move || {
            while self.next[place.1][place.0].is_none() {
                place.1 = place.1.checked_sub(1)?;
            }
            let (number, after) = self.next[place.1][place.0]?;
            let hop = quoted[number].hop;
            place = (hop.to, after);
            Some(hop)
        })
    }

    /// Returns whether the best way from a token passes another one.
    fn passes(&self, quoted: &[Quoted], (token, hops): (usize, usize), other: usize) -> bool {
        self.way_from(quoted, token, hops).any(|hop| hop.to == other)
    }
}

/// Returns the nearest float. The prices of floats only choose candidates.
#[allow(clippy::cast_precision_loss)]
fn float(amount: u128) -> f64 {
    // Most amounts fit 64 bits, which are converted in a tenth of the time.
    u64::try_from(amount).map_or(amount as f64, |short| short as f64)
}

/// Returns the integer part: a cast from float to integer saturates.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn units(amount: f64) -> u128 {
    amount as u128
}
