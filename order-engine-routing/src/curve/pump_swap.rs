//! `PumpSwap`: a constant product whose quote reserve may be partly virtual, with three fees on the quote token.
//!
//! The program is not published; its arithmetic is that of Pump's public documents and of its `pump-swap-sdk` 1.20. Each of
//! the three fees is rounded up by itself, and a purchase with a given amount gives up one more unit. A larger trade may
//! so pay one or two units less than a smaller one. Quotes take the least that this may pay, so that they never promise too
//! much, whichever of the program's instructions a buyer uses: they are up to two units of the quote token below a sale,
//! and up to the worth of three below a purchase.
//!
//! What the share for buybacks does to a trade is not published: a pool under a configuration that has one must be refused
//! by [`Feature::BuybackFee`](crate::Feature::BuybackFee).

use std::sync::Arc;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::fee::ONE_BPS;
use crate::ratio::Ratio;
use crate::trade::Direction;
use crate::wide::{mul_div_ceil, mul_div_floor};

/// A `PumpSwap` pool. Token a is the base token, token b the quote token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PumpSwapState", into = "PumpSwapState")]
pub struct PumpSwap {
    reserve_a: u128,
    reserve_b: u128,
    virtual_b: i128,
    /// The real and the virtual reserve of token b, together.
    priced_b: u128,
    supply_a: u128,
    tiers: Arc<[PumpTier]>,
    /// The fees at this market capitalisation.
    fees: PumpFees,
}

/// The on-chain state of a `PumpSwap` pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PumpSwapState {
    /// What the pool's account of the base token holds.
    pub reserve_a: Amount,
    /// What the pool's account of the quote token holds.
    pub reserve_b: Amount,
    /// What is added to the quote reserve for prices, and never paid out: `virtual_quote_reserves`.
    #[serde(with = "crate::decimal", default)]
    pub virtual_b: i128,
    /// The supply of the base token, by which the market capitalisation counts: of a pool in mayhem mode 10¹⁵ base units.
    pub supply_a: Amount,
    /// The fees by the market capitalisation, ascending. A pool that is not one of Pump's own, or whose quote token has no
    /// tiers, has one tier with its flat fees. Where the pool's creator sets the creator's fee, or there is no creator, each
    /// tier has that instead.
    pub tiers: Vec<PumpTier>,
}

/// The fees from a market capitalisation on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PumpTier {
    /// The least market capitalisation, in base units of the quote token. Below the first tier its fees apply, too.
    pub market_cap: Amount,
    /// The fees.
    pub fees: PumpFees,
}

/// The three fees of a trade, each on the amount of the quote token, rounded up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PumpFees {
    /// The fee that stays in the pool, in basis points.
    pub lp_bps: u16,
    /// The fee of the exchange, in basis points.
    pub protocol_bps: u16,
    /// The fee of the coin's creator, in basis points.
    pub creator_bps: u16,
}

impl PumpFees {
    /// Returns the sum of the fees, in basis points.
    fn total_bps(self) -> u32 {
        u32::from(self.lp_bps) + u32::from(self.protocol_bps) + u32::from(self.creator_bps)
    }

    /// Returns by how many units the fees may exceed their sum rounded up, because each is rounded by itself.
    fn slack(self) -> u128 {
        let parts = [self.lp_bps, self.protocol_bps, self.creator_bps];
        parts.iter().filter(|bps| **bps > 0).count().saturating_sub(1) as u128
    }

    /// Returns the fee that stays in the pool.
    fn lp_fee(self, amount: u128) -> Option<u128> {
        mul_div_ceil(amount, u128::from(self.lp_bps), u128::from(ONE_BPS))
    }
}

