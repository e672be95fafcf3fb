//! The curve of Raydium's AMM v4 and CPMM pools and of Meteora's DAMM: the product of the reserves
//! never falls.
//!
//! The formula is Uniswap v2's; the layouts of the fees are those of the programs `raydium-amm` and
//! `raydium-cp-swap`. Meteora's DAMM rounds its fee down, but to one unit at least; here it is rounded
//! up, as everywhere, so a quote of it is low by at most the worth of one unit of input.

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::fee::Fee;
use crate::pool::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::Direction;
use crate::wide::{mul_div_ceil, mul_div_floor};

/// A pool of two reserves whose product never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct ConstantProduct {
    reserve_a: Amount,
    reserve_b: Amount,
    fee: Fee,
    creator_fee: Option<CreatorFee>,
    protocol_share: Fee,
    /// What is taken from the input, the creator's part included: from token a, and from token b.
    input_fees: [Fee; 2],
    /// What is taken from the output: of token a, and of token b.
    output_fees: [Fee; 2],
}

#[derive(Serialize, Deserialize)]
struct Fields {
    reserve_a: Amount,
    reserve_b: Amount,
    fee: Fee,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    creator_fee: Option<CreatorFee>,
    #[serde(default = "no_share")]
    protocol_share: Fee,
}

const fn no_share() -> Fee {
    Fee::NONE
}

/// What the founder of a CPMM pool takes of each trade, besides the trade fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatorFee {
    /// How much. The denominator is the trade fee's.
    pub rate: Fee,
    /// Of what.
    pub on: CreatorFeeOn,
}

/// What a creator's fee is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreatorFeeOn {
    /// Of what goes in.
    Input,
    /// Of token a, whether it goes in or comes out.
    TokenA,
    /// Of token b, whether it goes in or comes out.
    TokenB,
}

