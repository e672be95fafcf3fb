//! An upper bound of what any flow through constant-product pools can pay, by the dual problem.
//!
//! Give each token a price, the output's being one. Whatever the prices, no flow pays more than the input's value and the
//! most that each pool by itself could gain at these prices. The bound is tight at the prices that make it the least.

use std::collections::BTreeMap;

use order_engine_routing::{Curve, Direction, Pool};

/// How often the price of each token is improved.
const SWEEPS: usize = 400;
/// The steps of each bisection of a price.
const BISECTIONS: usize = 44;

/// A pool in one direction: it pays `price · x / (1 + bend · x)`.
struct Arc {
    from: usize,
    to: usize,
    price: f64,
    bend: f64,
}

impl Arc {
    /// Returns the input with which the pool gains the most at these prices.
    fn best_input(&self, prices: &[f64]) -> f64 {
        let gain = self.price * prices[self.to] / prices[self.from];
        if gain > 1.0 { (gain.sqrt() - 1.0) / self.bend } else { 0.0 }
    }

    fn output(&self, amount_in: f64) -> f64 {
        self.price * amount_in / (1.0 + self.bend * amount_in)
    }
}

/// The pools of constant product between numbered tokens. The first is the input, the second the output.
pub struct Dual {
    arcs: Vec<Arc>,
    tokens: usize,
    amount: f64,
}

#[allow(clippy::cast_precision_loss)]
impl Dual {
    pub fn new<'p>(
        pools: impl Iterator<Item = &'p Pool>,
        (input, output): (&'p str, &'p str),
        amount: u128,
    ) -> Self {
        let mut numbers = BTreeMap::from([(input, 0), (output, 1)]);
        let mut arcs = Vec::new();
        for pool in pools {
            let Curve::ConstantProduct(curve) = &pool.curve else { panic!("another curve") };
            let (a, b) = curve.reserves();
            let (fee, whole) = curve.fee().parts();
            let kept = 1.0 - fee as f64 / whole as f64;
            for direction in Direction::BOTH {
                let sides = match direction {
                    Direction::AToB => ((&pool.token_a, a), (&pool.token_b, b)),
                    Direction::BToA => ((&pool.token_b, b), (&pool.token_a, a)),
                };
                let mut number = |token: &'p str| {
                    let next = numbers.len();
                    *numbers.entry(token).or_insert(next)
                };
                let (from, to) = (number(sides.0.0), number(sides.1.0));
                let bend = kept / sides.0.1.base_units() as f64;
                let price = bend * sides.1.1.base_units() as f64;
                // No flow leads out of the output or into the input.
                if from != 1 && to != 0 {
                    arcs.push(Arc { from, to, price, bend });
                }
            }
        }
        Self { arcs, tokens: numbers.len(), amount: amount as f64 }
    }

    /// Returns the bound at these prices.
    fn value(&self, prices: &[f64]) -> f64 {
        let gain = |arc: &Arc| {
            let amount_in = arc.best_input(prices);
            prices[arc.to] * arc.output(amount_in) - prices[arc.from] * amount_in
        };
        prices[0] * self.amount + self.arcs.iter().map(gain).sum::<f64>()
    }

    /// Returns how much more of a token flows in than out at these prices.
    fn surplus(&self, token: usize, adjacent: &[usize], prices: &[f64]) -> f64 {
        let mut sum = if token == 0 { self.amount } else { 0.0 };
        for arc in adjacent.iter().map(|&arc| &self.arcs[arc]) {
            let amount_in = arc.best_input(prices);
            sum += if arc.to == token { arc.output(amount_in) } else { -amount_in };
        }
        sum
    }

    /// Returns the least bound that is found.
    pub fn bound(&self) -> f64 {
        let adjacent: Vec<Vec<usize>> = (0..self.tokens)
            .map(|token| {
                (0..self.arcs.len())
                    .filter(|&arc| self.arcs[arc].from == token || self.arcs[arc].to == token)
                    .collect()
            })
            .collect();
        let mut prices = self.spot_prices();
        let mut best = self.value(&prices);
        for _ in 0..SWEEPS {
            for token in (0..self.tokens).filter(|&token| token != 1) {
                let (mut low, mut high) = (prices[token] / 4.0, prices[token] * 4.0);
                for _ in 0..BISECTIONS {
                    let middle = f64::midpoint(low, high);
                    prices[token] = middle;
                    // A higher price attracts more of the token and sells less.
                    if self.surplus(token, &adjacent[token], &prices) > 0.0 {
                        high = middle;
                    } else {
                        low = middle;
                    }
                }
                prices[token] = f64::midpoint(low, high);
            }
            let value = self.value(&prices);
            let is_settled = value > best * (1.0 - 1e-12);
            best = best.min(value);
            if is_settled {
                break;
            }
        }
        best
    }

    /// Returns for each token the best price of a path to the output before any trade.
    fn spot_prices(&self) -> Vec<f64> {
        let mut prices = vec![1e-9; self.tokens];
        prices[1] = 1.0;
        for _ in 0..4 {
            for arc in &self.arcs {
                prices[arc.from] = f64::max(prices[arc.from], arc.price * prices[arc.to]);
            }
        }
        prices
    }
}