impl PumpSwap {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If a reserve or the supply is zero or does not fit 64 bits, the price is not positive or does not fit, there are no tiers or they
    /// do not ascend, or fees take all of an amount.
    pub fn new(state: &PumpSwapState) -> Result<Self, InvalidPool> {
        let tiers = &state.tiers;
        if tiers.is_empty() || !tiers.is_sorted_by(|one, next| one.market_cap < next.market_cap) {
            return Err(InvalidPool { field: "tiers", reason: "must be there and ascending" });
        }
        if tiers.iter().any(|tier| tier.fees.total_bps() >= ONE_BPS) {
            return Err(InvalidPool { field: "tiers", reason: "must leave something of an amount" });
        }
        let range = "must be greater than zero and fit 64 bits";
        let checked = |amount: Amount, field| match amount.base_units() {
            amount @ 1.. if amount >> 64 == 0 => Ok(amount),
            _ => Err(InvalidPool { field, reason: range }),
        };
        let reserve_a = checked(state.reserve_a, "reserve_a")?;
        let supply_a = checked(state.supply_a, "supply_a")?;
        let reserve_b = checked(state.reserve_b, "reserve_b")?;
        let invalid = InvalidPool { field: "virtual_b", reason: "must leave a price that fits" };
        if state.virtual_b.unsigned_abs() >> 95 != 0 {
            return Err(invalid);
        }
        Self::with(reserve_a, reserve_b, state.virtual_b, supply_a, tiers.as_slice().into()).ok_or(invalid)
    }

    /// Returns the pool with these reserves, `None` if its price does not fit.
    fn with(
        reserve_a: u128,
        reserve_b: u128,
        virtual_b: i128,
        supply_a: u128,
        tiers: Arc<[PumpTier]>,
    ) -> Option<Self> {
        let priced_b = reserve_b.checked_add_signed(virtual_b).filter(|priced| *priced > 0)?;
        // The program divides the product, rounded down.
        // One that does not fit is above every tier.
        let market_cap = mul_div_floor(priced_b, supply_a, reserve_a).map_or(Amount::MAX, Amount::new);
        let reached = tiers.partition_point(|tier| tier.market_cap <= market_cap);
        let fees = tiers.get(reached.saturating_sub(1))?.fees;
        Some(Self { reserve_a, reserve_b, virtual_b, priced_b, supply_a, tiers, fees })
    }

    /// Returns the state of the pool.
    pub fn state(&self) -> PumpSwapState {
        PumpSwapState {
            reserve_a: Amount::new(self.reserve_a),
            reserve_b: Amount::new(self.reserve_b),
            virtual_b: self.virtual_b,
            supply_a: Amount::new(self.supply_a),
            tiers: self.tiers.to_vec(),
        }
    }

    /// Returns the fees that a trade pays now: those of the tier of the market capitalisation.
    pub const fn fees(&self) -> PumpFees {
        self.fees
    }

    /// Returns what comes out for exactly `amount_in`, or a little less.
    ///
    /// # Errors
    /// If nothing would come out, or the pool does not hold enough of the quote token.
    pub fn amount_out(&self, direction: Direction, amount_in: Amount) -> Result<Amount, QuoteError> {
        let out = match direction {
            Direction::AToB => self.kept_of_sale(self.sold(amount_in.base_units())?)?,
            Direction::BToA => self.bought(self.spent(amount_in.base_units())?)?,
        };
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// Returns the least input for which at least `amount_out` comes out.
    ///
    /// # Errors
    /// If the amount is zero, or the pool does not hold enough.
    pub fn amount_in(&self, direction: Direction, amount_out: Amount) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let (out, fees) = (amount_out.base_units(), self.fees);
        let (whole, sum) = (u128::from(ONE_BPS), u128::from(fees.total_bps()));
        let short = QuoteError::NotEnoughLiquidity;
        let amount_in = match direction {
            Direction::AToB => {
                let gross =
                    out.checked_add(fees.slack()).and_then(|net| mul_div_ceil(net, whole, whole - sum));
                let rest = gross.and_then(|gross| self.priced_b.checked_sub(gross)).filter(|rest| *rest > 0);
                mul_div_ceil(self.reserve_a, gross.ok_or(short)?, rest.ok_or(short)?)
            }
            Direction::BToA => {
                let rest = self.reserve_a.checked_sub(out).filter(|rest| *rest > 0).ok_or(short)?;
                let net = mul_div_ceil(self.priced_b, out, rest);
                let net = net.and_then(|net| net.checked_add(fees.slack() + 1));
                net.and_then(|net| mul_div_ceil(net, whole + sum, whole))
            }
        };
        let amount_in = Amount::new(amount_in.ok_or(QuoteError::Overflow)?);
        self.amount_out(direction, amount_in)?;
        Ok(amount_in)
    }

