//! The curve of Raydium's AMM v4 and CPMM pools: the product of the reserves never falls.
//!
//! The formula is Uniswap v2's; the fees follow the programs `raydium-amm` and `raydium-cp-swap`. Meteora's DAMM v1
//! holds its reserves in vaults and is a [curve of its own](crate::VaultedProduct).

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::fee::{Fee, FeeOn};
use crate::hyperbola::Hyperbola;
use crate::ratio::Ratio;
use crate::trade::Direction;
use crate::wide::{mul_div_ceil, mul_div_floor};

/// A pool of two reserves whose product never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConstantProductState", into = "ConstantProductState")]
pub struct ConstantProduct {
    reserve_a: Amount,
    reserve_b: Amount,
    fee: Fee,
    creator_fee: Option<CreatorFee>,
    protocol_share: Fee,
    fund_share: Fee,
    /// The fees on the input, the creator's included: if token a goes in, and if token b does.
    input_fees: [Fee; 2],
    /// The fees on the output: if token a comes out, and if token b does.
    output_fees: [Fee; 2],
}

/// A constant-product pool as it is serialised.
#[derive(Serialize, Deserialize)]
struct ConstantProductState {
    reserve_a: Amount,
    reserve_b: Amount,
    fee: Fee,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    creator_fee: Option<CreatorFee>,
    #[serde(default)]
    protocol_share: Fee,
    #[serde(default)]
    fund_share: Fee,
}

/// The fee that the creator of a CPMM pool takes of each trade, on top of the trade fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatorFee {
    /// The rate. Its denominator is the trade fee's.
    pub rate: Fee,
    /// The amount on which the fee is taken.
    pub on: FeeOn,
}

