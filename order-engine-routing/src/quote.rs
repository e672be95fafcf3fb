//! What a search finds: a route with all that one wants to know before taking it.

mod route;

use order_engine_core::Amount;
use ruint::UintTryFrom;
use ruint::aliases::{U256, U512};

use crate::lane::Lane;
use crate::pool::{Pool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

/// The whole, in hundredths of a percent.
const WHOLE_BPS: u32 = 10_000;

/// One swap of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegQuote<'a> {
    /// The pool that trades.
    pub pool: &'a Pool,
    /// Which of its tokens goes in.
    pub direction: Direction,
    /// Base units that go in, fee included.
    pub amount_in: Amount,
    /// Base units that come out, fee deducted.
    pub amount_out: Amount,
    /// To which of the route's paths it belongs, counted from 0. The legs of a path stand together
    /// in the order of execution, each selling what the one before it paid.
    pub path: usize,
}

/// A way to trade: one path, or several side by side that share no pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuote<'a> {
    /// The swaps, in the order of execution.
    pub legs: Vec<LegQuote<'a>>,
    /// Base units of the input token that go in.
    pub amount_in: Amount,
    /// Base units of the output token that come out, fees deducted.
    pub amount_out: Amount,
    /// What sending the legs costs: in the output token for an exact input, in the input token for
    /// an exact output.
    pub chain_cost: Amount,
    /// Whether no other way to use what was searched is better, but for the rounding of each leg.
    pub is_proven_optimal: bool,
    /// When the pools were quoted.
    pub at: Moment,
}

/// A pool that could not take the order, or was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// Why not.
    pub reason: RejectReason,
}

/// Why a pool is not in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The pool cannot take the amount by itself.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The snapshot of the pool is too old to be relied on.
    #[error("the snapshot is {age_s} seconds old, older than {max_age_s}")]
    Stale {
        /// How old it is.
        age_s: u64,
        /// How old it may be.
        max_age_s: u64,
    },
}

/// The outcome of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// The best route, if there is one.
    pub best: Option<RouteQuote<'a>>,
    /// The pools of the pair that cannot take the whole amount, each with its reason.
    pub rejected: Vec<Rejection<'a>>,
}

impl<'a> Found<'a> {
    pub(crate) const fn new(best: Option<RouteQuote<'a>>, rejected: Vec<Rejection<'a>>) -> Self {
        Self { best, rejected }
    }
}

impl RouteQuote<'_> {
    /// What is left when the chain is paid.
    pub fn net_amount_out(&self) -> Amount {
        self.amount_out.checked_sub(self.chain_cost).unwrap_or_default()
    }

    /// The least output to accept: `⌊out · (10 000 − bps) / 10 000⌋`.
    pub fn min_out(&self, slippage_bps: u16) -> Amount {
        self.amount_out.less_slippage(slippage_bps)
    }

    /// The most input to spend: `⌈in · (10 000 + bps) / 10 000⌉`, or the largest amount if that
    /// does not fit.
    pub fn max_in(&self, slippage_bps: u16) -> Amount {
        let share = U256::from(WHOLE_BPS) + U256::from(slippage_bps);
        let product = U256::from(self.amount_in.base_units()) * share;
        u128::try_from(product.div_ceil(U256::from(WHOLE_BPS))).map_or(Amount::MAX, Amount::new)
    }

    /// The worst price to accept, in base units of output for one of input.
    ///
    /// # Errors
    /// If nothing goes in.
    pub fn limit_price(&self, slippage_bps: u16) -> Result<Ratio, QuoteError> {
        self.price_of(U256::from(self.min_out(slippage_bps).base_units()))
    }

    /// The price of an infinitely small trade without fees, in base units of output for one of
    /// input: of the pool of a single leg exactly, else of what the legs would pay at such prices,
    /// cut to whole base units.
    ///
    /// # Errors
    /// If a pool has no price.
    pub fn mid_price(&self) -> Result<Ratio, QuoteError> {
        if let [leg] = &self.legs[..] {
            return leg.pool.mid_price(leg.direction);
        }
        self.price_of(self.ideal_out()?)
    }

    /// How far the output stays below what the mid price promises, fees included, in hundredths of
    /// a percent, rounded up.
    ///
    /// # Errors
    /// If a pool has no price.
    pub fn price_impact_bps(&self) -> Result<u32, QuoteError> {
        let mid = self.mid_price()?;
        // out · 10⁴ / (in · mid), as a fraction of whole numbers.
        let (numerator, denominator) = mid.parts();
        let got = U512::from(self.amount_out.base_units()) * U512::from(denominator);
        let ideal = U512::from(self.amount_in.base_units()) * U512::from(numerator);
        if ideal.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let missing = ideal.saturating_sub(got) * U512::from(WHOLE_BPS);
        // The missing part is a part of the whole, so it fits.
        Ok(missing.div_ceil(ideal).to::<u32>())
    }

    fn price_of(&self, amount_out: U256) -> Result<Ratio, QuoteError> {
        Ratio::new(amount_out, U256::from(self.amount_in.base_units())).ok_or(QuoteError::TooSmall)
    }

    /// What would come out if every leg traded at its mid price.
    fn ideal_out(&self) -> Result<U256, QuoteError> {
        let mut total = U256::ZERO;
        let mut carried = U256::ZERO;
        for (position, leg) in self.legs.iter().enumerate() {
            let begins = position == 0 || self.legs[position - 1].path != leg.path;
            if begins {
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

/// Appends the legs of a lane for an exact input.
pub(crate) fn push_legs<'a>(
    legs: &mut Vec<LegQuote<'a>>,
    lane: &Lane<'a>,
    amount_in: Amount,
    at: Moment,
) -> Result<Amount, QuoteError> {
    let path = legs.last().map_or(0, |last| last.path + 1);
    lane.hops().try_fold(amount_in, |amount_in, hop| {
        let amount_out = hop.pool.amount_out(hop.direction, amount_in, at)?;
        legs.push(LegQuote { pool: hop.pool, direction: hop.direction, amount_in, amount_out, path });
        Ok(amount_out)
    })
}