    /// Returns the pool after exactly `amount_in` went in. Only the fee for the liquidity providers stays in it.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount) -> Result<Self, QuoteError> {
        let out = self.amount_out(direction, amount_in)?.base_units();
        let overflow = QuoteError::Overflow;
        let (reserve_a, reserve_b) = match direction {
            Direction::AToB => {
                let sold = self.sold(amount_in.base_units())?;
                let leaving = sold - self.fees.lp_fee(sold).ok_or(overflow)?;
                (self.reserve_a.checked_add(amount_in.base_units()), self.reserve_b.checked_sub(leaving))
            }
            Direction::BToA => {
                let spent = self.spent(amount_in.base_units())?;
                let kept = self.fees.lp_fee(spent).and_then(|fee| spent.checked_add(fee));
                (self.reserve_a.checked_sub(out), kept.and_then(|kept| self.reserve_b.checked_add(kept)))
            }
        };
        let fits = |reserve: Option<u128>| {
            reserve.filter(|reserve| *reserve > 0 && reserve >> 64 == 0).ok_or(overflow)
        };
        let tiers = Arc::clone(&self.tiers);
        Self::with(fits(reserve_a)?, fits(reserve_b)?, self.virtual_b, self.supply_a, tiers).ok_or(overflow)
    }

    /// Returns the output per unit of input before any trade, fees deducted.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn spot_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, self.fees)
    }

    /// Returns the output per unit of input before any trade, without fees.
    ///
    /// # Errors
    /// Never. Other curves may hold none of the output token.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        self.price(direction, PumpFees { lp_bps: 0, protocol_bps: 0, creator_bps: 0 })
    }

    fn price(&self, direction: Direction, fees: PumpFees) -> Result<Ratio, QuoteError> {
        let (a, b) = (U256::from(self.reserve_a), U256::from(self.priced_b));
        let whole = U256::from(ONE_BPS);
        let ratio = match direction {
            Direction::AToB => Ratio::new(b * U256::from(ONE_BPS - fees.total_bps()), a * whole),
            Direction::BToA => Ratio::new(a * whole, b * U256::from(ONE_BPS + fees.total_bps())),
        };
        ratio.ok_or(QuoteError::NotEnoughLiquidity)
    }

    /// Returns what the curve gives for a sale, before fees.
    fn sold(&self, amount_in: u128) -> Result<u128, QuoteError> {
        let whole = self.reserve_a.checked_add(amount_in).filter(|whole| whole >> 64 == 0);
        mul_div_floor(self.priced_b, amount_in, whole.ok_or(QuoteError::Overflow)?)
            .ok_or(QuoteError::Overflow)
    }

    /// Returns the least that a seller gets of what the curve gives.
    fn kept_of_sale(&self, sold: u128) -> Result<u128, QuoteError> {
        let fees = self.fees;
        let leaving = sold - fees.lp_fee(sold).ok_or(QuoteError::Overflow)?;
        // The virtual reserve pays nobody, and the pool does not become empty.
        if leaving >= self.reserve_b {
            return Err(QuoteError::NotEnoughLiquidity);
        }
        let net = mul_div_floor(sold, u128::from(ONE_BPS - fees.total_bps()), u128::from(ONE_BPS));
        Ok(net.ok_or(QuoteError::Overflow)?.saturating_sub(fees.slack()))
    }

    /// Returns the least that a buyer's amount leaves for the curve.
    fn spent(&self, amount_in: u128) -> Result<u128, QuoteError> {
        // The pool can take only an amount after which its reserve still fits.
        if self.reserve_b.checked_add(amount_in).is_none_or(|whole| whole >> 64 != 0) {
            return Err(QuoteError::Overflow);
        }
        let (whole, sum) = (u128::from(ONE_BPS), u128::from(self.fees.total_bps()));
        let net = amount_in * whole / (whole + sum);
        Ok(net.saturating_sub(self.fees.slack()))
    }

    /// Returns what the curve gives for a purchase: the program's own estimate, which leaves one unit out.
    fn bought(&self, spent: u128) -> Result<u128, QuoteError> {
        let net = spent.saturating_sub(1);
        mul_div_floor(self.reserve_a, net, self.priced_b + net).ok_or(QuoteError::Overflow)
    }
}

impl TryFrom<PumpSwapState> for PumpSwap {
    type Error = InvalidPool;

    fn try_from(state: PumpSwapState) -> Result<Self, InvalidPool> {
        Self::new(&state)
    }
}

impl From<PumpSwap> for PumpSwapState {
    fn from(pool: PumpSwap) -> Self {
        pool.state()
    }
}
