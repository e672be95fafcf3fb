//! The graph of the tokens that the pools of a set connect.

use std::sync::Arc;

use super::chunked::Chunked;
use super::names::Names;
use crate::pool::Pool;
use crate::trade::Direction;

/// A graph of tokens as nodes and pools as edges. Both are numbered, so a search compares no strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// The exchanges, and how many pools each has.
    dexes: Vec<(String, usize)>,
    tokens: Names,
    /// For each token, the tokens that it can be sold for, in the order of their numbers.
    neighbours: Chunked<Arc<Vec<Neighbour>>>,
}

/// A token that another one can be sold for, and the pools that do it.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    pub(crate) token: usize,
    pub(crate) edges: Vec<Edge>,
}

/// A pool in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) pool: usize,
    pub(crate) direction: Direction,
}

impl Edge {
    /// Returns the same pool in the other direction.
    pub(crate) const fn reversed(self) -> Self {
        Self { pool: self.pool, direction: self.direction.reversed() }
    }
}

impl Graph {
    /// Adds a pool with this number.
    pub(super) fn add(&mut self, number: usize, pool: &Pool) {
        match self.dexes.iter_mut().find(|(dex, _)| *dex == pool.dex) {
            Some((_, pools)) => *pools += 1,
            None => self.dexes.push((pool.dex.clone(), 1)),
        }
        let (a, b) = (self.add_token(&pool.token_a), self.add_token(&pool.token_b));
        if a != b {
            self.connect(a, b, Edge { pool: number, direction: Direction::AToB });
            self.connect(b, a, Edge { pool: number, direction: Direction::BToA });
        }
    }

    /// Removes the pool with this number.
    pub(super) fn remove(&mut self, number: usize, pool: &Pool) {
        if let Some((_, pools)) = self.dexes.iter_mut().find(|(dex, _)| *dex == pool.dex) {
            *pools -= 1;
        }
        self.dexes.retain(|(_, pools)| *pools > 0);
        if let Some((a, b)) = self.token(&pool.token_a).zip(self.token(&pool.token_b)) {
            self.disconnect(a, b, number);
            self.disconnect(b, a, number);
        }
    }

    /// Returns the number of a token, which it adds if it is new.
    fn add_token(&mut self, mint: &str) -> usize {
        let (token, is_new) = self.tokens.add(mint);
        if is_new {
            self.neighbours.push(Arc::default());
        }
        token
    }

    fn connect(&mut self, from: usize, to: usize, edge: Edge) {
        let neighbours = Arc::make_mut(self.neighbours.get_mut(from));
        match neighbours.binary_search_by_key(&to, |neighbour| neighbour.token) {
            Ok(known) => neighbours[known].edges.push(edge),
            Err(position) => neighbours.insert(position, Neighbour { token: to, edges: vec![edge] }),
        }
    }

    fn disconnect(&mut self, from: usize, to: usize, pool: usize) {
        let neighbours = Arc::make_mut(self.neighbours.get_mut(from));
        if let Ok(known) = neighbours.binary_search_by_key(&to, |neighbour| neighbour.token) {
            neighbours[known].edges.retain(|edge| edge.pool != pool);
            if neighbours[known].edges.is_empty() {
                neighbours.remove(known);
            }
        }
    }

    pub(super) fn dexes(&self) -> impl Iterator<Item = &str> {
        self.dexes.iter().map(|(dex, _)| dex.as_str())
    }

    /// Returns the number of tokens.
    pub(crate) const fn len(&self) -> usize {
        self.neighbours.len()
    }

    pub(crate) fn token(&self, mint: &str) -> Option<usize> {
        self.tokens.find(mint)
    }

    pub(crate) fn neighbours(&self, token: usize) -> &[Neighbour] {
        self.neighbours.get(token)
    }

    /// Returns the pools that sell one token for another.
    pub(crate) fn edges(&self, from: &str, to: &str) -> &[Edge] {
        let tokens = self.token(from).zip(self.token(to));
        tokens.map_or(&[], |(from, to)| self.edges_between(from, to))
    }

    /// Returns the pools that sell one token for another, by their numbers.
    pub(crate) fn edges_between(&self, from: usize, to: usize) -> &[Edge] {
        let neighbours = self.neighbours(from);
        let found = neighbours.binary_search_by_key(&to, |neighbour| neighbour.token);
        found.map_or(&[], |found| &neighbours[found].edges)
    }

    /// Returns for every token its distance from one token in hops, up to `most`; beyond that, `most + 1`.
    /// Pools trade both ways, so the distance back is the same.
    pub(crate) fn distances(&self, from: usize, most: usize) -> Vec<usize> {
        let mut distances = vec![most + 1; self.len()];
        distances[from] = 0;
        let mut frontier = vec![from];
        for distance in 1..=most {
            let mut next = Vec::new();
            for token in frontier {
                for neighbour in self.neighbours(token) {
                    if distances[neighbour.token] > distance {
                        distances[neighbour.token] = distance;
                        next.push(neighbour.token);
                    }
                }
            }
            frontier = next;
        }
        distances
    }
}
