//! A snapshot of a pool.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::error::QuoteError;
use crate::price_ceiling::PriceCeiling;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

/// A snapshot of a pool of two tokens.
///
/// Quotes neither allocate nor use floats. A quote never promises more than the pool pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The pool's stable id, which breaks ties.
    pub id: String,
    /// The exchange that runs the pool.
    pub dex: String,
    /// The mint of token a.
    pub token_a: String,
    /// The mint of token b.
    pub token_b: String,
    /// The curve by which the pool prices.
    pub curve: Curve,
}

impl Pool {
    /// Returns whether the pool trades the one token for the other.
    pub fn trades(&self, input_mint: &str, output_mint: &str) -> bool {
        (self.token_a == input_mint && self.token_b == output_mint)
            || (self.token_b == input_mint && self.token_a == output_mint)
    }

    /// Returns the direction in which this token goes in.
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

    /// Returns what comes out for exactly `amount_in`, rounded down: never more than the pool pays.
    ///
    /// # Errors
    /// The reason why the pool cannot trade the amount.
    pub fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.curve.amount_out(direction, amount_in, at)
    }

    /// Returns the least input for which at least `amount_out` comes out: [`Self::amount_out`] returns
    /// at least `amount_out` for it, and less for any smaller input.
    ///
    /// # Errors
    /// The reason why the pool cannot trade the amount.
    pub fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.curve.amount_in(direction, amount_out, at)
    }

    /// Returns the pool as the next trade finds it after exactly `amount_in` went in.
    ///
    /// # Errors
    /// The reason why the pool cannot trade the amount, as [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount, at: Moment) -> Result<Self, QuoteError> {
        let curve = self.curve.after(direction, amount_in, at)?;
        let Self { id, dex, token_a, token_b, .. } = self.clone();
        Ok(Self { id, dex, token_a, token_b, curve })
    }

    /// Returns the output per unit of input for an infinitely small trade, fees deducted. No larger
    /// trade has a better price, except in a DLMM pool that recently moved the other way: its fee falls
    /// while a trade leads the price back.
    ///
    /// # Errors
    /// If the pool holds none of the output token.
    pub fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        self.curve.spot_price(direction, at)
    }

    /// Returns the output per unit of input before any trade, without fees.
    ///
    /// # Errors
    /// If the pool holds none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.curve.mid_price(direction)
    }

    /// Returns a price that no trade exceeds at any moment.
    pub(crate) fn price_ceiling(&self, direction: Direction) -> PriceCeiling {
        let price = match &self.curve {
            // The fee of a DLMM pool changes with time, and may fall during a trade.
            Curve::Dlmm(curve) => curve.mid_price(direction),
            curve => curve.spot_price(direction, Moment::EARLIEST),
        };
        match price {
            Ok(price) => price.into(),
            Err(QuoteError::NotEnoughLiquidity) => PriceCeiling::ZERO,
            Err(_) => PriceCeiling::UNKNOWN,
        }
    }
}
