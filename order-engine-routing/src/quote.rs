//! The quotes that a search returns: routes with their amounts, prices and costs.

mod route;

use std::time::Duration;

use order_engine_core::Amount;
use ruint::UintTryFrom;
use ruint::aliases::{U256, U512};

use crate::error::QuoteError;
use crate::path::Path;
use crate::pool::Pool;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

/// The whole, in basis points.
const ONE_BPS: u32 = 10_000;

/// One swap of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegQuote<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// The direction of the swap.
    pub direction: Direction,
    /// The input, fee included.
    pub amount_in: Amount,
    /// The output, fee deducted.
    pub amount_out: Amount,
    /// The number of the route's path to which the leg belongs, counted from 0. The legs of a path are
    /// adjacent and in the order of execution; each sells what the one before it paid.
    pub path: usize,
}

/// A route: one path, or several side by side that share no pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuote<'a> {
    /// The swaps, in the order of execution.
    pub legs: Vec<LegQuote<'a>>,
    /// The input, fees included.
    pub amount_in: Amount,
    /// The output, fees deducted.
    pub amount_out: Amount,
    /// The chain's cost for the legs: in the output token for an exact input, in the input token for an
    /// exact output.
    pub chain_cost: Amount,
    /// Whether no other route over the searched pools is better by more than the rounding of its legs.
    pub is_proven_optimal: bool,
    /// The moment for which the pools were quoted.
    pub at: Moment,
}

/// A pool that was excluded from the search, or cannot trade the whole amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// The reason.
    pub reason: RejectReason,
}

/// The reason why a pool was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The pool cannot trade the whole amount alone.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The snapshot of the pool is too old.
    #[error("the snapshot is {} seconds old, older than {}", .age.as_secs(), .max_age.as_secs())]
    Stale {
        /// The age of the snapshot.
        age: Duration,
        /// The highest allowed age.
        max_age: Duration,
    },
}

/// The outcome of a search.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchOutcome<'a> {
    /// The best route, if there is one.
    pub best: Option<RouteQuote<'a>>,
    /// The pools of the pair that cannot trade the whole amount, each with the reason.
    pub rejected: Vec<Rejection<'a>>,
}

impl RouteQuote<'_> {
    /// Returns the output minus the chain's cost.
    pub fn net_amount_out(&self) -> Amount {
        self.amount_out.checked_sub(self.chain_cost).unwrap_or_default()
    }

    /// Returns the least output to accept: `⌊out · (10 000 − bps) / 10 000⌋`.
    pub fn min_out(&self, slippage_bps: u16) -> Amount {
        self.amount_out.less_slippage(slippage_bps)
    }

    /// Returns the most input to spend: `⌈in · (10 000 + bps) / 10 000⌉`, or the largest amount if that
    /// does not fit.
    pub fn max_in(&self, slippage_bps: u16) -> Amount {
        let share = U256::from(ONE_BPS) + U256::from(slippage_bps);
        let product = U256::from(self.amount_in.base_units()) * share;
        u128::try_from(product.div_ceil(U256::from(ONE_BPS))).map_or(Amount::MAX, Amount::new)
    }

    /// Returns the worst price to accept, in base units of output per base unit of input.
    ///
    /// # Errors
    /// If the input is zero.
    pub fn limit_price(&self, slippage_bps: u16) -> Result<Ratio, QuoteError> {
        self.price_of(U256::from(self.min_out(slippage_bps).base_units()))
    }

    /// Returns the price of an infinitely small trade without fees, in base units of output per base unit
    /// of input. It is exact for a route of one leg. For several legs it is the price at which all would
    /// trade at their mid prices, each output rounded down to whole base units.
    ///
    /// # Errors
    /// If a pool has no price.
    pub fn mid_price(&self) -> Result<Ratio, QuoteError> {
        if let [leg] = &self.legs[..] {
            return leg.pool.mid_price(leg.direction);
        }
        self.price_of(self.ideal_out()?)
    }

    /// Returns how far the output is below the output at the mid price, fees included, in basis points,
    /// rounded up.
    ///
    /// # Errors
    /// If a pool has no price.
    pub fn price_impact_bps(&self) -> Result<u32, QuoteError> {
        let mid = self.mid_price()?;
        // Both outputs are multiplied by the denominator of the mid price, so that they are integers.
        let (numerator, denominator) = mid.parts();
        let actual = U512::from(self.amount_out.base_units()) * U512::from(denominator);
        let ideal = U512::from(self.amount_in.base_units()) * U512::from(numerator);
        if ideal.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let missing = ideal.saturating_sub(actual) * U512::from(ONE_BPS);
        // The missing part is at most the whole, so it fits.
        Ok(missing.div_ceil(ideal).to::<u32>())
    }

    fn price_of(&self, amount_out: U256) -> Result<Ratio, QuoteError> {
        Ratio::new(amount_out, U256::from(self.amount_in.base_units())).ok_or(QuoteError::TooSmall)
    }

    /// Returns the output if every leg traded at its mid price.
    fn ideal_out(&self) -> Result<U256, QuoteError> {
        let mut total = U256::ZERO;
        let mut carried = U256::ZERO;
        for (position, leg) in self.legs.iter().enumerate() {
            let starts_path = position == 0 || self.legs[position - 1].path != leg.path;
            if starts_path {
                total = total.checked_add(carried).ok_or(QuoteError::Overflow)?;
                carried = U256::from(leg.amount_in.base_units());
            }
            let mid = leg.pool.mid_price(leg.direction)?;
            let (numerator, denominator) = mid.parts();
            let product: U512 = carried.widening_mul(numerator);
            let ideal = product / U512::from(denominator);
            carried = U256::uint_try_from(ideal).map_err(|_| QuoteError::Overflow)?;
        }
        total.checked_add(carried).ok_or(QuoteError::Overflow)
    }
}

/// Appends the legs of a path for an exact input, and returns the output.
pub(crate) fn push_legs<'a>(
    legs: &mut Vec<LegQuote<'a>>,
    path: &Path<'a>,
    amount_in: Amount,
    at: Moment,
) -> Result<Amount, QuoteError> {
    let number = legs.last().map_or(0, |last| last.path + 1);
    path.hops().try_fold(amount_in, |amount_in, hop| {
        let amount_out = hop.pool.amount_out(hop.direction, amount_in, at)?;
        legs.push(LegQuote { pool: hop.pool, direction: hop.direction, amount_in, amount_out, path: number });
        Ok(amount_out)
    })
}