impl ConstantProduct {
    /// A pool with these reserves, in base units, and this fee on what goes in, which stays in the
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
            input_fees: [fee, fee],
            output_fees: [Fee::NONE, Fee::NONE],
        })
    }

    /// The pool with a fee for its creator, which leaves the pool.
    ///
    /// On the input it is added to the trade fee before rounding; on the output it is taken, rounded
    /// up, of what the curve gives.
    ///
    /// # Errors
    /// If the fee has another denominator than the trade fee, or their sum is not below one.
    pub fn with_creator_fee(self, creator_fee: CreatorFee) -> Result<Self, InvalidPool> {
        let invalid = |reason| InvalidPool { field: "creator_fee", reason };
        let (trade, denominator) = self.fee.parts();
        let (creator, of) = creator_fee.rate.parts();
        if denominator != of {
            return Err(invalid("must have the denominator of the trade fee"));
        }
        let sum = trade.checked_add(creator).and_then(|sum| Fee::new(sum, denominator).ok());
        let sum = sum.ok_or_else(|| invalid("must leave something of the input"))?;
        let (input_fees, output_fees) = match creator_fee.on {
            CreatorFeeOn::Input => ([sum, sum], [Fee::NONE, Fee::NONE]),
            CreatorFeeOn::TokenA => ([sum, self.fee], [creator_fee.rate, Fee::NONE]),
            CreatorFeeOn::TokenB => ([self.fee, sum], [Fee::NONE, creator_fee.rate]),
        };
        Ok(Self { creator_fee: Some(creator_fee), input_fees, output_fees, ..self })
    }

    /// The pool with a share of the trade fee that leaves the reserves, for the exchange.
    pub const fn with_protocol_share(mut self, share: Fee) -> Self {
        self.protocol_share = share;
        self
    }

    /// The reserves: of token a, and of token b.
    pub const fn reserves(&self) -> (Amount, Amount) {
        (self.reserve_a, self.reserve_b)
    }

    /// The trade fee on what goes in.
    pub const fn fee(&self) -> Fee {
        self.fee
    }

    /// What comes out for exactly `amount_in`, rounded down:
    /// `n = x − ⌈x·f⌉`, `out = ⌊n·Y / (R + n)⌋`, less the creator's fee if it is on the output.
    ///
    /// # Errors
    /// If nothing would come out, or the pool would overflow.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let out = self.swapped(direction, amount_in)?;
        let out = direction.orient(self.output_fees[0], self.output_fees[1]).1.deducted(out);
        if out.is_zero() { Err(QuoteError::TooSmall) } else { Ok(out) }
    }

    /// The least that must go in for `amount_out` to come out:
    /// `n = ⌈R·o / (Y − o)⌉`, `x = ⌈n·D / (D − f)⌉`.
    ///
    /// # Errors
    /// If the pool does not hold that much, or the amount would overflow.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let (input_fee, _) = direction.orient(self.input_fees[0], self.input_fees[1]);
        let (_, output_fee) = direction.orient(self.output_fees[0], self.output_fees[1]);
        let gross = output_fee.gross_up(amount_out).ok_or(QuoteError::NotEnoughLiquidity)?;
        let rest = reserve_out.checked_sub(gross).filter(|rest| !rest.is_zero());
        let rest = rest.ok_or(QuoteError::NotEnoughLiquidity)?;
        let net = mul_div_ceil(reserve_in.base_units(), gross.base_units(), rest.base_units());
        let amount_in = net.and_then(|net| input_fee.gross_up(Amount::new(net)));
        let amount_in = amount_in.ok_or(QuoteError::Overflow)?;
        reserve_in.checked_add(amount_in).ok_or(QuoteError::Overflow)?;
        Ok(amount_in)
    }

    /// The pool after exactly `amount_in` went in. The trade fee stays in the pool but for the
    /// exchange's share, the creator's fee does not.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        self.amount_out(direction, amount_in)?;
        let given = self.swapped(direction, amount_in)?;
        let kept = amount_in.checked_sub(self.leaving(direction, amount_in)).ok_or(QuoteError::Overflow)?;
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let reserve_in = reserve_in.checked_add(kept).ok_or(QuoteError::Overflow)?;
        // What is given stays below the reserve, so that none is ever empty.
        let reserve_out = reserve_out.checked_sub(given).ok_or(QuoteError::NotEnoughLiquidity)?;
        let (reserve_a, reserve_b) = direction.orient(reserve_in, reserve_out);
        Ok(Self { reserve_a, reserve_b, ..*self })
    }

    /// Output per input before any trade, fees deducted: `Y·(1 − f)/R`.
    ///
    /// # Errors
    /// Never; other curves may hold nothing.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let (input_kept, input_whole) = direction.orient(self.input_fees[0], self.input_fees[1]).0.kept();
        let (output_kept, output_whole) = direction.orient(self.output_fees[0], self.output_fees[1]).1.kept();
        // 128 and twice 64 bits fit into 256.
        let scaled = |reserve: Amount, one: u64, other: u64| {
            U256::from(reserve.base_units()) * U256::from(one) * U256::from(other)
        };
        let numerator = scaled(reserve_out, input_kept, output_kept);
        let denominator = scaled(reserve_in, input_whole, output_whole);
        Ratio::new(numerator, denominator).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Output per input before any trade and without fees: `Y/R`.
    ///
    /// # Errors
    /// Never; other curves may hold nothing.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let (numerator, denominator) = (reserve_out.base_units(), reserve_in.base_units());
        Ratio::new(U256::from(numerator), U256::from(denominator)).ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// The pool as a hyperbola, `out = price · x / (1 + bend · x)`, but for all rounding: a seed for
    /// searches that integers decide.
    #[allow(clippy::cast_precision_loss)] // A seed can spare the digits beyond 2⁵³.
    pub(crate) fn hyperbola(&self, direction: Direction) -> (f64, f64) {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        let rate = |(kept, whole): (u64, u64)| kept as f64 / whole as f64;
        let input_rate = rate(direction.orient(self.input_fees[0], self.input_fees[1]).0.kept());
        let output_rate = rate(direction.orient(self.output_fees[0], self.output_fees[1]).1.kept());
        let bend = input_rate / reserve_in.base_units() as f64;
        (bend * reserve_out.base_units() as f64 * output_rate, bend)
    }

    /// What the curve gives, before fees on the output.
    fn swapped(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let (reserve_in, reserve_out) = direction.orient(self.reserve_a, self.reserve_b);
        // The reserve must stay representable, or the pool could not take the amount.
        reserve_in.checked_add(amount_in).ok_or(QuoteError::Overflow)?;
        let net = direction.orient(self.input_fees[0], self.input_fees[1]).0.deducted(amount_in);
        let net = net.base_units();
        let out = mul_div_floor(net, reserve_out.base_units(), reserve_in.base_units() + net);
        out.map(Amount::new).ok_or(QuoteError::Overflow)
    }

    /// What of the input leaves the pool: the creator's fee, and the exchange's share of the rest.
    fn leaving(&self, direction: Direction, amount_in: Amount) -> Amount {
        let (input_fee, _) = direction.orient(self.input_fees[0], self.input_fees[1]);
        let (taken, _) = input_fee.parts();
        let (trade, _) = self.fee.parts();
        let fee = input_fee.of(amount_in).base_units();
        let creator = match u128::from(taken - trade) {
            0 => 0,
            part => mul_div_floor(fee, part, u128::from(taken)).unwrap_or(fee),
        };
        let protocol = self.protocol_share.share_of(Amount::new(fee - creator)).base_units();
        Amount::new(creator + protocol)
    }
}

impl TryFrom<Fields> for ConstantProduct {
    type Error = InvalidPool;

    fn try_from(fields: Fields) -> Result<Self, InvalidPool> {
        let pool = Self::new(fields.reserve_a, fields.reserve_b, fields.fee)?;
        let pool = pool.with_protocol_share(fields.protocol_share);
        fields.creator_fee.map_or(Ok(pool), |creator_fee| pool.with_creator_fee(creator_fee))
    }
}

impl From<ConstantProduct> for Fields {
    fn from(pool: ConstantProduct) -> Self {
        let ConstantProduct { reserve_a, reserve_b, fee, creator_fee, protocol_share, .. } = pool;
        Self { reserve_a, reserve_b, fee, creator_fee, protocol_share }
    }
}
