//! Meteora's DLMM: bins with a fixed price each, and a fee that grows as a trade crosses bins and decays
//! with time.
//!
//! The design is Trader Joe's Liquidity Book; formulas and roundings are those that Meteora documents
//! and publishes in `dlmm-sdk` of July 2026, so quotes equal the program's to the last unit: with the fee on the input
//! or always on token y, and with limit orders in bins. They leave out the transfer fees of Token-2022, which are
//! [conditions](crate::Conditions) of the pool.

mod bin;
mod fees;
mod price;

pub use bin::{Bin, BinOrders};
pub use fees::{DlmmFees, DlmmVolatility};

use std::sync::Arc;

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::budget::{Meter, Unmetered};
use crate::error::{InvalidPool, QuoteError};
use crate::fee::FeeOn;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};
use bin::{Fill, PricedBin, Toll};
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
    fee_on: FeeOn,
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
    /// The amount of which the fee is taken: the input, or always token b (`collect_fee_mode`).
    #[serde(default, skip_serializing_if = "FeeOn::is_default")]
    pub fee_on: FeeOn,
    /// The limit orders that are not filled yet, by their bins, ascending. A pool whose function is not limit orders has
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limit_orders: Vec<BinOrders>,
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
        if !matches!(state.fee_on, FeeOn::Input | FeeOn::TokenB) {
            return Err(invalid("fee_on", "must be the input or token b"));
        }
        let bins = bin::merged(&state.bins, &state.limit_orders, state.bin_step_bps)?;
        bin::check_places(state.active_id, &bins)?;
        Ok(Self {
            active_id: state.active_id,
            bin_step_bps: state.bin_step_bps,
            fees: state.fees,
            volatility: state.volatility,
            base_rate: state.fees.base_rate(state.bin_step_bps),
            fee_on: state.fee_on,
            bins_below: bins.partition_point(|priced| priced.bin.id < state.active_id),
            bins: bins.into(),
        })
    }

    /// Returns the pool after trades of others, which moved the active bin and the volatility, and changed the reserves
    /// of some bins, and perhaps the limit orders in these: a changed bin has those that are given, or none. No price of
    /// a bin is computed again.
    ///
    /// # Errors
    /// If a changed bin is not a known one, or holds a token that it cannot hold, or orders are given for another bin, or
    /// a number is out of range.
    pub fn with_bins(
        &self,
        active_id: i32,
        volatility: DlmmVolatility,
        changed: &[Bin],
        orders: &[BinOrders],
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
        let place = |bins: &[PricedBin], id| {
            let known = bins.binary_search_by_key(&id, |priced| priced.bin.id);
            known.map_err(|_| invalid("bins", "must be those that are known"))
        };
        for bin in changed {
            let known = place(&bins, bin.id)?;
            bins[known] = PricedBin { bin: *bin, orders: None, ..bins[known] };
        }
        for resting in orders {
            if !changed.iter().any(|bin| bin.id == resting.id) {
                return Err(invalid("limit_orders", "must be in changed bins"));
            }
            let known = place(&bins, resting.id)?;
            bins[known].orders = Some(*resting);
        }
        bin::check_places(active_id, &bins)?;
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
            fee_on: self.fee_on,
            limit_orders: self.bins.iter().filter_map(|priced| priced.orders).collect(),
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
            let Fill { taken, given, .. } =
                priced.fill_out(direction, rest, self.toll(direction, &volatility, priced))?;
            amount_in = amount_in.checked_add(taken).ok_or(QuoteError::Overflow)?;
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
            bins[index].apply(direction, fill)
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
        let Toll { rate, .. } = self.toll(direction, &volatility, priced);
        ratio(direction, priced.price_x64, ONE_RATE - rate)
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
            let fill = priced.fill_in(direction, rest, self.toll(direction, &volatility, priced))?;
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
        bins.filter(move |(_, priced)| priced.is_liquid(direction))
    }

    fn toll(&self, direction: Direction, volatility: &DlmmVolatility, priced: &PricedBin) -> Toll {
        let moved = volatility.in_bin(&self.fees, priced.bin.id);
        let rate = self.fees.rate(self.base_rate, self.bin_step_bps, moved);
        Toll { rate, is_on_input: self.fee_on.is_input(direction) }
    }
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
