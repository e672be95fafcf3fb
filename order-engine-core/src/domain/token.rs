//! The tokens that orders exchange.

use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;

/// A token as an order names it. It carries its decimals, so that an order can be shown without a
/// registry at hand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Token {
    /// The address of the token on its chain; this is what identifies it.
    pub mint: String,
    /// The short name for people.
    pub symbol: String,
    /// How many digits stand after the decimal point of one human unit.
    pub decimals: u8,
}

impl Token {
    /// Returns a token with this address on its chain, this short name, and this many digits after the
    /// decimal point.
    pub fn new(mint: impl Into<String>, symbol: impl Into<String>, decimals: u8) -> Self {
        Self { mint: mint.into(), symbol: symbol.into(), decimals }
    }

    /// Returns an amount of this token for people: in human units, with the symbol.
    pub fn format(&self, amount: Amount) -> String {
        format!("{} {}", amount.to_human(self.decimals), self.symbol)
    }
}
