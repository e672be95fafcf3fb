//! Meteora's DLMM: bins with a fixed price each, and a fee that grows as a trade crosses bins and decays
//! with time.
//!
//! The design is Trader Joe's Liquidity Book; formulas and roundings are those that Meteora documents
//! and publishes in `dlmm-sdk`, so quotes equal the program's to the last unit. They leave out the
//! transfer fees of Token-2022, which are [conditions](crate::Conditions) of the pool.

mod fees;
mod price;

pub use fees::{DlmmFees, DlmmVolatility};

use std::sync::Arc;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::budget::{Meter, Unmetered};
use crate::error::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};
use fees::ONE_RATE;
use price::MAX_ID;

/// A DLMM pool, as far as its bins are known.
///
/// Token a is Meteora's x, token b its y. Trades go as far as the outermost known bin; a bin that is
/// missing between two known ones is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DlmmState", into = "DlmmState")]
pub struct Dlmm {
    active_id: i32,
    bin_step_bps: u16,
    fees: DlmmFees,
    volatility: DlmmVolatility,
    base_rate: u32,
    /// How many of the bins are below the active one.
    bins_below: usize,
    bins: Arc<[PricedBin]>,
}

/// The on-chain state of a DLMM pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DlmmState {
    /// The bin in which the price is.
    pub active_id: i32,
    /// By how many basis points the price rises from bin to bin.
    pub bin_step_bps: u16,
    /// The parameters of the fee.
    pub fees: DlmmFees,
    /// How much the price has moved recently.
    pub volatility: DlmmVolatility,
    /// The bins that hold something, ascending.
    pub bins: Vec<Bin>,
}

/// A bin, whose whole reserves trade at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// The bin's number; its price is `(1 + step)^id`.
    pub id: i32,
    /// The reserve of token a, zero in bins below the active one.
    pub reserve_a: Amount,
    /// The reserve of token b, zero in bins above the active one.
    pub reserve_b: Amount,
}

/// A bin and its price in Q64.64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PricedBin {
    bin: Bin,
    price_x64: u128,
}

/// The part of a trade that takes place in one bin.
struct Fill {
    /// The input, fee included.
    taken: u128,
    /// The fee in the input, which does not stay in the bin.
    fee: u128,
    /// The output.
    given: u128,
}

impl Dlmm {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If the bin step or a fee parameter is impossible, or a bin is out of range, out of order, or holds
    /// a token that it cannot hold.
    pub fn new(state: &DlmmState) -> Result<Self, InvalidPool> {
        let invalid = |field, reason| InvalidPool { field, reason };
        let id_range = -MAX_ID..=MAX_ID;
        if !(1..=10_000).contains(&state.bin_step_bps) {
            return Err(invalid("bin_step_bps", "must be between 1 and 10000"));
        }
        if !id_range.contains(&state.active_id) {
            return Err(invalid("active_id", "must be in range"));
        }
        if !id_range.contains(&state.volatility.index_reference) {
            return Err(invalid("index_reference", "must be in range"));
        }
        state.fees.check()?;
        if !state.bins.is_sorted_by(|one, next| one.id < next.id) {
            return Err(invalid("bins", "must be ascending"));
        }
        check_places(state.active_id, state.bins.iter())?;
        let priced = |bin: &Bin| {
            let price_x64 = price::of_bin(bin.id, state.bin_step_bps).filter(|_| id_range.contains(&bin.id));
            let price_x64 = price_x64.ok_or(invalid("bins", "must have a price that fits"))?;
            Ok(PricedBin { bin: *bin, price_x64 })
        };
        Ok(Self {
            active_id: state.active_id,
            bin_step_bps: state.bin_step_bps,
            fees: state.fees,
            volatility: state.volatility,
            base_rate: state.fees.base_rate(state.bin_step_bps),
            bins_below: state.bins.partition_point(|bin| bin.id < state.active_id),
            bins: state.bins.iter().map(priced).collect::<Result<_, InvalidPool>>()?,
        })
    }

    /// Returns the pool after trades of others, which moved the active bin and the volatility, and changed the reserves
    /// of some bins. No price of a bin is computed again.
    ///
    /// # Errors
    /// If a changed bin is not a known one, or holds a token that it cannot hold, or a number is out of range.
    pub fn with_bins(
        &self,
        active_id: i32,
        volatility: DlmmVolatility,
        changed: &[Bin],
    ) -> Result<Self, InvalidPool> {
        let invalid = |field, reason| InvalidPool { field, reason };
        let id_range = -MAX_ID..=MAX_ID;
        if !id_range.contains(&active_id) {
            return Err(invalid("active_id", "must be in range"));
        }
        if !id_range.contains(&volatility.index_reference) {
            return Err(invalid("index_reference", "must be in range"));
        }
        let mut bins = self.bins.to_vec();
        for bin in changed {
            let known = bins.binary_search_by_key(&bin.id, |priced| priced.bin.id);
            let known = known.map_err(|_| invalid("bins", "must be those that are known"))?;
            bins[known].bin = *bin;
        }
        check_places(active_id, bins.iter().map(|priced| &priced.bin))?;
        let bins_below = bins.partition_point(|priced| priced.bin.id < active_id);
        Ok(Self { active_id, volatility, bins_below, bins: bins.into(), ..*self })
    }

