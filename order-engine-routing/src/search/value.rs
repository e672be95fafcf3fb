//! What an amount of one token is worth in another.

use order_engine_core::Amount;
use ruint::aliases::{U256, U512};

use super::Search;
use crate::ratio::Ratio;

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

/// `⌈amount · price⌉`, if it fits.
fn worth(amount: Amount, price: Ratio) -> Option<Amount> {
    let (numerator, denominator) = price.parts();
    let product: U512 = U256::from(amount.base_units()).widening_mul(numerator);
    let worth = product.div_ceil(U512::from(denominator));
    u128::try_from(worth).ok().map(Amount::new)
}
