//! A snapshot of a pool.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::budget::{Meter, Unmetered};
use crate::conditions::Conditions;
use crate::curve::Curve;
use crate::error::QuoteError;
use crate::hyperbola::Hyperbola;
use crate::price_ceiling::PriceCeiling;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

/// A snapshot of a pool of two tokens.
///
/// Quotes neither allocate nor use floats. A quote never promises more than the pool pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// The conditions under which it trades, `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Box<Conditions>>,
}

impl Pool {
    /// Returns a pool with this id of an exchange, of tokens a and b by their mints. It trades under no conditions.
    pub fn new(
        id: impl Into<String>,
        dex: impl Into<String>,
        (token_a, token_b): (impl Into<String>, impl Into<String>),
        curve: Curve,
    ) -> Self {
        let (id, dex, token_a, token_b) = (id.into(), dex.into(), token_a.into(), token_b.into());
        Self { id, dex, token_a, token_b, curve, conditions: None }
    }

    /// Sets the conditions under which the pool trades.
    #[must_use]
    pub fn with_conditions(self, conditions: Conditions) -> Self {
        let is_any = conditions != Conditions::default();
        Self { conditions: is_any.then(|| Box::new(conditions)), ..self }
    }

    /// Returns the pool with another curve.
    #[must_use]
    pub fn with_curve(&self, curve: Curve) -> Self {
        let Self { id, dex, token_a, token_b, conditions, .. } = self;
        let (id, dex, token_a, token_b) = (id.clone(), dex.clone(), token_a.clone(), token_b.clone());
        Self { id, dex, token_a, token_b, curve, conditions: conditions.clone() }
    }

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
        self.metered_out(direction, amount_in, at, &Unmetered)
    }

    /// Returns [`Self::amount_out`], unless it takes more work than the meter allows.
    pub(crate) fn metered_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        let Some(conditions) = &self.conditions else {
            return self.curve.amount_out(direction, amount_in, at, meter);
        };
        conditions.check(at)?;
        let (of_input, of_output) = conditions.transfer_fees(direction);
        let arriving = of_input.map_or(amount_in, |fee| fee.deduct_from(amount_in));
        let paid = self.curve.amount_out(direction, arriving, at, meter)?;
        let out = of_output.map_or(paid, |fee| fee.deduct_from(paid));
        if out.is_zero() { Err(QuoteError::TooSmall) } else { Ok(out) }
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
        self.metered_in(direction, amount_out, at, &Unmetered)
    }

    /// Returns [`Self::amount_in`], unless it takes more work than the meter allows.
    pub(crate) fn metered_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        let Some(conditions) = &self.conditions else {
            return self.curve.amount_in(direction, amount_out, at, meter);
        };
        conditions.check(at)?;
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let (of_input, of_output) = conditions.transfer_fees(direction);
        let paid = of_output.map_or(Some(amount_out), |fee| fee.gross_up(amount_out));
        let paid = paid.ok_or(QuoteError::NotEnoughLiquidity)?;
        let arriving = self.curve.amount_in(direction, paid, at, meter)?;
        of_input.map_or(Some(arriving), |fee| fee.gross_up(arriving)).ok_or(QuoteError::Overflow)
    }

    /// Returns the pool as the next trade finds it after exactly `amount_in` went in.
    ///
    /// # Errors
    /// The reason why the pool cannot trade the amount, as [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount, at: Moment) -> Result<Self, QuoteError> {
        self.amount_out(direction, amount_in, at)?;
        let of_input = self.conditions.as_ref().and_then(|conditions| conditions.transfer_fees(direction).0);
        let arriving = of_input.map_or(amount_in, |fee| fee.deduct_from(amount_in));
        Ok(self.with_curve(self.curve.after(direction, arriving, at)?))
    }

    /// Returns the output per unit of input for an infinitely small trade, fees deducted, except those that the tokens
    /// themselves take. No larger trade has a better price, except in a pool whose fee moves with the price and that
    /// recently moved the other way: its fee falls while a trade leads the price back.
    ///
    /// # Errors
    /// If the pool holds none of the output token, or cannot be traded at the moment.
    pub fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        self.conditions.as_ref().map_or(Ok(()), |conditions| conditions.check(at))?;
        self.curve.spot_price(direction, at)
    }

    /// Returns the output per unit of input before any trade, without fees.
    ///
    /// # Errors
    /// If the pool holds none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.curve.mid_price(direction)
    }

    /// Returns whether the pool never pays more for one unit than for the unit before it. A pool whose fee moves with the
    /// price may, because its fee falls on the way back; so may one with limit orders in ticks, whose price is rounded,
    /// one whose fee is limited by size, one of a token whose transfer fee has a maximum, one whose fees are rounded one by
    /// one, and one behind vaults, by a unit, because of the rounding of their shares.
    pub(crate) fn is_concave(&self) -> bool {
        let has_transfer_fees =
            self.conditions.as_ref().is_some_and(|conditions| conditions.has_transfer_fees());
        let may_bend_upwards = match &self.curve {
            Curve::ConstantProduct(_) | Curve::Stable(_) | Curve::UniswapV2(_) | Curve::UniswapV3(_) => false,
            Curve::Dlmm(_) | Curve::Vaulted(_) | Curve::PumpSwap(_) => true,
            Curve::Concentrated(curve) => curve.may_bend_upwards(),
            Curve::Whirlpool(curve) => curve.may_bend_upwards(),
            Curve::DammV2(curve) => curve.may_bend_upwards(),
        };
        !may_bend_upwards && !has_transfer_fees
    }

    /// Returns the output as a hyperbola of the input, without any rounding, if it is one under all conditions.
    pub(crate) fn hyperbola(&self, direction: Direction) -> Option<Hyperbola> {
        let hyperbola = match (&self.curve, &self.conditions) {
            (Curve::ConstantProduct(curve), None) => curve.hyperbola(direction),
            (Curve::UniswapV2(curve), None) => curve.hyperbola(direction),
            _ => return None,
        };
        Some(hyperbola).filter(|hyperbola| hyperbola.is_usable())
    }

    /// Returns a price that no trade exceeds at any moment.
    pub(crate) fn price_ceiling(&self, direction: Direction) -> PriceCeiling {
        let price = match &self.curve {
            // The fee of a DLMM pool changes with time, and may fall during a trade.
            Curve::Dlmm(curve) => curve.mid_price(direction),
            Curve::Concentrated(curve) => curve.best_price(direction),
            Curve::Vaulted(curve) => curve.best_price(direction),
            Curve::Whirlpool(curve) => curve.best_price(direction),
            Curve::UniswapV3(curve) => curve.best_price(direction),
            Curve::DammV2(curve) => curve.best_price(direction),
            curve => curve.spot_price(direction, Moment::EARLIEST),
        };
        match price {
            Ok(price) => price.into(),
            Err(QuoteError::NotEnoughLiquidity) => PriceCeiling::ZERO,
            Err(_) => PriceCeiling::UNKNOWN,
        }
    }
}
