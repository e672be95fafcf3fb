//! The curve of Raydium's AMM v4 and CPMM pools and of Meteora's DAMM: the product of the reserves
//! never falls.

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::fee::Fee;
use crate::pool::{InvalidPool, QuoteError};

/// A pool of two reserves whose product never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct ConstantProduct {
    reserve_a: Amount,
    reserve_b: Amount,
    fee: Fee,
}

#[derive(Serialize, Deserialize)]
struct Fields {
    reserve_a: Amount,
    reserve_b: Amount,
    fee: Fee,
}

impl ConstantProduct {
    /// A pool with these reserves, in base units, and this fee on what goes in.
    ///
    /// # Errors
    /// If a reserve is zero.
    pub const fn new(reserve_a: Amount, reserve_b: Amount, fee: Fee) -> Result<Self, InvalidPool> {
        if reserve_a.is_zero() {
            return Err(InvalidPool { field: "reserve_a", reason: "must be greater than zero" });
        }
        if reserve_b.is_zero() {
            return Err(InvalidPool { field: "reserve_b", reason: "must be greater than zero" });
        }
        Ok(Self { reserve_a, reserve_b, fee })
    }

    /// The reserves: of token a, and of token b.
    pub const fn reserves(&self) -> (Amount, Amount) {
        (self.reserve_a, self.reserve_b)
    }

    /// The fee on what goes in.
    pub const fn fee(&self) -> Fee {
        self.fee
    }

    /// What comes out for exactly `amount_in`, rounded down:
    /// `n = x − ⌈x·f⌉`, `out = ⌊n·Y / (R + n)⌋`.
    ///
    /// # Errors
    /// If nothing would come out, or the pool would overflow.
    pub fn amount_out(&self, a_to_b: bool, amount_in: Amount) -> Result<Amount, QuoteError> {
        let (reserve_in, reserve_out) = self.directed(a_to_b);
        // The reserve must stay representable, or the pool could not take the amount.
        reserve_in.checked_add(amount_in).ok_or(QuoteError::Overflow)?;
        let net = amount_in.base_units() - self.fee.of(amount_in).base_units();
        let numerator = U256::from(net) * U256::from(reserve_out.base_units());
        let denominator = U256::from(reserve_in.base_units()) + U256::from(net);
        // Below the reserve, so it fits.
        let out = Amount::new((numerator / denominator).to::<u128>());
        if out.is_zero() { Err(QuoteError::TooSmall) } else { Ok(out) }
    }

    /// The least that must go in for `amount_out` to come out:
    /// `n = ⌈R·o / (Y − o)⌉`, `x = ⌈n·D / (D − f)⌉`.
    ///
    /// # Errors
    /// If the pool does not hold that much, or the amount would overflow.
    pub fn amount_in(&self, a_to_b: bool, amount_out: Amount) -> Result<Amount, QuoteError> {
        let (reserve_in, reserve_out) = self.directed(a_to_b);
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let remaining = reserve_out.checked_sub(amount_out).filter(|rest| !rest.is_zero());
        let remaining = remaining.ok_or(QuoteError::NotEnoughLiquidity)?;
        let numerator = U256::from(reserve_in.base_units()) * U256::from(amount_out.base_units());
        let net = numerator.div_ceil(U256::from(remaining.base_units()));
        let net = u128::try_from(net).map_err(|_| QuoteError::Overflow)?;
        let amount_in = self.fee.gross_up(Amount::new(net)).ok_or(QuoteError::Overflow)?;
        reserve_in.checked_add(amount_in).ok_or(QuoteError::Overflow)?;
        Ok(amount_in)
    }

    const fn directed(&self, a_to_b: bool) -> (Amount, Amount) {
        if a_to_b { (self.reserve_a, self.reserve_b) } else { (self.reserve_b, self.reserve_a) }
    }
}

impl TryFrom<Fields> for ConstantProduct {
    type Error = InvalidPool;

    fn try_from(fields: Fields) -> Result<Self, InvalidPool> {
        Self::new(fields.reserve_a, fields.reserve_b, fields.fee)
    }
}

impl From<ConstantProduct> for Fields {
    fn from(pool: ConstantProduct) -> Self {
        Self { reserve_a: pool.reserve_a, reserve_b: pool.reserve_b, fee: pool.fee }
    }
}
