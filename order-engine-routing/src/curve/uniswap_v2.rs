//! The curve of Uniswap v2 and its forks: the product of the reserves never falls.
//!
//! The fee is a part of the fraction, and not rounded by itself as in [`ConstantProduct`](crate::ConstantProduct). Quotes
//! equal the library's `getAmountOut` to the last unit.

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::fee::Fee;
use crate::hyperbola::Hyperbola;
use crate::ratio::Ratio;
use crate::trade::Direction;

/// The pair's reserves are integers of 112 bits.
const RESERVE_MAX: u128 = (1 << 112) - 1;
/// The greatest denominator of a fee with which every product fits 256 bits.
const DENOMINATOR_MAX: u64 = 1 << 24;

/// A pair of Uniswap v2 or a fork of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UniswapV2State", into = "UniswapV2State")]
pub struct UniswapV2 {
    reserve_a: Amount,
    reserve_b: Amount,
    fee: Fee,
}

/// The state of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniswapV2State {
    /// The reserve of token a, in base units: `reserve0`.
    pub reserve_a: Amount,
    /// The reserve of token b, in base units: `reserve1`.
    pub reserve_b: Amount,
    /// The fee on the input, which stays in the pool: 3 of 1,000 at Uniswap. Its forks have others.
    pub fee: Fee,
}

impl UniswapV2 {
    /// Returns the pair with this state.
    ///
    /// # Errors
    /// If a reserve is zero or does not fit 112 bits, or the denominator of the fee does not fit 24.
    pub fn new(state: UniswapV2State) -> Result<Self, InvalidPool> {
        let UniswapV2State { reserve_a, reserve_b, fee } = state;
        for (field, reserve) in [("reserve_a", reserve_a), ("reserve_b", reserve_b)] {
            if reserve.is_zero() || reserve.base_units() > RESERVE_MAX {
                return Err(InvalidPool { field, reason: "must be greater than zero and fit 112 bits" });
            }
        }
        if fee.parts().1 > DENOMINATOR_MAX {
            return Err(InvalidPool { field: "fee", reason: "must have a denominator that fits 24 bits" });
        }
        Ok(Self { reserve_a, reserve_b, fee })
    }

    /// Returns the state of the pair.
    pub const fn state(&self) -> UniswapV2State {
        UniswapV2State { reserve_a: self.reserve_a, reserve_b: self.reserve_b, fee: self.fee }
    }

    /// Returns what comes out for exactly `amount_in`, rounded down: `⌊x·k·Y / (R·D + x·k)⌋`, where `k` of `D` is what the
    /// fee leaves.
    ///
    /// # Errors
    /// If nothing would come out, or the reserve would not fit 112 bits.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let (reserve_in, reserve_out) = self.reserves(direction);
        let (kept, whole) = self.kept();
        self.taken(direction, amount_in)?;
        let net = U256::from(amount_in.base_units()) * kept;
        let out = net * U256::from(reserve_out) / (U256::from(reserve_in) * whole + net);
        // It is below the reserve, which fits.
        let out = u128::try_from(out).map_err(|_| QuoteError::Overflow)?;
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// Returns the least input for which at least `amount_out` comes out: `⌈R·o·D / ((Y − o)·k)⌉`. The library's `getAmountIn` takes
    /// a unit more where this divides without a remainder.
    ///
    /// # Errors
    /// If the pair does not hold enough, or the reserve would not fit 112 bits.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let (reserve_in, reserve_out) = self.reserves(direction);
        let (kept, whole) = self.kept();
        let rest = reserve_out.checked_sub(amount_out.base_units()).filter(|rest| *rest > 0);
        let rest = rest.ok_or(QuoteError::NotEnoughLiquidity)?;
        let numerator = U256::from(reserve_in) * U256::from(amount_out.base_units()) * whole;
        let amount_in = numerator.div_ceil(U256::from(rest) * kept);
        let amount_in = Amount::new(u128::try_from(amount_in).map_err(|_| QuoteError::Overflow)?);
        self.taken(direction, amount_in)?;
        Ok(amount_in)
    }

    /// Returns the pair after exactly `amount_in` went in. The fee stays in it.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        let out = self.amount_out(direction, amount_in)?;
        let (_, reserve_out) = self.reserves(direction);
        let reserve_in = Amount::new(self.taken(direction, amount_in)?);
        let reserve_out = Amount::new(reserve_out - out.base_units());
        let (reserve_a, reserve_b) = direction.orient(reserve_in, reserve_out);
        Ok(Self { reserve_a, reserve_b, ..*self })
    }

    /// Returns the output per unit of input before any trade, the fee deducted: `Y·k / (R·D)`.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let (reserve_in, reserve_out) = self.reserves(direction);
        let (kept, whole) = self.kept();
        let price = Ratio::new(U256::from(reserve_out) * kept, U256::from(reserve_in) * whole);
        price.ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Returns the output per unit of input before any trade, without the fee: `Y / R`.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let (reserve_in, reserve_out) = self.reserves(direction);
        Ratio::new(U256::from(reserve_out), U256::from(reserve_in)).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Returns the output as a hyperbola of the input, without any rounding.
    #[allow(clippy::cast_precision_loss)] // A hyperbola only seeds a search, so 53 bits suffice.
    pub(crate) fn hyperbola(&self, direction: Direction) -> Hyperbola {
        let (reserve_in, reserve_out) = self.reserves(direction);
        let (kept, whole) = self.fee.kept();
        let bend = kept as f64 / whole as f64 / reserve_in as f64;
        Hyperbola { price: bend * reserve_out as f64, bend }
    }

    fn reserves(&self, direction: Direction) -> (u128, u128) {
        direction.orient(self.reserve_a.base_units(), self.reserve_b.base_units())
    }

    fn kept(&self) -> (U256, U256) {
        let (kept, whole) = self.fee.kept();
        (U256::from(kept), U256::from(whole))
    }

    /// Returns the reserve of the input after an amount went in.
    fn taken(&self, direction: Direction, amount_in: Amount) -> Result<u128, QuoteError> {
        let (reserve_in, _) = self.reserves(direction);
        let after = reserve_in.checked_add(amount_in.base_units());
        after.filter(|after| *after <= RESERVE_MAX).ok_or(QuoteError::Overflow)
    }
}

impl TryFrom<UniswapV2State> for UniswapV2 {
    type Error = InvalidPool;

    fn try_from(state: UniswapV2State) -> Result<Self, InvalidPool> {
        Self::new(state)
    }
}

impl From<UniswapV2> for UniswapV2State {
    fn from(pool: UniswapV2) -> Self {
        pool.state()
    }
}