    /// Returns the price of a bin in Q64.64, as the program computes it, or `None` if it does not fit.
    pub fn price_of_bin(id: i32, bin_step_bps: u16) -> Option<u128> {
        price::of_bin(id, bin_step_bps)
    }

    /// Returns the state of the pool.
    pub fn state(&self) -> DlmmState {
        DlmmState {
            active_id: self.active_id,
            bin_step_bps: self.bin_step_bps,
            fees: self.fees,
            volatility: self.volatility,
            bins: self.bins.iter().map(|priced| priced.bin).collect(),
        }
    }

    /// Returns what comes out for exactly `amount_in`, rounded down in each bin.
    ///
    /// # Errors
    /// If nothing would come out, or the trade would pass the outermost known bin.
    pub fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.metered_out(direction, amount_in, at, &Unmetered)
    }

    /// Returns [`Self::amount_out`], unless the walk passes more bins than the meter allows.
    pub(crate) fn metered_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        let mut out = 0_u128;
        self.fill(direction, amount_in, at, |_, fill| {
            meter.step()?;
            out = out.checked_add(fill.given).ok_or(QuoteError::Overflow)?;
            Ok(())
        })?;
        if out == 0 { Err(QuoteError::TooSmall) } else { Ok(Amount::new(out)) }
    }

    /// Returns the least input for which at least `amount_out` comes out.
    ///
    /// # Errors
    /// If the amount is zero, or the trade would pass the outermost known bin.
    pub fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.metered_in(direction, amount_out, at, &Unmetered)
    }

    /// Returns [`Self::amount_in`], unless the walk passes more bins than the meter allows.
    pub(crate) fn metered_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let volatility = self.volatility.referenced(&self.fees, self.active_id, at);
        let (mut rest, mut amount_in) = (amount_out.base_units(), 0_u128);
        for (_, priced) in self.ahead(direction) {
            meter.step()?;
            let given = rest.min(priced.holds(direction));
            let net = price::in_for(direction, given, priced.price_x64);
            let taken = net.and_then(|net| fees::with_fee(net, self.rate(&volatility, priced)));
            let sum = taken.and_then(|taken| amount_in.checked_add(taken));
            amount_in = sum.ok_or(QuoteError::Overflow)?;
            rest -= given;
            if rest == 0 {
                return Ok(Amount::new(amount_in));
            }
        }
        Err(QuoteError::NotEnoughLiquidity)
    }

    /// Returns the pool after exactly `amount_in` went in. Fees do not stay in the bins.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount, at: Moment) -> Result<Self, QuoteError> {
        self.amount_out(direction, amount_in, at)?;
        let mut bins = self.bins.to_vec();
        let mut stopped = self.bins_below;
        self.fill(direction, amount_in, at, |index, fill| {
            stopped = index;
            bins[index].apply(direction, &fill)
        })?;
        let active_id = bins[stopped].bin.id;
        let referenced = self.volatility.referenced(&self.fees, self.active_id, at);
        let accumulator = referenced.in_bin(&self.fees, active_id);
        let last_update = at.max(referenced.last_update);
        Ok(Self {
            active_id,
            volatility: DlmmVolatility { accumulator, last_update, ..referenced },
            bins_below: stopped,
            bins: bins.into(),
            ..*self
        })
    }

    /// Returns the output per unit of input before any trade, fees deducted.
    ///
    /// # Errors
    /// If no bin holds any of the output token.
    pub fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        let volatility = self.volatility.referenced(&self.fees, self.active_id, at);
        let (_, priced) = self.ahead(direction).next().ok_or(QuoteError::NotEnoughLiquidity)?;
        ratio(direction, priced.price_x64, ONE_RATE - self.rate(&volatility, priced))
    }

    /// Returns the output per unit of input before any trade, without fees: the price of the active bin.
    ///
    /// # Errors
    /// If the price of the active bin does not fit.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let price_x64 = price::of_bin(self.active_id, self.bin_step_bps).ok_or(QuoteError::Overflow)?;
        ratio(direction, price_x64, ONE_RATE)
    }

    /// Fills bins until the input is used up, and calls `on_fill` with the index of each bin and its fill.
    fn fill(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
        mut on_fill: impl FnMut(usize, Fill) -> Result<(), QuoteError>,
    ) -> Result<(), QuoteError> {
        let volatility = self.volatility.referenced(&self.fees, self.active_id, at);
        let mut rest = amount_in.base_units();
        if rest == 0 {
            return Err(QuoteError::TooSmall);
        }
        for (index, priced) in self.ahead(direction) {
            let fill = priced.fill(direction, rest, self.rate(&volatility, priced))?;
            rest -= fill.taken;
            on_fill(index, fill)?;
            if rest == 0 {
                return Ok(());
            }
        }
        Err(QuoteError::NotEnoughLiquidity)
    }

    /// Returns the bins that hold the output token, from the active one in the direction of the trade.
    fn ahead(&self, direction: Direction) -> impl Iterator<Item = (usize, &PricedBin)> {
        let includes_active =
            self.bins.get(self.bins_below).is_some_and(|next| next.bin.id == self.active_id);
        let (mut low, mut high) = match direction {
            Direction::AToB => (0, self.bins_below + usize::from(includes_active)),
            Direction::BToA => (self.bins_below, self.bins.len()),
        };
        let indices = std::iter::from_fn(move || {
            if low == high {
                return None;
            }
            match direction {
                Direction::AToB => {
                    high -= 1;
                    Some(high)
                }
                Direction::BToA => {
                    low += 1;
                    Some(low - 1)
                }
            }
        });
        let bins = indices.map(|index| (index, &self.bins[index]));
        bins.filter(move |(_, priced)| priced.holds(direction) > 0)
    }

    fn rate(&self, volatility: &DlmmVolatility, priced: &PricedBin) -> u32 {
        let moved = volatility.in_bin(&self.fees, priced.bin.id);
        self.fees.rate(self.base_rate, self.bin_step_bps, moved)
    }
}

