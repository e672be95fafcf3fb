//! A pool as it was at a moment.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::constant_product::ConstantProduct;

/// A snapshot of a pool of two tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The pool's stable id, by which ties are broken.
    pub id: String,
    /// The exchange that runs it.
    pub dex: String,
    /// The mint of one token.
    pub token_a: String,
    /// The mint of the other.
    pub token_b: String,
    /// How it prices.
    pub curve: Curve,
}

/// How a pool prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Curve {
    /// The product of the reserves never falls.
    ConstantProduct(ConstantProduct),
}

/// A snapshot that no pool can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct InvalidPool {
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why a pool cannot take an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The pool does not trade these tokens.
    #[error("the pool does not trade this pair")]
    WrongPair,
    /// The amount is so small that nothing would come out.
    #[error("the amount is too small")]
    TooSmall,
    /// The pool does not hold that much.
    #[error("not enough liquidity")]
    NotEnoughLiquidity,
    /// The pool could not hold that much.
    #[error("the amount is too large")]
    Overflow,
}

impl Pool {
    /// Whether the pool takes one token and gives the other.
    pub fn trades(&self, input_mint: &str, output_mint: &str) -> bool {
        (self.token_a == input_mint && self.token_b == output_mint)
            || (self.token_b == input_mint && self.token_a == output_mint)
    }

    /// What comes out for exactly so much of a token: never more than the pool pays.
    ///
    /// # Errors
    /// Why the pool cannot take the amount.
    pub fn quote_exact_in(&self, input_mint: &str, amount_in: Amount) -> Result<Amount, QuoteError> {
        let a_to_b = self.direction(input_mint)?;
        match &self.curve {
            Curve::ConstantProduct(curve) => curve.amount_out(a_to_b, amount_in),
        }
    }

    /// The least of a token that must go in for so much of the other to come out.
    ///
    /// # Errors
    /// Why the pool cannot give the amount.
    pub fn quote_exact_out(&self, input_mint: &str, amount_out: Amount) -> Result<Amount, QuoteError> {
        let a_to_b = self.direction(input_mint)?;
        match &self.curve {
            Curve::ConstantProduct(curve) => curve.amount_in(a_to_b, amount_out),
        }
    }

    fn direction(&self, input_mint: &str) -> Result<bool, QuoteError> {
        if self.token_a == input_mint {
            Ok(true)
        } else if self.token_b == input_mint {
            Ok(false)
        } else {
            Err(QuoteError::WrongPair)
        }
    }
}
