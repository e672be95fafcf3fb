//! Stable swap of two coins, as Curve published it and as Saber and Meteora's stable pools run it: nearly
//! constant sum around par, nearly constant product far from it.
//!
//! Amounts are brought to the same decimals first. The venues solve the invariant by Newton's iteration
//! and stop within one unit; where that stops depends on where it began, so that its quotes are not quite
//! monotone. Here the invariant is rounded up and the other coin is the least that keeps it, both
//! exactly. Near par a quote is up to three units of the common decimals below the venue's.

mod invariant;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::fee::Fee;
use crate::pool::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::Direction;
use crate::wide::div_ceil;
use invariant::COIN_BITS;

/// Curve's own bound on the amplification.
const MAX_AMPLIFICATION: u64 = 1_000_000;
/// The furthest that two tokens' decimals are apart: from none to ether's.
const MAX_DECIMALS_APART: u8 = 18;

/// A pool of two coins that are worth about the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StableState", into = "StableState")]
pub struct StableSwap {
    state: StableState,
    /// By how much base units are multiplied to have the common decimals: of token a, and of token b.
    rates: (u64, u64),
    ann: u64,
    invariant: u128,
}

/// What a snapshot of a stable pool says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StableState {
    /// Base units of token a.
    pub reserve_a: Amount,
    /// Base units of token b.
    pub reserve_b: Amount,
    /// The decimals of token a.
    pub decimals_a: u8,
    /// The decimals of token b.
    pub decimals_b: u8,
    /// Curve's `A`: how far the pool stays near par.
    pub amplification: u64,
    /// The fee on what comes out.
    pub fee: Fee,
    /// The share of the fee that leaves the reserves, for the exchange.
    #[serde(default = "no_share")]
    pub protocol_share: Fee,
}

const fn no_share() -> Fee {
    Fee::NONE
}

/// A pool seen from a direction, in common decimals.
struct Sides {
    coin_in: u128,
    coin_out: u128,
    rate_in: u128,
    rate_out: u128,
}

/// What comes out, in common decimals.
struct Given {
    gross: u128,
    fee: u128,
}

impl StableSwap {
    /// The pool of a snapshot.
    ///
    /// # Errors
    /// If a reserve is zero or beyond arithmetic in the common decimals, the decimals are too far apart,
    /// or the amplification is impossible.
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

    /// The snapshot of the pool.
    pub const fn state(&self) -> StableState {
        self.state
    }

    /// What comes out for exactly `amount_in`: `dy = y − y' − 1`, less the fee, rounded down.
    ///
    /// # Errors
    /// If nothing would come out, or the pool would overflow.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let sides = self.sides(direction);
        let given = self.given(&sides, amount_in)?;
        let out = (given.gross - given.fee) / sides.rate_out;
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// The least that must go in for at least `amount_out` to come out.
    ///
    /// # Errors
    /// If the pool does not hold that much, or would overflow.
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
        // The invariant is rounded up, so that a pool with less of a coin needs more of the other.
        let amount_in = Amount::new(div_ceil(coin_in.saturating_sub(sides.coin_in), sides.rate_in).max(1));
        Self::grown(&sides, amount_in)?;
        Ok(amount_in)
    }

    /// The pool after exactly `amount_in` went in. The fee stays in the pool but for the exchange's share.
    ///
    /// As it stays on the side of the output, the next trade in the same direction may regain some of
    /// it: a trade that is cut in two may yield more here, by less than the first one's fee.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        let out = self.amount_out(direction, amount_in)?;
        let sides = self.sides(direction);
        let fee = self.given(&sides, amount_in)?.fee;
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

    /// Output per input before any trade, fees deducted: the slope of the invariant. It is rounded up
    /// where it does not fit, by less than one part in 2¹¹⁹.
    ///
    /// # Errors
    /// Never; other curves may hold nothing.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, self.state.fee.kept())
    }

    /// Output per input before any trade and without the fee, rounded as [`Self::spot_price`].
    ///
    /// # Errors
    /// Never; other curves may hold nothing.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, (1, 1))
    }

    /// `y·(Ann·(2x + y) + D − Ann·D) / x·(Ann·(x + 2y) + D − Ann·D)`, times what is kept.
    fn price(&self, direction: Direction, (kept, whole): (u64, u64)) -> Result<Ratio, QuoteError> {
        let sides = self.sides(direction);
        let (x, y) = (U256::from(sides.coin_in), U256::from(sides.coin_out));
        let (ann, two) = (U256::from(self.ann), U256::from(2));
        // The invariant may be just above the real one, and more than this only far from par.
        let less = (ann - U256::from(1)) * U256::from(self.invariant - 1);
        let slope = |coin: U256, sum: U256| coin * (ann * sum).saturating_sub(less);
        let (over, under) = (slope(y, two * x + y), slope(x, x + two * y));
        // What is multiplied below has up to 124 bits.
        let shift = over.bit_len().max(under.bit_len()).saturating_sub(128);
        let cut: U256 = over >> shift;
        let over = if shift == 0 { cut } else { cut + U256::from(1) };
        let under: U256 = under >> shift;
        let over = over * U256::from(kept) * U256::from(sides.rate_in);
        let under = under * U256::from(whole) * U256::from(sides.rate_out);
        Ratio::new(over, under).ok_or(QuoteError::NotEnoughLiquidity)
    }

    fn given(&self, sides: &Sides, amount_in: Amount) -> Result<Given, QuoteError> {
        if amount_in.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let grown = Self::grown(sides, amount_in)?;
        let left = invariant::other_coin(grown, self.invariant, self.ann).ok_or(QuoteError::TooSmall)?;
        let gross = sides.coin_out.checked_sub(left).and_then(|given| given.checked_sub(1));
        let gross = gross.ok_or(QuoteError::TooSmall)?;
        Ok(Given { gross, fee: self.state.fee.of(Amount::new(gross)).base_units() })
    }

    /// What the pool holds of the input afterwards.
    fn grown(sides: &Sides, amount_in: Amount) -> Result<u128, QuoteError> {
        let added = scaled(amount_in, sides.rate_in).ok_or(QuoteError::Overflow)?;
        let grown = sides.coin_in + added;
        if grown >> COIN_BITS == 0 { Ok(grown) } else { Err(QuoteError::Overflow) }
    }

    fn sides(&self, direction: Direction) -> Sides {
        let rates = (u128::from(self.rates.0), u128::from(self.rates.1));
        let (rate_in, rate_out) = direction.orient(rates.0, rates.1);
        let (reserve_in, reserve_out) = direction.orient(self.state.reserve_a, self.state.reserve_b);
        // The constructor saw that the products fit.
        let (coin_in, coin_out) = (reserve_in.base_units() * rate_in, reserve_out.base_units() * rate_out);
        Sides { coin_in, coin_out, rate_in, rate_out }
    }
}

/// An amount in the common decimals, if it is within what a coin may be.
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