impl PricedBin {
    /// Returns the reserve of the output token.
    fn holds(&self, direction: Direction) -> u128 {
        direction.orient(self.bin.reserve_a, self.bin.reserve_b).1.base_units()
    }

    /// Swaps as much of an input as the bin can pay for.
    fn fill(&self, direction: Direction, rest: u128, rate: u32) -> Result<Fill, QuoteError> {
        let holds = self.holds(direction);
        let fee = fees::inside(rest, rate);
        // A value that does not fit is more than the bin holds.
        let value = price::out_of(direction, rest - fee, self.price_x64).unwrap_or(u128::MAX);
        if value < holds {
            return Ok(Fill { taken: rest, fee, given: value });
        }
        let net = price::in_for(direction, holds, self.price_x64).ok_or(QuoteError::Overflow)?;
        let most = fees::with_fee(net, rate).ok_or(QuoteError::Overflow)?;
        if rest > most {
            Ok(Fill { taken: most, fee: most - net, given: holds })
        } else {
            Ok(Fill { taken: rest, fee, given: holds })
        }
    }

    fn apply(&mut self, direction: Direction, fill: &Fill) -> Result<(), QuoteError> {
        let (into, out_of) = direction.orient(self.bin.reserve_a, self.bin.reserve_b);
        let into = into.checked_add(Amount::new(fill.taken - fill.fee)).ok_or(QuoteError::Overflow)?;
        let out_of = out_of.checked_sub(Amount::new(fill.given)).ok_or(QuoteError::NotEnoughLiquidity)?;
        (self.bin.reserve_a, self.bin.reserve_b) = direction.orient(into, out_of);
        Ok(())
    }
}

/// Checks that bins below the active one hold only token b, and bins above it only token a. A trade empties the bins
/// that it passes. If a bin behind the price still sold something, a round trip could bring a profit.
fn check_places<'b>(active_id: i32, mut bins: impl Iterator<Item = &'b Bin>) -> Result<(), InvalidPool> {
    let is_misplaced = |bin: &Bin| {
        (bin.id < active_id && !bin.reserve_a.is_zero()) || (bin.id > active_id && !bin.reserve_b.is_zero())
    };
    if bins.any(is_misplaced) {
        let reason = "must hold only token b below the active one, only token a above it";
        return Err(InvalidPool { field: "bins", reason });
    }
    Ok(())
}

/// Returns a bin's price of the input in the output, times `kept / ONE_RATE`.
fn ratio(direction: Direction, price_x64: u128, kept: u32) -> Result<Ratio, QuoteError> {
    let (numerator, denominator) = direction.orient(U256::from(price_x64), U256::from(1) << 64);
    let ratio = Ratio::new(numerator * U256::from(kept), denominator * U256::from(ONE_RATE));
    ratio.ok_or(QuoteError::NotEnoughLiquidity)
}

impl TryFrom<DlmmState> for Dlmm {
    type Error = InvalidPool;

    fn try_from(state: DlmmState) -> Result<Self, InvalidPool> {
        Self::new(&state)
    }
}

impl From<Dlmm> for DlmmState {
    fn from(pool: Dlmm) -> Self {
        pool.state()
    }
}
