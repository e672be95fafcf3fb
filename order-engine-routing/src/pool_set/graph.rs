//! The graph of the tokens that the pools of a set connect.

use std::collections::HashMap;
use std::sync::Arc;

use crate::pool::Pool;
use crate::trade::Direction;

/// A graph of tokens as nodes and pools as edges. Both are numbered, so a search compares no strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    dexes: Vec<String>,
    tokens: HashMap<String, usize>,
    /// For each token, the tokens that it can be sold for, in the order of their numbers.
    neighbours: Vec<Vec<Neighbour>>,
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

impl Graph {
    pub(super) fn new(pools: &[Arc<Pool>]) -> Self {
        let mut graph = Self::default();
        for (index, pool) in pools.iter().enumerate() {
            if !graph.dexes.contains(&pool.dex) {
                graph.dexes.push(pool.dex.clone());
            }
            let (a, b) = (graph.add_token(&pool.token_a), graph.add_token(&pool.token_b));
            if a != b {
                graph.connect(a, b, Edge { pool: index, direction: Direction::AToB });
                graph.connect(b, a, Edge { pool: index, direction: Direction::BToA });
            }
        }
        graph
    }

    /// Returns the number of a token, which it adds if it is new.
    fn add_token(&mut self, mint: &str) -> usize {
        if let Some(&token) = self.tokens.get(mint) {
            return token;
        }
        let token = self.neighbours.len();
        self.tokens.insert(mint.to_owned(), token);
        self.neighbours.push(Vec::new());
        token
    }

    fn connect(&mut self, from: usize, to: usize, edge: Edge) {
        let neighbours = &mut self.neighbours[from];
        match neighbours.binary_search_by_key(&to, |neighbour| neighbour.token) {
            Ok(known) => neighbours[known].edges.push(edge),
            Err(position) => neighbours.insert(position, Neighbour { token: to, edges: vec![edge] }),
        }
    }

    pub(super) fn dexes(&self) -> &[String] {
        &self.dexes
    }

    /// Returns the number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.neighbours.len()
    }

    pub(crate) fn token(&self, mint: &str) -> Option<usize> {
        self.tokens.get(mint).copied()
    }

    pub(crate) fn neighbours(&self, token: usize) -> &[Neighbour] {
        &self.neighbours[token]
    }

    /// Returns the pools that sell one token for another.
    pub(crate) fn edges(&self, from: &str, to: &str) -> &[Edge] {
        let tokens = self.token(from).zip(self.token(to));
        let Some((from, to)) = tokens else { return &[] };
        let neighbours = &self.neighbours[from];
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
                for neighbour in &self.neighbours[token] {
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
