//! Searches for the best path through the pools, by layers of labels.
//!
//! A layer holds, for each token, the best few amounts that paths of one length lead to, and the next layer
//! extends them. As a larger input never pays less, of all paths to a token through the same tokens only
//! the best can matter. The search keeps more than one label per token because the best path to a token may
//! have passed through a token that its continuation needs.
//!
//! Where legs differ in what they cost and take, the path that pays the most may not be the best, or not fit. Then a second,
//! careful search keeps, beside the best amounts, those whose paths are lighter.

use std::cmp::{Ordering, Reverse};

use order_engine_core::Amount;

use super::{End, Search};
use crate::footprint::Toll;
use crate::net::Rank;
use crate::path::Path;
use crate::pool_set::{Edge, Neighbour};
use crate::price_ceiling::PriceCeiling;
use crate::trade::Direction;

/// Which amount of a trade is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwapMode {
    /// The input. Paths grow from the input token, and the largest output is the best.
    ExactIn,
    /// The output. Paths grow back from the output token, and the smallest input is the best.
    ExactOut,
}

/// A search for the best single path.
#[derive(Debug)]
pub(super) struct PathSearch<'s, 'a> {
    pub(super) search: &'s Search<'a>,
    pub(super) mode: SwapMode,
    /// The token whose amount is given.
    pub(super) from: usize,
    /// The token at the other end.
    pub(super) to: usize,
    pub(super) amount: u128,
    pub(super) min_hops: usize,
    pub(super) max_hops: usize,
    /// An output that is not worth finding a path for, nor is a lower one. It is for an exact input only.
    pub(super) floor: u128,
    /// Whether paths are kept that pay less but are lighter.
    pub(super) is_careful: bool,
}

/// A careful search keeps this many times the labels.
const CAREFUL_LABELS: usize = 8;

/// How good a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Score {
    /// Of an output the highest net.
    ExactIn(Rank),
    /// Of an input and its cost the lowest sum.
    ExactOut(Reverse<u128>),
}

/// The result of a [`PathSearch`].
#[derive(Debug)]
pub(super) struct FoundPath<'a> {
    /// The path from the input to the output token.
    pub(super) path: Path<'a>,
    /// The amount at the other end: the output for an exact input, the input for an exact output.
    pub(super) amount: u128,
    /// Whether the search left out no path that could have been better.
    pub(super) is_proven: bool,
}

/// An amount of a token, and the last swap of the path to it.
#[derive(Clone, Copy, Debug)]
struct Label {
    token: usize,
    amount: u128,
    /// The last swap, and the index of the label that it started from.
    last_swap: Option<(Edge, usize)>,
}

/// The labels of a search.
struct Labels<'s, 'a> {
    search: &'s PathSearch<'s, 'a>,
    /// The labels of all earlier layers.
    known: Vec<Label>,
    /// The labels of the newest layer, by token.
    layer: Vec<Vec<Label>>,
    /// Whether a label was dropped that a longer path might have needed.
    has_dropped: bool,
}

