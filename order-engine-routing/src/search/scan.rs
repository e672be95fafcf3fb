//! Scans all pools for those that a good route may use.
//!
//! A scan quotes each pool once or a few times: for the most of its input token that an amount of the order's input
//! buys in at most so many hops. From the prices of these quotes follows, for each pool, the price of the best path
//! through it. Pools whose best paths pay the most are the candidates for a route. As each pool is quoted for an
//! amount, one that only trades dust weighs nothing, whatever its price.

use std::collections::HashMap;

use order_engine_core::Amount;

use super::Search;
use crate::flow::Hop;
use crate::pool_set::Edge;

/// A label that is better by less than one part in this many does not make the search quote all pools of its token
/// again.
const WORTH_A_QUOTE: u128 = 1_000;

/// The loads of pools: for each the direction is that of the edge, with its input and output.
pub(super) type Loads = HashMap<usize, (Edge, u128, u128)>;

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
}

/// A quote of a pool.
struct Quoted {
    hop: Hop,
    price: f64,
}

/// The best way to each token in at most so many hops.
struct Forward {
    /// For each number of hops and each token, the amount; zero if there is no way.
    amounts: Vec<Vec<u128>>,
    /// For each number of hops and each token, the quote of the last hop, and the number of hops before it.
    last: Vec<Vec<Option<(usize, usize)>>>,
    quoted: Vec<Quoted>,
}

/// The best way from each token to the output in at most so many hops.
struct Backward {
    prices: Vec<Vec<f64>>,
    next: Vec<Vec<Option<(usize, usize)>>>,
}

impl Scan<'_, '_> {
    /// Returns the best paths through those pools whose best paths pay the most, up to `most` pools, the best first.
    pub(super) fn run(&self, most: usize) -> Vec<Vec<Hop>> {
        let forward = self.forward();
        let backward = self.backward(&forward.quoted);
        let mut ranked: Vec<(f64, usize, usize)> = (0..forward.quoted.len())
            .filter_map(|quote| {
                let (price, hops) = self.price_through(&forward, &backward, quote)?;
                Some((price, quote, hops))
            })
            .collect();
        let by_price = |one: &(f64, usize, usize), other: &(f64, usize, usize)| {
            other.0.total_cmp(&one.0).then_with(|| {
                let pool = |quote: usize| forward.quoted[quote].hop.edge.pool;
                (pool(one.1), one.1).cmp(&(pool(other.1), other.1))
            })
        };
        if ranked.len() > most {
            ranked.select_nth_unstable_by(most, by_price);
            ranked.truncate(most);
        }
        ranked.sort_by(by_price);
        ranked
            .into_iter()
            .filter_map(|(_, quote, hops)| self.path_through(&forward, &backward, quote, hops))
            .collect()
    }

    fn forward(&self) -> Forward {
        let graph = self.search.pools.graph();
        let tokens = graph.len();
        let mut forward =
            Forward { amounts: vec![vec![0; tokens]], last: vec![vec![None; tokens]], quoted: Vec::new() };
        forward.amounts[0][self.from] = self.amount;
        let mut active = vec![self.from];
        for hops in 1..=self.max_hops {
            let (mut amounts, mut last) = (forward.amounts[hops - 1].clone(), vec![None; tokens]);
            let mut improved = Vec::new();
            for &token in &active {
                let amount_in = forward.amounts[hops - 1][token];
                for neighbour in graph.neighbours(token) {
                    let to = neighbour.token;
                    if to == self.from || hops + self.distances[to] > self.max_hops {
                        continue;
                    }
                    for &edge in &neighbour.edges {
                        if !self.search.budget.lasts() {
                            continue;
                        }
                        let Some(out) = self.quote(edge, amount_in) else { continue };
                        let hop = Hop { edge, from: token, to };
                        forward.quoted.push(Quoted { hop, price: ratio(out, amount_in) });
                        if out > amounts[to] {
                            let known = forward.amounts[hops - 1][to];
                            if to != self.to && out - known > known / WORTH_A_QUOTE && !improved.contains(&to)
                            {
                                improved.push(to);
                            }
                            amounts[to] = out;
                            last[to] = Some((forward.quoted.len() - 1, hops - 1));
                        }
                    }
                }
            }
            forward.amounts.push(amounts);
            forward.last.push(last);
            active = improved;
        }
        forward
    }

    /// Returns what a pool pays for an amount, beside its load.
    fn quote(&self, edge: Edge, amount_in: u128) -> Option<u128> {
        let search = self.search;
        if search.is_excluded(edge.pool) {
            return None;
        }
        search.budget.spend();
        let pay = |amount: u128| {
            let pool = search.pools.pool(edge);
            pool.metered_out(edge.direction, Amount::new(amount), search.at, &search.budget).ok()
        };
        let Some((loaded, load_in, load_out)) = self.loads.get(&edge.pool) else {
            return pay(amount_in).map(Amount::base_units);
        };
        if *loaded != edge {
            return None;
        }
        pay(load_in.checked_add(amount_in)?)?.base_units().checked_sub(*load_out).filter(|out| *out > 0)
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
                if through > prices[hop.from] {
                    prices[hop.from] = through;
                    next[hop.from] = Some((number, hops - 1));
                }
            }
            backward.prices.push(prices);
            backward.next.push(next);
        }
        backward
    }

    /// Returns the price of the best path through a pool, and how many hops it has before the pool.
    fn price_through(&self, forward: &Forward, backward: &Backward, quote: usize) -> Option<(f64, usize)> {
        let Quoted { hop, price } = &forward.quoted[quote];
        let through = |hops: usize| {
            let before = ratio(forward.amounts[hops][hop.from], self.amount);
            before * price * backward.prices[self.max_hops - 1 - hops][hop.to]
        };
        let best = (0..self.max_hops).map(|hops| (through(hops), hops));
        best.filter(|(price, _)| *price > 0.0)
            .max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.cmp(&one.1)))
    }

    /// Returns the best path through a pool, unless it comes to a token twice.
    fn path_through(
        &self,
        forward: &Forward,
        backward: &Backward,
        quote: usize,
        hops_before: usize,
    ) -> Option<Vec<Hop>> {
        let hop = forward.quoted[quote].hop;
        let mut path = vec![hop];
        let (mut token, mut hops) = (hop.from, hops_before);
        while token != self.from {
            // The way in at most so many hops may have fewer.
            while forward.last[hops][token].is_none() {
                hops = hops.checked_sub(1)?;
            }
            let (number, before) = forward.last[hops][token]?;
            let known = forward.quoted[number].hop;
            path.push(known);
            (token, hops) = (known.from, before);
        }
        path.reverse();
        (token, hops) = (hop.to, self.max_hops - 1 - hops_before);
        while token != self.to {
            while backward.next[hops][token].is_none() {
                hops = hops.checked_sub(1)?;
            }
            let (number, after) = backward.next[hops][token]?;
            let known = forward.quoted[number].hop;
            path.push(known);
            (token, hops) = (known.to, after);
        }
        let comes_back = path.iter().enumerate().any(|(position, hop)| {
            hop.to == self.from || path[position + 1..].iter().any(|later| later.to == hop.to)
        });
        (!comes_back).then_some(path)
    }
}

#[allow(clippy::cast_precision_loss)] // The prices only choose candidates.
fn ratio(out: u128, amount_in: u128) -> f64 {
    out as f64 / amount_in as f64
}
