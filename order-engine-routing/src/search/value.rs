//! The value of an amount of one token in another.

use order_engine_core::Amount;

use super::Search;

impl Search<'_> {
    /// Returns the value of an amount of one token in another, rounded up: at the best spot price of a pool
    /// of both tokens, or else by the output of the best path. Returns `None` if no pools connect them.
    pub fn value(&self, amount: Amount, of: &str, in_terms_of: &str) -> Option<Amount> {
        if of == in_terms_of {
            return Some(amount);
        }
        let mut stale = Vec::new();
        let edges = self.fresh_edges(of, in_terms_of, &mut stale);
        let prices = edges.filter_map(|edge| self.pool(edge).spot_price(edge.direction, self.at).ok());
        match prices.max() {
            Some(price) => price.value_of(amount),
            None => self.best_path(of, in_terms_of, amount).best.map(|route| route.amount_out),
        }
    }
}
