//! A pool as it was at a moment.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::ceiling::Ceiling;
use crate::curve::Curve;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

/// A snapshot of a pool of two tokens.
///
/// Quotes neither allocate nor use floats. A quote never promises more than the pool pays.
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

    /// The direction in which this token goes in.
    ///
    /// # Errors
    /// If the pool does not trade the token.
    pub fn direction(&self, input_mint: &str) -> Result<Direction, QuoteError> {
        if self.token_a == input_mint {
            Ok(Direction::AToB)
        } else if self.token_b == input_mint {
            Ok(Direction::BToA)
        } else {
            Err(QuoteError::WrongPair)
        }
    }

    /// What comes out for exactly so much, rounded down: never more than the pool pays.
    ///
    /// # Errors
    /// Why the pool cannot take the amount.
    pub fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.curve.amount_out(direction, amount_in, at)
    }

    /// The least that must go in for at least so much to come out: [`Self::amount_out`] gives at
    /// least `amount_out` for it, and less for any smaller amount.
    ///
    /// # Errors
    /// Why the pool cannot give the amount.
    pub fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.curve.amount_in(direction, amount_out, at)
    }

    /// The pool as the next trade finds it after exactly so much went in.
    ///
    /// # Errors
    /// Why the pool cannot take the amount, as [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount, at: Moment) -> Result<Self, QuoteError> {
        let curve = self.curve.after(direction, amount_in, at)?;
        let Self { id, dex, token_a, token_b, .. } = self.clone();
        Ok(Self { id, dex, token_a, token_b, curve })
    }

    /// What comes out for the first, infinitely small part of a trade, per unit that goes in, fees
    /// deducted. No larger trade has a better price, but in a DLMM pool that lately moved the other
    /// way: there the fee falls while a trade leads the price back.
    ///
    /// # Errors
    /// If the pool holds nothing that could come out.
    pub fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        self.curve.spot_price(direction, at)
    }

    /// The price without any fee: output per input, before any trade.
    ///
    /// # Errors
    /// If the pool holds nothing that could come out.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.curve.mid_price(direction)
    }

    /// A price that no trade betters, whenever it takes place.
    pub(crate) fn price_ceiling(&self, direction: Direction) -> Ceiling {
        let price = match &self.curve {
            // Its fee changes with the time, and may fall while it is traded.
            Curve::Dlmm(curve) => curve.mid_price(direction),
            curve => curve.spot_price(direction, Moment::EARLIEST),
        };
        match price {
            Ok(price) => price.into(),
            Err(QuoteError::NotEnoughLiquidity) => Ceiling::ZERO,
            Err(_) => Ceiling::UNKNOWN,
        }
    }
}
