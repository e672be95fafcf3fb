//! Fees as ratios of integers.

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::pool::InvalidPool;

/// A fee that is taken from what goes in: `⌈amount · numerator / denominator⌉`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Ratio", into = "Ratio")]
pub struct Fee {
    numerator: u64,
    denominator: u64,
}

#[derive(Serialize, Deserialize)]
struct Ratio {
    numerator: u64,
    denominator: u64,
}

impl Fee {
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
        let product = U256::from(amount.base_units()) * U256::from(self.numerator);
        // The fee is below the amount, so it fits.
        Amount::new(product.div_ceil(U256::from(self.denominator)).to::<u128>())
    }

    /// The amount that leaves `net` after the fee is taken, or nothing if it does not fit.
    pub fn gross_up(self, net: Amount) -> Option<Amount> {
        let product = U256::from(net.base_units()) * U256::from(self.denominator);
        let gross = product.div_ceil(U256::from(self.denominator - self.numerator));
        u128::try_from(gross).ok().map(Amount::new)
    }
}

impl TryFrom<Ratio> for Fee {
    type Error = InvalidPool;

    fn try_from(ratio: Ratio) -> Result<Self, InvalidPool> {
        Self::new(ratio.numerator, ratio.denominator)
    }
}

impl From<Fee> for Ratio {
    fn from(fee: Fee) -> Self {
        Self { numerator: fee.numerator, denominator: fee.denominator }
    }
}
