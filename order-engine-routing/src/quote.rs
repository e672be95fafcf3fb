//! The quotes that a search returns: routes with their amounts, prices and costs.

mod route;

use std::time::Duration;

use order_engine_core::Amount;
use ruint::UintTryFrom;
use ruint::aliases::{U256, U512};

use crate::error::QuoteError;
use crate::fee::ONE_BPS;
use crate::footprint::{Excess, Footprint};
use crate::net::{NetAmount, Rank};
use crate::path::{Hop, Path};
use crate::pool::Pool;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

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
    /// What the leg takes of the transaction.
    pub footprint: Footprint,
}

/// A route: one pool, a path, or paths side by side, which may share pools. Each pool trades once, whatever the number
/// of paths through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuote<'a> {
    /// The swaps, in the order of execution: those that buy a token stand before those that sell it, and these
    /// together sell all of it.
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
    /// The snapshot of the pool has a time to come.
    #[error("the snapshot is {} seconds ahead of the clock", .ahead.as_secs())]
    FromTheFuture {
        /// How far the snapshot is ahead of the clock.
        ahead: Duration,
    },
    /// The snapshot of the pool is too many slots behind the newest.
    #[error("the snapshot is {slots} slots behind the newest, more than {max_slots}")]
    Behind {
        /// How many slots the snapshot is behind.
        slots: u64,
        /// The highest allowed number of slots.
        max_slots: u64,
    },
    /// A leg through the pool is more than a transaction has room for.
    #[error(transparent)]
    DoesNotFit(Excess),
}

/// The outcome of a search.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchOutcome<'a> {
    /// The best route, if there is one.
    pub best: Option<RouteQuote<'a>>,
    /// The pools of the pair that cannot trade the whole amount, each with the reason.
    pub rejected: Vec<Rejection<'a>>,
    /// Where there is no route because none fits into a transaction: what there is too little of.
    pub excess: Option<Excess>,
}

impl RouteQuote<'_> {
    /// Returns the output minus the chain's cost, which is a loss where the chain costs more.
    pub fn net_amount_out(&self) -> NetAmount {
        NetAmount::of(self.amount_out, self.chain_cost)
    }

    /// Returns how good the route is among those for the same input.
    pub(crate) fn rank(&self) -> Rank {
        Rank::of(self.amount_out, self.chain_cost, self.legs.len())
    }

    /// Returns what the legs together take of the transaction.
    pub fn footprint(&self) -> Footprint {
        self.legs.iter().fold(Footprint::NONE, |sum, leg| sum.plus(leg.footprint))
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

    /// Returns the output if every leg traded at its mid price. What a token would come to is divided among the legs that
    /// sell it as it is.
    fn ideal_out(&self) -> Result<U256, QuoteError> {
        let output = self.legs.last().ok_or(QuoteError::TooSmall)?.output_mint();
        let mut ideals = vec![U256::ZERO; self.legs.len()];
        let mut total = U256::ZERO;
        for (position, leg) in self.legs.iter().enumerate() {
            let mid = leg.pool.mid_price(leg.direction)?;
            let (numerator, denominator) = mid.parts();
            let sold = self.ideal_in(position, &ideals[..position])?;
            let product: U512 = sold.widening_mul(numerator);
            let ideal = product / U512::from(denominator);
            ideals[position] = U256::uint_try_from(ideal).map_err(|_| QuoteError::Overflow)?;
            if leg.output_mint() == output {
                total = total.checked_add(ideals[position]).ok_or(QuoteError::Overflow)?;
            }
        }
        Ok(total)
    }

    /// Returns what a leg would sell if the legs before it paid these ideal outputs.
    fn ideal_in(&self, position: usize, ideals: &[U256]) -> Result<U256, QuoteError> {
        let leg = &self.legs[position];
        let (mut bought, mut ideal) = (U256::ZERO, U256::ZERO);
        for (earlier, paid) in self.legs.iter().zip(ideals) {
            if earlier.output_mint() == leg.input_mint() {
                bought += U256::from(earlier.amount_out.base_units());
                ideal = ideal.checked_add(*paid).ok_or(QuoteError::Overflow)?;
            }
        }
        let sold = U256::from(leg.amount_in.base_units());
        if bought.is_zero() {
            return Ok(sold);
        }
        let product: U512 = sold.widening_mul(ideal);
        U256::uint_try_from(product / U512::from(bought)).map_err(|_| QuoteError::Overflow)
    }
}

/// Appends the legs of a path for an exact input, and returns the output.
pub(crate) fn push_legs<'a>(
    legs: &mut Vec<LegQuote<'a>>,
    path: &Path<'a>,
    amount_in: Amount,
    at: Moment,
) -> Result<Amount, QuoteError> {
    path.hops().try_fold(amount_in, |amount_in, Hop { pool, direction, footprint }| {
        let amount_out = pool.amount_out(direction, amount_in, at)?;
        legs.push(LegQuote { pool, direction, amount_in, amount_out, footprint });
        Ok(amount_out)
    })
}
