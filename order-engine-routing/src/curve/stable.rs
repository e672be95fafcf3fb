//! Stable swap of two coins, as Curve published it and as Saber and Meteora's stable pools run it: nearly
//! a constant sum around par, nearly a constant product far from it.
//!
//! Amounts are first brought to common decimals. The venues solve the invariant by Newton's iteration and
//! stop within one unit; the result depends on the starting point, so their quotes are not quite
//! monotone. Here the invariant is rounded up and the other coin is the least that keeps it, both
//! exactly. Near par a quote is up to three units of the common decimals below the venue's.

mod invariant;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::fee::Fee;
use crate::ratio::Ratio;
use crate::trade::Direction;
use crate::wide::div_ceil;
use invariant::COIN_BITS;

/// Curve's own bound on the amplification.
const MAX_AMPLIFICATION: u64 = 1_000_000;
/// The largest difference between the decimals of two tokens: from zero to ether's 18.
const MAX_DECIMALS_APART: u8 = 18;

/// A pool of two coins of about the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StableState", into = "StableState")]
pub struct StableSwap {
    state: StableState,
    /// The factors that bring base units of token a and of token b to the common decimals.
    rates: (u64, u64),
    ann: u64,
    invariant: u128,
}

/// The on-chain state of a stable pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StableState {
    /// The reserve of token a.
    pub reserve_a: Amount,
    /// The reserve of token b.
    pub reserve_b: Amount,
    /// The decimals of token a.
    pub decimals_a: u8,
    /// The decimals of token b.
    pub decimals_b: u8,
    /// Curve's `A`: the larger it is, the further from balance the pool still trades near par.
    pub amplification: u64,
    /// The fee on the output.
    pub fee: Fee,
    /// The share of the fee that leaves the reserves, for the exchange.
    #[serde(default)]
    pub protocol_share: Fee,
}

/// The reserves in common decimals, ordered by the direction of a trade.
struct Sides {
    coin_in: u128,
    coin_out: u128,
    rate_in: u128,
    rate_out: u128,
}

/// The output of a trade, in common decimals.
struct Output {
    gross: u128,
    fee: u128,
}

impl StableSwap {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If a reserve is zero or does not fit 96 bits in the common decimals, the decimals are too far
    /// apart, or the amplification is impossible.
    pub fn new(state: StableState) -> Result<Self, InvalidPool> {
        let invalid = |field, reason| InvalidPool { field, reason };
        if !(1..=MAX_AMPLIFICATION).contains(&state.amplification) {
            return Err(invalid("amplification", "must be between one and a million"));
        }
        if state.decimals_a.abs_diff(state.decimals_b) > MAX_DECIMALS_APART {
            return Err(invalid("decimals_b", "must be within 18 of the other token's"));
        }
        let common = state.decimals_a.max(state.decimals_b);
        let rate = |decimals: u8| 10_u64.pow(u32::from(common - decimals));
        let rates = (rate(state.decimals_a), rate(state.decimals_b));
        let coin = |reserve, rate| scaled(reserve, u128::from(rate)).filter(|coin| *coin > 0);
        let range = "must be greater than zero and below 2⁹⁶ in the common decimals";
        let coin_a = coin(state.reserve_a, rates.0).ok_or(invalid("reserve_a", range))?;
        let coin_b = coin(state.reserve_b, rates.1).ok_or(invalid("reserve_b", range))?;
        let ann = 2 * state.amplification;
        let invariant = invariant::above(coin_a, coin_b, ann);
        Ok(Self { state, rates, ann, invariant })
    }

    /// Returns the state of the pool.
    pub const fn state(&self) -> StableState {
        self.state
    }

