//! The part of the graph through which a flow may go: some pools, each in one direction, without a cycle.

use std::cmp::Reverse;

use crate::footprint::Toll;
use crate::pool::Pool;
use crate::pool_set::Edge;
use crate::trade::Direction;

/// The most tokens of a network, because sets of tokens are the bits of a number.
const MOST_TOKENS: usize = 64;

/// A pool that trades one token for another, by the numbers that these have in the graph of all pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) edge: Edge,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Hop {
    /// Returns whether two hops have both tokens in common.
    pub(crate) const fn is_beside(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to
    }
}

/// A pool in one direction between two tokens of the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arc<'a> {
    pub(super) pool: &'a Pool,
    pub(super) direction: Direction,
    /// The token that goes in, by its number in the network.
    pub(super) from: usize,
    /// The token that comes out, by its number in the network.
    pub(super) to: usize,
    /// The number of the pool in the set of all pools.
    pub(super) number: usize,
    /// What a leg through the pool costs and takes.
    pub(super) toll: Toll,
}

/// Pools, each in one direction, such that no way leads back to a token.
#[derive(Debug)]
pub(crate) struct Network<'a> {
    /// The tokens, by their numbers in the graph of all pools. The first is the input, the second the output.
    tokens: Vec<usize>,
    /// The pools, those that sell a token after all that buy it.
    arcs: Vec<Arc<'a>>,
    /// The numbers of the pools in the set of all pools, in their order, and the arc of each.
    by_pool: Vec<(usize, usize)>,
}

/// A network to which paths are added.
#[derive(Debug)]
pub(crate) struct NetworkBuilder<'a> {
    tokens: Vec<usize>,
    arcs: Vec<Arc<'a>>,
    by_pool: Vec<(usize, usize)>,
    /// For each token, the tokens that can be reached from it, itself included.
    reach: Vec<u64>,
    most_arcs: usize,
}

/// The number of the input token.
pub(super) const INPUT: usize = 0;
/// The number of the output token.
pub(super) const OUTPUT: usize = 1;

impl<'a> NetworkBuilder<'a> {
    /// Returns a network without pools from one token to another.
    pub(crate) fn new(input: usize, output: usize, most_arcs: usize) -> Self {
        Self {
            tokens: vec![input, output],
            arcs: Vec::with_capacity(most_arcs),
            by_pool: Vec::with_capacity(most_arcs),
            reach: vec![1 << INPUT, 1 << OUTPUT],
            most_arcs,
        }
    }

    /// Adds the pools of a path that are not in the network yet. A path that would close a cycle is not added, nor is
    /// one for which there is no room. Returns whether the path leads in no circle with others.
    pub(crate) fn add_path(&mut self, path: &[Hop], pool: impl Fn(&Hop) -> (&'a Pool, Toll)) -> bool {
        let mut added = Vec::with_capacity(path.len());
        for hop in path {
            match find(&self.by_pool, hop.edge.pool) {
                Some(arc) if self.arcs[arc].direction != hop.edge.direction => return false,
                Some(_) => {}
                None => added.push(*hop),
            }
        }
        let tokens = self.tokens.len() + path.len();
        let has_room = self.arcs.len() + added.len() <= self.most_arcs && tokens <= MOST_TOKENS;
        if added.is_empty() || !has_room {
            return true;
        }
        let (arcs, tokens, reach) = (self.arcs.len(), self.tokens.len(), self.reach.clone());
        for hop in &added {
            let (from, to) = (self.token(hop.from), self.token(hop.to));
            if self.reach[to] >> from & 1 == 1 {
                // The path closes a cycle, so none of it stays.
                self.arcs.truncate(arcs);
                self.tokens.truncate(tokens);
                self.reach = reach;
                return false;
            }
            let gained = self.reach[to];
            for known in self.reach.iter_mut().filter(|known| **known >> from & 1 == 1) {
                *known |= gained;
            }
            let Edge { pool: number, direction } = hop.edge;
            let (pool, toll) = pool(hop);
            self.arcs.push(Arc { pool, direction, from, to, number, toll });
        }
        for arc in arcs..self.arcs.len() {
            let number = self.arcs[arc].number;
            let place = self.by_pool.partition_point(|(known, _)| *known < number);
            self.by_pool.insert(place, (number, arc));
        }
        true
    }

    /// Returns the number of a token in the network, to which it adds it.
    fn token(&mut self, number: usize) -> usize {
        if let Some(known) = self.tokens.iter().position(|known| *known == number) {
            return known;
        }
        let token = self.tokens.len();
        self.tokens.push(number);
        self.reach.push(1 << token);
        token
    }

    /// Returns the network with all paths that were added.
    pub(crate) fn build(self) -> Network<'a> {
        let Self { tokens, mut arcs, reach, mut by_pool, .. } = self;
        // A token from which more can be reached comes before those that it reaches.
        arcs.sort_by_key(|arc| (Reverse(reach[arc.from].count_ones()), arc.from));
        by_pool.clear();
        by_pool.extend(arcs.iter().enumerate().map(|(position, arc)| (arc.number, position)));
        by_pool.sort_unstable();
        Network { tokens, arcs, by_pool }
    }
}

