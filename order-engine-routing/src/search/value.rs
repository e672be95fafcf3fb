//! What an amount of one token is worth in another.

use order_engine_core::Amount;

use super::Search;
use crate::lane::worth;

impl Search<'_> {
    /// What an amount of one token is worth in another, rounded up: at the best spot price of a pool
    /// of the two, or else by what the best path pays for it. Nothing if no pools connect them.
    pub fn value(&self, amount: Amount, of: &str, in_terms_of: &str) -> Option<Amount> {
        if of == in_terms_of {
            return Some(amount);
        }
        let mut stale = Vec::new();
        let edges = self.fresh_edges(of, in_terms_of, &mut stale);
        let prices = edges.filter_map(|edge| self.pool(edge).spot_price(edge.direction, self.at).ok());
        match prices.max() {
            Some(price) => worth(amount, price),
            None => self.best_path(of, in_terms_of, amount).best.map(|route| route.amount_out),
        }
    }
}
