//! The best path through the pools, by layers of labels.
//!
//! A layer holds, for each token, the best few amounts that paths of one length bring there, and
//! grows the next layer from them. As more in is never less out, of all paths to a token with the
//! same tokens on the way only the best can matter; more than one label is kept because the best
//! path to a token may have passed through one that its continuation needs.

use std::cmp::Ordering;

use order_engine_core::Amount;

use crate::budget::Budget;
use crate::lane::{Hop, Lane, MAX_HOPS};
use crate::source::{Edge, PoolSet};
use crate::trade::Moment;

/// Which end of a trade is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sense {
    /// Paths grow from the input token, and the largest output is the best.
    ExactIn,
    /// Paths grow back from the output token, and the smallest input is the best.
    ExactOut,
}

/// What to look for.
#[derive(Debug)]
pub(crate) struct PathSearch<'s, 'a> {
    pub(crate) pools: &'a PoolSet,
    pub(crate) at: Moment,
    pub(crate) sense: Sense,
    /// The token whose amount is given, and the token at the other end.
    pub(crate) ends: (usize, usize),
    pub(crate) amount: u128,
    pub(crate) leg_cost: u128,
    /// The fewest and the most.
    pub(crate) hops: (usize, usize),
    pub(crate) labels_per_token: usize,
    /// By pool: those not to use.
    pub(crate) banned: &'s [bool],
    pub(crate) budget: &'s Budget<'s>,
}

/// The best path that was found.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    /// From the input to the output token.
    pub(crate) lane: Lane<'a>,
    /// The pools that it uses.
    pub(crate) edges: Vec<Edge>,
    /// What comes out, or must go in.
    pub(crate) amount: u128,
    /// Whether nothing was left out that could have been better.
    pub(crate) is_proven: bool,
}

/// An amount of a token, and how it got there.
#[derive(Clone, Copy, Debug)]
struct Label {
    token: usize,
    amount: u128,
    /// The last swap, and the label that it started from.
    step: Option<(Edge, usize)>,
}

/// The labels of a search: those of earlier layers, which lead to one another, and of one token
/// after the other those of the newest.
struct Labels<'s, 'a> {
    search: &'s PathSearch<'s, 'a>,
    known: Vec<Label>,
    layer: Vec<Vec<Label>>,
    /// Whether a label was dropped that a longer path might have needed.
    is_cut: bool,
}

impl<'a> PathSearch<'_, 'a> {
    /// The best path net of its legs' costs; of equal ones the shorter, then the one whose pools'
    /// ids come first.
    pub(crate) fn best(&self) -> Option<Path<'a>> {
        let graph = self.pools.graph();
        let ((from, to), (_, max_hops)) = (self.ends, self.hops);
        let away = graph.distances(to, max_hops);
        let start = Label { token: from, amount: self.amount, step: None };
        let mut labels =
            Labels { search: self, known: vec![start], layer: vec![Vec::new(); graph.len()], is_cut: false };
        let mut best: Option<(Label, usize)> = None;
        let mut newest = 0;
        for hops in 1..=max_hops.min(MAX_HOPS) {
            let end = labels.known.len();
            for label in newest..end {
                labels.grow(label, hops, &away);
            }
            newest = end;
            if let Some(&found) = labels.layer[to].first()
                && best.is_none_or(|(known, length)| self.net(found, hops) > self.net(known, length))
            {
                best = Some((found, hops));
            }
            labels.advance();
        }
        let (label, _) = best?;
        let is_proven = !labels.is_cut && self.budget.lasts();
        let edges = labels.edges(label).collect();
        Some(Path { lane: labels.lane(label), edges, amount: label.amount, is_proven })
    }

    /// How good an amount is: the larger, the better.
    fn score(&self, amount: u128) -> u128 {
        match self.sense {
            Sense::ExactIn => amount,
            Sense::ExactOut => u128::MAX - amount,
        }
    }

    fn net(&self, label: Label, hops: usize) -> u128 {
        self.score(label.amount).saturating_sub(self.leg_cost.saturating_mul(hops as u128))
    }

    /// An edge as a trade from the input to the output token goes through it.
    fn along(&self, edge: Edge) -> Edge {
        match self.sense {
            Sense::ExactIn => edge,
            Sense::ExactOut => Edge { direction: edge.direction.reversed(), ..edge },
        }
    }

    /// What a pool makes of an amount at the near end.
    fn evaluate(&self, edge: Edge, amount: u128) -> Option<u128> {
        self.budget.spend();
        let (pool, amount) = (self.pools.pool(edge), Amount::new(amount));
        let direction = self.along(edge).direction;
        let there = match self.sense {
            Sense::ExactIn => pool.amount_out(direction, amount, self.at),
            Sense::ExactOut => pool.amount_in(direction, amount, self.at),
        };
        there.ok().map(Amount::base_units)
    }

    /// The best of the pools between two tokens.
    fn best_edge(&self, edges: &[Edge], amount: u128) -> Option<(Edge, u128)> {
        let mut best: Option<(Edge, u128)> = None;
        for &edge in edges.iter().filter(|edge| !self.banned[edge.pool]) {
            let Some(amount) = self.evaluate(edge, amount) else { continue };
            let is_better = best.is_none_or(|(rival, most)| {
                let by_id = || self.pools.pool(rival).id.cmp(&self.pools.pool(edge).id);
                self.score(amount).cmp(&self.score(most)).then_with(by_id) == Ordering::Greater
            });
            if is_better {
                best = Some((edge, amount));
            }
        }
        best
    }
}

