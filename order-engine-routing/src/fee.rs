//! Fees as ratios of integers.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::error::InvalidPool;
use crate::trade::Direction;
use crate::wide::{mul_div_ceil, mul_div_floor};

/// The whole, in basis points.
pub(crate) const ONE_BPS: u32 = 10_000;

/// A fee that is a share of an amount, rounded up: `⌈amount · numerator / denominator⌉`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedFee", into = "UncheckedFee")]
pub struct Fee {
    numerator: u64,
    denominator: u64,
}

/// The amount of which a pool takes a fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeeOn {
    /// The input, whichever token it is.
    #[default]
    Input,
    /// The output, whichever token it is.
    Output,
    /// The amount of token a, whether it goes in or comes out.
    TokenA,
    /// The amount of token b, whether it goes in or comes out.
    TokenB,
}

impl FeeOn {
    /// Returns whether the fee of a trade in this direction is taken of its input. Otherwise it is taken of its output.
    pub const fn is_input(self, direction: Direction) -> bool {
        match self {
            Self::Input => true,
            Self::Output => false,
            Self::TokenA => matches!(direction, Direction::AToB),
            Self::TokenB => matches!(direction, Direction::BToA),
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // The signature is serde's.
    pub(crate) const fn is_default(&self) -> bool {
        matches!(self, Self::Input)
    }
}

/// A fee as it is serialised.
#[derive(Serialize, Deserialize)]
struct UncheckedFee {
    numerator: u64,
    denominator: u64,
}

impl Fee {
    /// No fee.
    pub const NONE: Self = Self { numerator: 0, denominator: 1 };

    /// Returns a fee of `numerator / denominator`.
    ///
    /// # Errors
    /// If the fee is not below one.
    pub const fn new(numerator: u64, denominator: u64) -> Result<Self, InvalidPool> {
        if numerator < denominator {
            Ok(Self { numerator, denominator })
        } else {
            Err(InvalidPool { field: "fee", reason: "must be below one" })
        }
    }

    /// Returns the fee on an amount, rounded up in favour of the pool.
    pub fn of(self, amount: Amount) -> Amount {
        let (numerator, denominator) = (u128::from(self.numerator), u128::from(self.denominator));
        // The fee is not larger than the amount, so it fits.
        Amount::new(mul_div_ceil(amount.base_units(), numerator, denominator).unwrap_or(u128::MAX))
    }

    /// Returns the least amount that leaves `net` after the fee, or `None` if it does not fit.
    pub fn gross_up(self, net: Amount) -> Option<Amount> {
        let (numerator, denominator) = (u128::from(self.numerator), u128::from(self.denominator));
        mul_div_ceil(net.base_units(), denominator, denominator - numerator).map(Amount::new)
    }

    /// Returns an amount without its fee.
    pub(crate) fn deduct_from(self, amount: Amount) -> Amount {
        if self.numerator == 0 {
            return amount;
        }
        Amount::new(amount.base_units() - self.of(amount).base_units())
    }

    /// Returns this share of an amount, rounded down.
    pub(crate) fn share_of(self, amount: Amount) -> Amount {
        let (numerator, denominator) = (u128::from(self.numerator), u128::from(self.denominator));
        Amount::new(mul_div_floor(amount.base_units(), numerator, denominator).unwrap_or(u128::MAX))
    }

    /// Returns one minus the fee, as a numerator and a denominator.
    pub(crate) const fn kept(self) -> (u64, u64) {
        (self.denominator - self.numerator, self.denominator)
    }

    /// Returns the numerator and the denominator.
    pub const fn parts(self) -> (u64, u64) {
        (self.numerator, self.denominator)
    }
}

impl Default for Fee {
    fn default() -> Self {
        Self::NONE
    }
}

impl TryFrom<UncheckedFee> for Fee {
    type Error = InvalidPool;

    fn try_from(fee: UncheckedFee) -> Result<Self, InvalidPool> {
        Self::new(fee.numerator, fee.denominator)
    }
}

impl From<Fee> for UncheckedFee {
    fn from(fee: Fee) -> Self {
        Self { numerator: fee.numerator, denominator: fee.denominator }
    }
}
