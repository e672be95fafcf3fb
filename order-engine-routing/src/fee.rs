//! Fees as ratios of integers.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::pool::InvalidPool;
use crate::wide::{mul_div_ceil, mul_div_floor};

/// A fee that is a share of an amount: `⌈amount · numerator / denominator⌉`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Fee {
    numerator: u64,
    denominator: u64,
}

#[derive(Serialize, Deserialize)]
struct Fields {
    numerator: u64,
    denominator: u64,
}

impl Fee {
    /// No fee at all.
    pub const NONE: Self = Self { numerator: 0, denominator: 1 };

    /// A fee of `numerator / denominator`.
    ///
    /// # Errors
    /// If it is not below one.
    pub const fn new(numerator: u64, denominator: u64) -> Result<Self, InvalidPool> {
        if numerator < denominator {
            Ok(Self { numerator, denominator })
        } else {
            Err(InvalidPool { field: "fee", reason: "must be below one" })
        }
    }

    /// What of an amount is the fee, rounded up in favour of the pool.
    pub fn of(self, amount: Amount) -> Amount {
        let (numerator, denominator) = (u128::from(self.numerator), u128::from(self.denominator));
        // The fee is not above the amount, so it fits.
        Amount::new(mul_div_ceil(amount.base_units(), numerator, denominator).unwrap_or(u128::MAX))
    }

    /// The amount that leaves `net` after the fee is taken, or nothing if it does not fit.
    pub fn gross_up(self, net: Amount) -> Option<Amount> {
        let (numerator, denominator) = (u128::from(self.numerator), u128::from(self.denominator));
        mul_div_ceil(net.base_units(), denominator, denominator - numerator).map(Amount::new)
    }

    /// What is left of an amount.
    pub(crate) fn deducted(self, amount: Amount) -> Amount {
        if self.numerator == 0 {
            return amount;
        }
        Amount::new(amount.base_units() - self.of(amount).base_units())
    }

    /// What of an amount is this share, rounded down.
    pub(crate) fn share_of(self, amount: Amount) -> Amount {
        let (numerator, denominator) = (u128::from(self.numerator), u128::from(self.denominator));
        Amount::new(mul_div_floor(amount.base_units(), numerator, denominator).unwrap_or(u128::MAX))
    }

    /// One minus the fee, as a numerator and a denominator.
    pub(crate) const fn kept(self) -> (u64, u64) {
        (self.denominator - self.numerator, self.denominator)
    }

    /// The numerator and the denominator.
    pub const fn parts(self) -> (u64, u64) {
        (self.numerator, self.denominator)
    }
}

impl TryFrom<Fields> for Fee {
    type Error = InvalidPool;

    fn try_from(fields: Fields) -> Result<Self, InvalidPool> {
        Self::new(fields.numerator, fields.denominator)
    }
}

impl From<Fee> for Fields {
    fn from(fee: Fee) -> Self {
        Self { numerator: fee.numerator, denominator: fee.denominator }
    }
}