    /// Returns what comes out for exactly `amount_in`: `dy = y − y' − 1`, less the fee, rounded down.
    ///
    /// # Errors
    /// If nothing would come out, or a reserve would overflow.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let sides = self.sides(direction);
        let output = self.output(&sides, amount_in)?;
        let out = (output.gross - output.fee) / sides.rate_out;
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// Returns the least input for which at least `amount_out` comes out.
    ///
    /// # Errors
    /// If the pool does not hold enough, or a reserve would overflow.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let sides = self.sides(direction);
        let net = scaled(amount_out, sides.rate_out).ok_or(QuoteError::NotEnoughLiquidity)?;
        let gross = self.state.fee.gross_up(Amount::new(net)).ok_or(QuoteError::NotEnoughLiquidity)?;
        let left = sides.coin_out.checked_sub(gross.base_units()).and_then(|left| left.checked_sub(1));
        let left = left.filter(|left| *left > 0).ok_or(QuoteError::NotEnoughLiquidity)?;
        let coin_in = invariant::other_coin(left, self.invariant, self.ann).ok_or(QuoteError::Overflow)?;
        // The stored invariant is above that of the reserves, so less of one coin needs more of the other.
        let amount_in = Amount::new(div_ceil(coin_in.saturating_sub(sides.coin_in), sides.rate_in).max(1));
        Self::grown(&sides, amount_in)?;
        Ok(amount_in)
    }

    /// Returns the pool after exactly `amount_in` went in. The fee stays in the pool, except for the
    /// exchange's share.
    ///
    /// Because the fee stays in the reserve of the output token, the next trade in the same direction may
    /// regain some of it: two trades may pay more than one of the same total, by less than the first
    /// trade's fee.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        let out = self.amount_out(direction, amount_in)?;
        let sides = self.sides(direction);
        let fee = self.output(&sides, amount_in)?.fee;
        let share = self.state.protocol_share.share_of(Amount::new(fee)).base_units();
        let (reserve_in, reserve_out) = direction.orient(self.state.reserve_a, self.state.reserve_b);
        let reserve_in = reserve_in.checked_add(amount_in).ok_or(QuoteError::Overflow)?;
        let reserve_out = reserve_out
            .checked_sub(out)
            .and_then(|rest| rest.checked_sub(Amount::new(share / sides.rate_out)))
            .ok_or(QuoteError::NotEnoughLiquidity)?;
        let (reserve_a, reserve_b) = direction.orient(reserve_in, reserve_out);
        Self::new(StableState { reserve_a, reserve_b, ..self.state }).map_err(|_| QuoteError::Overflow)
    }

    /// Returns the output per unit of input before any trade, fees deducted: the slope of the invariant. It
    /// is rounded up where it does not fit, by less than one part in 2¹¹⁹.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, self.state.fee.kept())
    }

    /// Returns the output per unit of input before any trade, without the fee, rounded as
    /// [`Self::spot_price`].
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, (1, 1))
    }

    /// Returns `y·(Ann·(2x + y) + D − Ann·D) / x·(Ann·(x + 2y) + D − Ann·D)`, times `kept / whole`.
    fn price(&self, direction: Direction, (kept, whole): (u64, u64)) -> Result<Ratio, QuoteError> {
        let sides = self.sides(direction);
        let (x, y) = (U256::from(sides.coin_in), U256::from(sides.coin_out));
        let (ann, two) = (U256::from(self.ann), U256::from(2));
        // The stored invariant is the least integer above the real one. One less keeps the slopes positive,
        // even far from par.
        let less = (ann - U256::from(1)) * U256::from(self.invariant - 1);
        let slope = |coin: U256, sum: U256| coin * (ann * sum).saturating_sub(less);
        let (over, under) = (slope(y, two * x + y), slope(x, x + two * y));
        // The factors below have up to 124 bits, so 128 bits remain for these.
        let shift = over.bit_len().max(under.bit_len()).saturating_sub(128);
        let truncated: U256 = over >> shift;
        let over = if shift == 0 { truncated } else { truncated + U256::from(1) };
        let under: U256 = under >> shift;
        let over = over * U256::from(kept) * U256::from(sides.rate_in);
        let under = under * U256::from(whole) * U256::from(sides.rate_out);
        Ratio::new(over, under).ok_or(QuoteError::NotEnoughLiquidity)
    }

    fn output(&self, sides: &Sides, amount_in: Amount) -> Result<Output, QuoteError> {
        if amount_in.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let grown = Self::grown(sides, amount_in)?;
        let left = invariant::other_coin(grown, self.invariant, self.ann).ok_or(QuoteError::TooSmall)?;
        let gross = sides.coin_out.checked_sub(left).and_then(|given| given.checked_sub(1));
        let gross = gross.ok_or(QuoteError::TooSmall)?;
        Ok(Output { gross, fee: self.state.fee.of(Amount::new(gross)).base_units() })
    }

    /// Returns the reserve of the input token after the trade.
    fn grown(sides: &Sides, amount_in: Amount) -> Result<u128, QuoteError> {
        let added = scaled(amount_in, sides.rate_in).ok_or(QuoteError::Overflow)?;
        let grown = sides.coin_in + added;
        if grown >> COIN_BITS == 0 { Ok(grown) } else { Err(QuoteError::Overflow) }
    }

    fn sides(&self, direction: Direction) -> Sides {
        let rates = (u128::from(self.rates.0), u128::from(self.rates.1));
        let (rate_in, rate_out) = direction.orient(rates.0, rates.1);
        let (reserve_in, reserve_out) = direction.orient(self.state.reserve_a, self.state.reserve_b);
        // The constructor checked that the products fit.
        let (coin_in, coin_out) = (reserve_in.base_units() * rate_in, reserve_out.base_units() * rate_out);
        Sides { coin_in, coin_out, rate_in, rate_out }
    }
}

/// Returns an amount in the common decimals, or `None` if it is too large for a coin.
fn scaled(amount: Amount, rate: u128) -> Option<u128> {
    amount.base_units().checked_mul(rate).filter(|coin| coin >> COIN_BITS == 0)
}

impl TryFrom<StableState> for StableSwap {
    type Error = InvalidPool;

    fn try_from(state: StableState) -> Result<Self, InvalidPool> {
        Self::new(state)
    }
}

impl From<StableSwap> for StableState {
    fn from(pool: StableSwap) -> Self {
        pool.state
    }
}