impl<'a> Labels<'_, 'a> {
    /// Extends a path by one swap to every token from which the end can still be reached.
    fn grow(&mut self, parent: usize, hops: usize, away: &[usize]) {
        let search = self.search;
        let label = self.known[parent];
        let ((_, to), (min_hops, max_hops)) = (search.ends, search.hops);
        for neighbour in search.pools.graph().neighbours(label.token) {
            let token = neighbour.token;
            let is_end = token == to;
            let is_out_of_reach = hops + away[token] > max_hops || (is_end && hops < min_hops);
            if is_out_of_reach || !search.budget.lasts() || self.passes(parent, token) {
                continue;
            }
            if let Some((edge, amount)) = search.best_edge(&neighbour.edges, label.amount) {
                self.insert(Label { token, amount, step: Some((edge, parent)) });
            }
        }
    }

    /// Whether a path has been at a token. As every pool trades two tokens, a path that visits no
    /// token twice uses no pool twice.
    fn passes(&self, label: usize, token: usize) -> bool {
        self.back_from(self.known[label]).any(|label| label.token == token)
    }

    /// The labels of a path, from its newest to its first.
    fn back_from(&self, label: Label) -> impl Iterator<Item = Label> {
        std::iter::successors(Some(label), |label| label.step.map(|(_, parent)| self.known[parent]))
    }

    /// Keeps a label if it is among the best of its token, which stay sorted.
    fn insert(&mut self, label: Label) {
        let rivals = &self.layer[label.token];
        let place = rivals.partition_point(|rival| self.compare(rival, &label) != Ordering::Greater);
        let is_end = label.token == self.search.ends.1;
        // Only the best counts where paths end.
        let room = if is_end { 1 } else { self.search.labels_per_token };
        self.is_cut |= !is_end && rivals.len() >= room;
        if place < room {
            let rivals = &mut self.layer[label.token];
            rivals.truncate(room - 1);
            rivals.insert(place, label);
        }
    }

    /// The better first; of equal ones that whose pools' ids come first.
    fn compare(&self, one: &Label, other: &Label) -> Ordering {
        let score = |label: &Label| self.search.score(label.amount);
        score(other).cmp(&score(one)).then_with(|| self.lane(*one).ids().cmp(self.lane(*other).ids()))
    }

    /// Makes the newest layer known, and room for the next. No path continues at the end.
    fn advance(&mut self) {
        self.layer[self.search.ends.1].clear();
        for labels in &mut self.layer {
            self.known.append(labels);
        }
    }

    /// The swaps of a path, the newest first.
    fn edges(&self, label: Label) -> impl Iterator<Item = Edge> {
        self.back_from(label).filter_map(|label| label.step).map(|(edge, _)| edge)
    }

    fn lane(&self, label: Label) -> Lane<'a> {
        let hop = |edge: Edge| {
            let Edge { direction, .. } = self.search.along(edge);
            Hop { pool: self.search.pools.pool(edge), direction }
        };
        let lane = Lane::new(self.edges(label).map(hop));
        match self.search.sense {
            Sense::ExactIn => lane.reversed(),
            Sense::ExactOut => lane,
        }
    }
}