impl<'a> Network<'a> {
    /// Returns the arcs in an order in which those that sell a token come after all that buy it.
    pub(super) fn arcs(&self) -> &[Arc<'a>] {
        &self.arcs
    }

    /// Returns the arcs that sell each token, and the place of the first of them.
    pub(super) fn sellers(&self) -> impl Iterator<Item = (usize, &[Arc<'a>])> {
        let mut next = 0;
        self.arcs.chunk_by(|one, next| one.from == next.from).map(move |selling| {
            let first = next;
            next += selling.len();
            (first, selling)
        })
    }

    /// Returns the number in the network of a token of the graph.
    pub(super) fn number(&self, token: usize) -> Option<usize> {
        self.tokens.iter().position(|known| *known == token)
    }

    /// Returns the tokens on the way that several pools sell.
    pub(super) fn forks(&self) -> impl Iterator<Item = usize> + use<> {
        let mut sellers = vec![0_usize; self.tokens.len()];
        for arc in &self.arcs {
            sellers[arc.from] += 1;
        }
        (OUTPUT + 1..sellers.len()).filter(move |token| sellers[*token] > 1)
    }

    /// Returns the number of tokens.
    pub(super) const fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Returns the number of pools.
    pub(crate) const fn len(&self) -> usize {
        self.arcs.len()
    }

    /// Returns whether another network has all pools of this one, in the same directions.
    pub(crate) fn is_part_of(&self, other: &Self) -> bool {
        (0..self.len()).all(|arc| other.arc(self.hop(arc).edge).is_some())
    }

    /// Returns all arcs by the numbers of the graph of all pools.
    pub(crate) fn hops(&self) -> impl Iterator<Item = Hop> {
        (0..self.len()).map(|arc| self.hop(arc))
    }

    /// Returns an arc by the numbers of the graph of all pools.
    pub(crate) fn hop(&self, arc: usize) -> Hop {
        let Arc { number, direction, from, to, .. } = self.arcs[arc];
        Hop { edge: Edge { pool: number, direction }, from: self.tokens[from], to: self.tokens[to] }
    }

    /// Returns the arc of a pool in one direction.
    pub(crate) fn arc(&self, edge: Edge) -> Option<usize> {
        find(&self.by_pool, edge.pool).filter(|arc| self.arcs[*arc].direction == edge.direction)
    }
}

/// Returns the arc of a pool.
fn find(by_pool: &[(usize, usize)], pool: usize) -> Option<usize> {
    let found = by_pool.binary_search_by_key(&pool, |(number, _)| *number);
    found.ok().map(|place| by_pool[place].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{ConstantProduct, Curve};
    use crate::fee::Fee;
    use order_engine_core::Amount;

    fn hop(pool: usize, from: usize, to: usize) -> Hop {
        Hop { edge: Edge { pool, direction: Direction::AToB }, from, to }
    }

    #[test]
    fn a_path_that_closes_a_cycle_leaves_nothing_behind() {
        let reserve = Amount::new(1_000);
        let curve = Curve::ConstantProduct(ConstantProduct::new(reserve, reserve, Fee::NONE).unwrap());
        let pool = Pool::new("p", "d", ("a", "b"), curve);
        let mut network = NetworkBuilder::new(10, 11, 8);
        network.add_path(&[hop(0, 10, 12), hop(1, 12, 13), hop(2, 13, 11)], |_| (&pool, Toll::default()));
        network.add_path(&[hop(3, 10, 13), hop(4, 13, 12), hop(5, 12, 11)], |_| (&pool, Toll::default()));
        assert_eq!((network.arcs.len(), network.tokens.len()), (3, 4));
        network.add_path(&[hop(6, 10, 13), hop(2, 13, 11)], |_| (&pool, Toll::default()));
        network.add_path(
            &[hop(7, 10, 14), hop(8, 14, 15), hop(9, 15, 16), hop(10, 16, 12), hop(1, 12, 13)],
            |_| (&pool, Toll::default()),
        );
        assert_eq!(network.arcs.len(), 8, "shared pools need no room");
        network.add_path(&[hop(11, 10, 11)], |_| (&pool, Toll::default()));
        assert_eq!(network.arcs.len(), 8, "there is no room");
        let order: Vec<usize> = network.build().hops().map(|hop| hop.edge.pool).collect();
        assert_eq!(order, [0, 6, 7, 8, 9, 10, 1, 2]);
    }
}