impl<'a> PathSearch<'_, 'a> {
    /// Returns the best path that fits, net of the cost of its legs; of equal ones the shorter, then the one whose
    /// pools' ids come first.
    pub(super) fn best(&self) -> Option<FoundPath<'a>> {
        let mut labels = Labels::new(self);
        let found = labels.layers();
        let mut best: Option<(Score, Label)> = None;
        // The highest score that a path might have: it pays as much as any of its length, and costs as little.
        let mut ceiling = None;
        for (index, label) in found.iter().enumerate().filter_map(|(index, label)| Some((index, (*label)?))) {
            let toll = labels.toll(label);
            let score = self.score(label.amount, &toll);
            ceiling = ceiling.max(Some(self.score(label.amount, &self.search.least_toll().times(index + 1))));
            if self.search.limits.room().admits(&toll) && best.is_none_or(|(most, _)| score > most) {
                best = Some((score, label));
            }
        }
        let is_best = best.map(|(score, _)| score) >= ceiling;
        let is_complete = !labels.has_dropped && self.search.budget.lasts();
        let fast = best.map(|(score, label)| {
            let is_proven = is_complete && (is_best || self.is_careful);
            (score, FoundPath { path: labels.path(label), amount: label.amount, is_proven })
        });
        if self.is_careful || is_best || !self.search.budget.lasts() {
            return fast.map(|(_, found)| found);
        }
        self.carefully(fast)
    }

    /// Returns the better of a known path and the best that a careful search finds.
    fn carefully(&self, known: Option<(Score, FoundPath<'a>)>) -> Option<FoundPath<'a>> {
        // A better path pays more than is left of what this one pays.
        let net = match known {
            Some((Score::ExactIn(rank), _)) => rank.net().gain().base_units(),
            _ => 0,
        };
        let floor = self.floor.max(net);
        let Self { search, mode, from, to, amount, min_hops, max_hops, .. } = *self;
        let careful = Self { search, mode, from, to, amount, min_hops, max_hops, floor, is_careful: true };
        let mut labels = Labels::new(&careful);
        let found = labels.layers();
        let is_proven = !labels.has_dropped && self.search.budget.lasts();
        let scored =
            found.iter().flatten().map(|label| (self.score(label.amount, &labels.toll(*label)), *label));
        let best = scored.reduce(|one, other| if other.0 > one.0 { other } else { one });
        let better = best.filter(|(score, _)| known.as_ref().is_none_or(|(most, _)| score > most));
        match better {
            Some((_, label)) => Some(FoundPath { path: labels.path(label), amount: label.amount, is_proven }),
            None => known.map(|(_, path)| FoundPath { is_proven, ..path }),
        }
    }

    /// Returns whether no path that continues from a label pays more than the best known one, given what its token can
    /// be sold for at most. A path that pays the same has more legs, or it is as long and the labels are compared.
    fn is_beaten(&self, label: Label, ceilings: &[PriceCeiling], best: Option<Label>) -> bool {
        let most = ceilings[label.token].value_of(Amount::new(label.amount));
        // A path with more legs that pays less may still be cheaper or lighter.
        let may_be_lighter = self.is_careful || !self.search.tariff.is_uniform();
        most <= self.floor || (!may_be_lighter && best.is_some_and(|best| most < best.amount))
    }

    /// Returns whether no path over some pools pays more than the floor, given what their output can be sold for at most.
    fn is_below_floor(&self, neighbour: &Neighbour, amount: u128, beyond: PriceCeiling) -> bool {
        self.floor > 0 && {
            let swap = self.search.best_ceiling(&neighbour.edges);
            swap.times(beyond).value_of(Amount::new(amount)) <= self.floor
        }
    }

    /// Orders amounts: the better is the greater.
    fn compare(&self, one: u128, other: u128) -> Ordering {
        match self.mode {
            SwapMode::ExactIn => one.cmp(&other),
            SwapMode::ExactOut => other.cmp(&one),
        }
    }

    fn score(&self, amount: u128, toll: &Toll) -> Score {
        match self.mode {
            SwapMode::ExactIn => Score::ExactIn(Rank::new(amount, toll)),
            SwapMode::ExactOut => Score::ExactOut(Reverse(amount.saturating_add(toll.cost))),
        }
    }

    /// Returns the direction in which a trade from the input to the output token uses an edge.
    fn trade_direction(&self, edge: Edge) -> Direction {
        match self.mode {
            SwapMode::ExactIn => edge.direction,
            SwapMode::ExactOut => edge.direction.reversed(),
        }
    }

    /// Returns the amount at the far end of an edge for an amount at its near end.
    fn evaluate(&self, edge: Edge, amount: u128) -> Option<u128> {
        let Search { pools, at, budget, .. } = self.search;
        budget.spend();
        let (pool, amount, direction) = (pools.pool(edge), Amount::new(amount), self.trade_direction(edge));
        let result = match self.mode {
            SwapMode::ExactIn => pool.metered_out(direction, amount, *at, &**budget),
            SwapMode::ExactOut => pool.metered_in(direction, amount, *at, &**budget),
        };
        result.ok().map(Amount::base_units)
    }

    /// Returns the best of the pools between two tokens, and the amount at its far end.
    fn best_edge(&self, edges: &[Edge], amount: u128) -> Option<(Edge, u128)> {
        let mut best: Option<(Edge, u128)> = None;
        let id = |edge: Edge| &self.search.pools.pool(edge).id;
        for &edge in edges.iter().filter(|edge| !self.search.is_excluded(edge.pool)) {
            let Some(amount) = self.evaluate(edge, amount) else { continue };
            let is_better = best.is_none_or(|(rival, most)| {
                self.compare(amount, most).then_with(|| id(rival).cmp(id(edge))) == Ordering::Greater
            });
            if is_better {
                best = Some((edge, amount));
            }
        }
        best
    }

    /// Returns those of the pools between two tokens of which no other pays as much and is as light, each with the amount at
    /// its far end.
    fn good_edges(&self, edges: &[Edge], amount: u128) -> Vec<(Edge, u128)> {
        let usable = edges.iter().filter(|edge| !self.search.is_excluded(edge.pool));
        let mut quoted: Vec<(Edge, u128)> =
            usable.filter_map(|&edge| Some((edge, self.evaluate(edge, amount)?))).collect();
        let id = |edge: Edge| &self.search.pools.pool(edge).id;
        quoted.sort_by(|one, other| self.compare(other.1, one.1).then_with(|| id(one.0).cmp(id(other.0))));
        let mut good: Vec<(Edge, u128)> = Vec::new();
        for (edge, amount) in quoted {
            let toll = self.search.toll(edge.pool);
            if !good.iter().any(|(better, _)| self.search.toll(better.pool).is_within(&toll)) {
                good.push((edge, amount));
            }
        }
        good
    }
}

impl<'s, 'a> Labels<'s, 'a> {
    fn new(search: &'s PathSearch<'s, 'a>) -> Self {
        let start = Label { token: search.from, amount: search.amount, last_swap: None };
        let layer = vec![Vec::new(); search.search.pools.graph().len()];
        Self { search, known: vec![start], layer, has_dropped: false }
    }

    /// Adds layer after layer. Returns the best label of the last token for each number of hops, from one.
    fn layers(&mut self) -> Vec<Option<Label>> {
        let search = self.search;
        let distances = search.search.pools.graph().distances(search.to, search.max_hops);
        // For each number of hops that remain, the best that a token can be sold for. The first hops reach few tokens, so
        // bounds beyond two hops are not worth their computation.
        let ceilings = match search.mode {
            SwapMode::ExactIn => search.search.ceilings(search.from, search.to, search.max_hops.min(2)),
            SwapMode::ExactOut => Vec::new(),
        };
        let (mut found, mut best) = (Vec::with_capacity(search.max_hops), None::<Label>);
        let mut newest = 0;
        for hops in 1..=search.max_hops {
            let end = self.known.len();
            for label in newest..end {
                // The bounds are of ways that do not come back to the first token, so they say nothing about it.
                let remaining = ceilings.get(search.max_hops + 1 - hops).filter(|_| hops > 1);
                if !remaining.is_some_and(|ceilings| search.is_beaten(self.known[label], ceilings, best)) {
                    let beyond = ceilings.get(search.max_hops - hops).map(Vec::as_slice);
                    self.extend(label, hops, (&distances, beyond));
                }
            }
            newest = end;
            let last = self.layer[search.to].first().copied();
            found.push(last);
            if let Some(last) = last
                && best.is_none_or(|best| search.compare(last.amount, best.amount) == Ordering::Greater)
            {
                best = Some(last);
            }
            self.advance();
        }
        found
    }

    /// Returns what the legs of a path cost and take.
    fn toll(&self, label: Label) -> Toll {
        self.legs(label).map(|(edge, end)| self.search.search.toll_to(edge.pool, end)).sum()
    }

    /// Extends a path by one swap to every token from which the last token is still within reach.
    ///
    /// `beyond` says for each token at most for how much of the last token it can be sold from there.
    fn extend(
        &mut self,
        parent: usize,
        hops: usize,
        (distances, beyond): (&[usize], Option<&[PriceCeiling]>),
    ) {
        let search = self.search;
        let label = self.known[parent];
        for neighbour in search.search.pools.graph().neighbours(label.token) {
            let token = neighbour.token;
            let is_last = token == search.to;
            let has_wrong_length =
                hops + distances[token] > search.max_hops || (is_last && hops < search.min_hops);
            if has_wrong_length || !search.search.budget.lasts() || self.visits(parent, token) {
                continue;
            }
            if beyond.is_some_and(|beyond| search.is_below_floor(neighbour, label.amount, beyond[token])) {
                continue;
            }
            if search.is_careful {
                for (edge, amount) in search.good_edges(&neighbour.edges, label.amount) {
                    self.insert_if_it_fits(
                        Label { token, amount, last_swap: Some((edge, parent)) },
                        distances[token],
                    );
                }
            } else if let Some((edge, amount)) = search.best_edge(&neighbour.edges, label.amount) {
                self.insert(Label { token, amount, last_swap: Some((edge, parent)) });
            }
        }
    }

    /// Keeps a label if its path fits with at least so many more hops, and it is among the best of its token.
    fn insert_if_it_fits(&mut self, label: Label, hops_left: usize) {
        let search = self.search.search;
        let toll = self.toll(label).plus(search.least_toll().times(hops_left));
        if search.limits.room().admits(&toll) {
            self.insert(label);
        }
    }

    /// Returns whether a path visits a token. As every pool trades two tokens, a path that visits no token
    /// twice uses no pool twice.
    fn visits(&self, label: usize, token: usize) -> bool {
        self.back_from(self.known[label]).any(|label| label.token == token)
    }

    /// Returns the labels of a path, the newest first.
    fn back_from(&self, label: Label) -> impl Iterator<Item = Label> {
        std::iter::successors(Some(label), |label| label.last_swap.map(|(_, parent)| self.known[parent]))
    }

    /// Keeps a label if it is among the best of its token, which stay sorted.
    fn insert(&mut self, label: Label) {
        let rivals = &self.layer[label.token];
        let rank = rivals.partition_point(|rival| self.compare(rival, &label) != Ordering::Greater);
        let is_last = label.token == self.search.to;
        // No path continues at the last token, so only the best label matters there.
        let labels = self.search.search.limits.labels_per_token;
        let labels = if self.search.is_careful { labels.saturating_mul(CAREFUL_LABELS) } else { labels };
        let capacity = if is_last { 1 } else { labels };
        self.has_dropped |= !is_last && rivals.len() >= capacity;
        if rank < capacity {
            let rivals = &mut self.layer[label.token];
            rivals.truncate(capacity - 1);
            rivals.insert(rank, label);
        }
    }

    /// Orders the better label first; of equal ones the one whose pools' ids come first.
    fn compare(&self, one: &Label, other: &Label) -> Ordering {
        let score = |label: &Label| self.search.score(label.amount, &self.toll(*label));
        let by_amount = if self.search.is_careful && one.token == self.search.to {
            score(other).cmp(&score(one))
        } else {
            self.search.compare(other.amount, one.amount)
        };
        by_amount.then_with(|| self.path(*one).ids().cmp(self.path(*other).ids()))
    }

    /// Moves the newest layer to the known labels. Labels of the last token are dropped, because no path
    /// continues there.
    fn advance(&mut self) {
        self.layer[self.search.to].clear();
        for labels in &mut self.layer {
            self.known.append(labels);
        }
    }

    /// Returns the swaps of a path and what they buy, the newest first.
    fn legs(&self, label: Label) -> impl Iterator<Item = (Edge, End)> {
        self.back_from(label).filter_map(|label| {
            let (edge, before) = label.last_swap?;
            let end = match self.search.mode {
                SwapMode::ExactIn => End::of(label.token, self.search.to),
                // The path grows back from what it buys.
                SwapMode::ExactOut => End::of(self.known[before].token, self.search.from),
            };
            Some((edge, end))
        })
    }

    /// Returns the path from the input to the output token.
    fn path(&self, label: Label) -> Path<'a> {
        let search = self.search;
        let hop = |(edge, end): (Edge, End)| {
            let direction = search.trade_direction(edge);
            search.search.hop(Edge { direction, ..edge }, end)
        };
        let newest_first = Path::new(self.legs(label).map(hop));
        match self.search.mode {
            SwapMode::ExactIn => newest_first.reversed(),
            SwapMode::ExactOut => newest_first,
        }
    }
}
