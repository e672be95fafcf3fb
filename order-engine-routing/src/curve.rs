//! The curves by which pools price, and what every one of them answers.

mod constant_product;

pub use constant_product::{ConstantProduct, CreatorFee, CreatorFeeOn};

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::pool::QuoteError;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

/// How a pool prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Curve {
    /// The product of the reserves never falls.
    ConstantProduct(ConstantProduct),
}

/// The methods below answer for a [`crate::Pool`], where they are documented.
impl Curve {
    pub(crate) fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        _at: Moment,
    ) -> Result<Amount, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.amount_out(direction, amount_in),
        }
    }

    pub(crate) fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        _at: Moment,
    ) -> Result<Amount, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.amount_in(direction, amount_out),
        }
    }

    pub(crate) fn after(
        &self,
        direction: Direction,
        amount_in: Amount,
        _at: Moment,
    ) -> Result<Self, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.after(direction, amount_in).map(Self::ConstantProduct),
        }
    }

    pub(crate) fn spot_price(&self, direction: Direction, _at: Moment) -> Result<Ratio, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.spot_price(direction),
        }
    }

    pub(crate) fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.mid_price(direction),
        }
    }
}
