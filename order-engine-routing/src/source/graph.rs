//! Which tokens the pools of a set connect.

use std::collections::HashMap;
use std::sync::Arc;

use crate::pool::Pool;
use crate::trade::Direction;

/// Tokens as nodes, pools as edges. Both are numbered, so a search compares no texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    dexes: Vec<String>,
    tokens: HashMap<String, usize>,
    /// For each token those that it can be sold for, in the order of their numbers.
    neighbours: Vec<Vec<Neighbour>>,
}

/// A token, and the pools that lead there.
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
            let (a, b) = (graph.enter(&pool.token_a), graph.enter(&pool.token_b));
            if a != b {
                graph.connect(a, b, Edge { pool: index, direction: Direction::AToB });
                graph.connect(b, a, Edge { pool: index, direction: Direction::BToA });
            }
        }
        graph
    }

    fn enter(&mut self, mint: &str) -> usize {
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
            Err(place) => neighbours.insert(place, Neighbour { token: to, edges: vec![edge] }),
        }
    }

    pub(super) fn dexes(&self) -> &[String] {
        &self.dexes
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.neighbours.len()
    }

    pub(crate) fn token(&self, mint: &str) -> Option<usize> {
        self.tokens.get(mint).copied()
    }

    pub(crate) fn neighbours(&self, token: usize) -> &[Neighbour] {
        &self.neighbours[token]
    }

    /// The pools that sell one token for another.
    pub(crate) fn edges(&self, from: &str, to: &str) -> &[Edge] {
        let tokens = self.token(from).zip(self.token(to));
        let Some((from, to)) = tokens else { return &[] };
        let neighbours = &self.neighbours[from];
        let found = neighbours.binary_search_by_key(&to, |neighbour| neighbour.token);
        found.map_or(&[], |found| &neighbours[found].edges)
    }

    /// How many hops every token is away from one, up to `most`; beyond that, `most + 1`. Pools
    /// trade either way, so this is also the way back.
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