impl ConstantProduct {
    /// Returns a pool with these reserves, in base units, and this fee on the input, which stays in the
    /// pool.
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
        Ok(Self {
            reserve_a,
            reserve_b,
            fee,
            creator_fee: None,
            protocol_share: Fee::NONE,
            fund_share: Fee::NONE,
            input_fees: [fee, fee],
            output_fees: [Fee::NONE, Fee::NONE],
        })
    }

    /// Adds a fee for the pool's creator, which leaves the pool.
    ///
    /// On the input it is added to the trade fee before rounding; on the output it is deducted, rounded
    /// up, from what the curve gives.
    ///
    /// # Errors
    /// If the denominators of the fee and the trade fee differ, or the sum of both fees is not below one.
    pub fn with_creator_fee(self, creator_fee: CreatorFee) -> Result<Self, InvalidPool> {
        let invalid = |reason| InvalidPool { field: "creator_fee", reason };
        let (trade, denominator) = self.fee.parts();
        let (creator, of) = creator_fee.rate.parts();
        if denominator != of {
            return Err(invalid("must have the denominator of the trade fee"));
        }
        let sum = trade.checked_add(creator).and_then(|sum| Fee::new(sum, denominator).ok());
        let sum = sum.ok_or_else(|| invalid("must leave something of the input"))?;
        let of = |direction| {
            if creator_fee.on.is_input(direction) { (sum, Fee::NONE) } else { (self.fee, creator_fee.rate) }
        };
        let ((a_in, b_out), (b_in, a_out)) = (of(Direction::AToB), of(Direction::BToA));
        let (input_fees, output_fees) = ([a_in, b_in], [a_out, b_out]);
        Ok(Self { creator_fee: Some(creator_fee), input_fees, output_fees, ..self })
    }

    /// Sets the share of the trade fee that leaves the reserves, for the exchange.
    #[must_use]
    pub const fn with_protocol_share(mut self, share: Fee) -> Self {
        self.protocol_share = share;
        self
    }

    /// Sets the share of the trade fee that leaves the reserves for a fund, beside the exchange's share. The program of
    /// CPMM pools rounds each of the two down by itself.
    #[must_use]
    pub const fn with_fund_share(mut self, share: Fee) -> Self {
        self.fund_share = share;
        self
    }

    /// Returns the pool with other reserves.
    ///
    /// # Errors
    /// If a reserve is zero.
    pub fn with_reserves(&self, reserve_a: Amount, reserve_b: Amount) -> Result<Self, InvalidPool> {
        Self::new(reserve_a, reserve_b, self.fee)?;
        Ok(Self { reserve_a, reserve_b, ..*self })
    }

    /// Returns the reserves of token a and of token b.
    pub const fn reserves(&self) -> (Amount, Amount) {
        (self.reserve_a, self.reserve_b)
    }

    /// Returns the trade fee on the input.
    pub const fn fee(&self) -> Fee {
        self.fee
    }

    /// Returns what comes out for exactly `amount_in`, rounded down:
    /// `n = x − ⌈x·f⌉`, `out = ⌊n·Y / (R + n)⌋`, less the creator's fee if it is on the output.
    ///
    /// # Errors
    /// If nothing would come out, or a reserve would overflow.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let out = self.swapped(direction, amount_in)?;
        let out = self.output_fee(direction).deduct_from(out);
        if out.is_zero() { Err(QuoteError::TooSmall) } else { Ok(out) }
    }

    /// Returns the least input for which at least `amount_out` comes out:
    /// `n = ⌈R·o / (Y − o)⌉`, `x = ⌈n·D / (D − f)⌉`.
    ///
    /// # Errors
    /// If the pool does not hold enough, or a reserve would overflow.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let gross = self.output_fee(direction).gross_up(amount_out).ok_or(QuoteError::NotEnoughLiquidity)?;
        let rest = reserve_out.checked_sub(gross).filter(|rest| !rest.is_zero());
        let rest = rest.ok_or(QuoteError::NotEnoughLiquidity)?;
        let net = mul_div_ceil(reserve_in.base_units(), gross.base_units(), rest.base_units());
        let amount_in = net.and_then(|net| self.input_fee(direction).gross_up(Amount::new(net)));
        let amount_in = amount_in.ok_or(QuoteError::Overflow)?;
        reserve_in.checked_add(amount_in).ok_or(QuoteError::Overflow)?;
        Ok(amount_in)
    }

    /// Returns the pool after exactly `amount_in` went in. The trade fee stays in the pool, except for
    /// the exchange's share; the creator's fee does not.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        self.amount_out(direction, amount_in)?;
        let given = self.swapped(direction, amount_in)?;
        let kept = amount_in.checked_sub(self.leaving(direction, amount_in)).ok_or(QuoteError::Overflow)?;
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let reserve_in = reserve_in.checked_add(kept).ok_or(QuoteError::Overflow)?;
        // The curve gives less than the reserve, so that a reserve is never empty.
        let reserve_out = reserve_out.checked_sub(given).ok_or(QuoteError::NotEnoughLiquidity)?;
        let (reserve_a, reserve_b) = direction.orient(reserve_in, reserve_out);
        Ok(Self { reserve_a, reserve_b, ..*self })
    }

    /// Returns the output per unit of input before any trade, fees deducted: `Y·(1 − f)/R`.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let (input_kept, input_whole) = self.input_fee(direction).kept();
        let (output_kept, output_whole) = self.output_fee(direction).kept();
        // A product of 128, 64 and 64 bits fits 256.
        let scaled = |reserve: Amount, one: u64, other: u64| {
            U256::from(reserve.base_units()) * U256::from(one) * U256::from(other)
        };
        let numerator = scaled(reserve_out, input_kept, output_kept);
        let denominator = scaled(reserve_in, input_whole, output_whole);
        Ratio::new(numerator, denominator).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Returns the output per unit of input before any trade, without fees: `Y/R`.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let (numerator, denominator) = (reserve_out.base_units(), reserve_in.base_units());
        Ratio::new(U256::from(numerator), U256::from(denominator)).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Returns the output as a hyperbola of the input, without any rounding.
    #[allow(clippy::cast_precision_loss)] // A hyperbola only seeds a search, so 53 bits suffice.
    pub(crate) fn hyperbola(&self, direction: Direction) -> Hyperbola {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let rate = |(kept, whole): (u64, u64)| kept as f64 / whole as f64;
        let bend = rate(self.input_fee(direction).kept()) / reserve_in.base_units() as f64;
        let price = bend * reserve_out.base_units() as f64 * rate(self.output_fee(direction).kept());
        Hyperbola { price, bend }
    }

    fn input_fee(&self, direction: Direction) -> Fee {
        let [a, b] = self.input_fees;
        direction.orient(a, b).0
    }

    fn output_fee(&self, direction: Direction) -> Fee {
        let [a, b] = self.output_fees;
        direction.orient(a, b).1
    }

    /// Returns what the curve gives, before the fee on the output.
    fn swapped(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        // The pool can take only an amount after which its reserve still fits.
        reserve_in.checked_add(amount_in).ok_or(QuoteError::Overflow)?;
        let net = self.input_fee(direction).deduct_from(amount_in).base_units();
        let out = mul_div_floor(net, reserve_out.base_units(), reserve_in.base_units() + net);
        out.map(Amount::new).ok_or(QuoteError::Overflow)
    }

    /// Returns the part of the input that leaves the pool: the creator's fee, and the shares of the trade
    /// fee of the exchange and of a fund.
    fn leaving(&self, direction: Direction, amount_in: Amount) -> Amount {
        let input_fee = self.input_fee(direction);
        let (input_rate, _) = input_fee.parts();
        let (trade_rate, _) = self.fee.parts();
        let fee = input_fee.of(amount_in).base_units();
        let creator = match u128::from(input_rate - trade_rate) {
            0 => 0,
            creator_rate => mul_div_floor(fee, creator_rate, u128::from(input_rate)).unwrap_or(fee),
        };
        let trade_fee = Amount::new(fee - creator);
        let shares =
            [self.protocol_share, self.fund_share].map(|share| share.share_of(trade_fee).base_units());
        // Two shares that are more than the whole fee leave nothing of it.
        Amount::new(creator + (shares[0].saturating_add(shares[1])).min(trade_fee.base_units()))
    }
}

impl TryFrom<ConstantProductState> for ConstantProduct {
    type Error = InvalidPool;

    fn try_from(state: ConstantProductState) -> Result<Self, InvalidPool> {
        let pool = Self::new(state.reserve_a, state.reserve_b, state.fee)?;
        let pool = pool.with_protocol_share(state.protocol_share).with_fund_share(state.fund_share);
        state.creator_fee.map_or(Ok(pool), |creator_fee| pool.with_creator_fee(creator_fee))
    }
}

impl From<ConstantProduct> for ConstantProductState {
    fn from(pool: ConstantProduct) -> Self {
        let ConstantProduct { reserve_a, reserve_b, fee, creator_fee, protocol_share, fund_share, .. } = pool;
        Self { reserve_a, reserve_b, fee, creator_fee, protocol_share, fund_share }
    }
}
