//! Bins, the limit orders in them, and the part of a trade that takes place in one.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::trade::Direction;

use super::{fees, price};

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

/// Limit orders that rest in a bin. A trade fills them at the bin's price after its reserves: first what is left of those
/// of which some were filled, then the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinOrders {
    /// The bin's number.
    pub id: i32,
    /// Whether they sell token a, and not token b: `limit_order_ask_side`.
    pub is_ask: bool,
    /// What orders sell of which none was filled: `open_order_amount`.
    pub open: Amount,
    /// What is left of orders of which some were filled: `processed_order_remaining_amount`.
    pub processed: Amount,
}

/// A bin with its orders and its price in Q64.64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PricedBin {
    pub(super) bin: Bin,
    pub(super) orders: Option<BinOrders>,
    pub(super) price_x64: u128,
}

/// The fee of a trade in a bin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Toll {
    /// The rate, in parts of 10⁹.
    pub(super) rate: u32,
    /// Whether the fee is taken of the input, and not of the output.
    pub(super) is_on_input: bool,
}

/// The part of a trade that takes place in one bin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fill {
    /// The input, its fee included.
    pub(super) taken: u128,
    /// The output, without its fee.
    pub(super) given: u128,
    /// What goes into the reserves.
    into_reserve: u128,
    /// What each of the bin's layers gives: the reserve, orders of which some were filled, and the others.
    sold: [u128; 3],
}

impl Toll {
    /// Returns what of an input is traded.
    fn net_in(self, gross: u128) -> u128 {
        if self.is_on_input { gross - fees::inside(gross, self.rate) } else { gross }
    }

    /// Returns the least input of which so much is traded.
    fn gross_in(self, net: u128) -> Result<u128, QuoteError> {
        let rate = if self.is_on_input { self.rate } else { 0 };
        fees::with_fee(net, rate).ok_or(QuoteError::Overflow)
    }

    /// Returns what of an output reaches the trader.
    fn net_out(self, gross: u128) -> u128 {
        if self.is_on_input { gross } else { gross - fees::inside(gross, self.rate) }
    }

    /// Returns the least output of which so much reaches the trader.
    fn gross_out(self, net: u128) -> Result<u128, QuoteError> {
        let rate = if self.is_on_input { 0 } else { self.rate };
        fees::with_fee(net, rate).ok_or(QuoteError::Overflow)
    }
}

impl PricedBin {
    /// Returns what the bin holds of the output token: the reserve, orders of which some were filled, and the others.
    fn layers(&self, direction: Direction) -> [u128; 3] {
        let reserve = direction.orient(self.bin.reserve_a, self.bin.reserve_b).1.base_units();
        let sells_output = |orders: &BinOrders| orders.is_ask == matches!(direction, Direction::BToA);
        match self.orders.filter(sells_output) {
            Some(orders) => [reserve, orders.processed.base_units(), orders.open.base_units()],
            None => [reserve, 0, 0],
        }
    }

    /// Returns whether the bin holds any of the output token.
    pub(super) fn is_liquid(&self, direction: Direction) -> bool {
        self.layers(direction).iter().any(|layer| *layer > 0)
    }

    /// Swaps as much of an input as the bin can pay for.
    pub(super) fn fill_in(&self, direction: Direction, rest: u128, toll: Toll) -> Result<Fill, QuoteError> {
        let mut net = toll.net_in(rest);
        let (mut used, mut sold, mut into_reserve) = (0_u128, [0; 3], 0);
        for (index, holds) in self.layers(direction).into_iter().enumerate().filter(|(_, holds)| *holds > 0) {
            // A value that does not fit is more than the layer holds.
            let (taken, given) = match price::out_of(direction, net, self.price_x64) {
                Some(worth) if worth < holds => (net, worth),
                _ => (price::in_for(direction, holds, self.price_x64).ok_or(QuoteError::Overflow)?, holds),
            };
            net -= taken;
            used = used.checked_add(taken).ok_or(QuoteError::Overflow)?;
            sold[index] = given;
            into_reserve += if index == 0 { taken } else { 0 };
        }
        let taken = if net > 0 { toll.gross_in(used)? } else { rest };
        Ok(Fill { taken, given: toll.net_out(total(sold)?), into_reserve, sold })
    }

    /// Swaps for as much of an output as the bin holds.
    pub(super) fn fill_out(&self, direction: Direction, rest: u128, toll: Toll) -> Result<Fill, QuoteError> {
        let layers = self.layers(direction);
        let most = toll.net_out(total(layers)?);
        let (given, mut wanted) =
            if most < rest { (most, total(layers)?) } else { (rest, toll.gross_out(rest)?) };
        let (mut used, mut sold) = (0_u128, [0; 3]);
        for (index, holds) in layers.into_iter().enumerate() {
            sold[index] = holds.min(wanted);
            wanted -= sold[index];
            let net = price::in_for(direction, sold[index], self.price_x64);
            used = net.and_then(|net| used.checked_add(net)).ok_or(QuoteError::Overflow)?;
        }
        Ok(Fill { taken: toll.gross_in(used)?, given, into_reserve: 0, sold })
    }

    /// Books what a trade has filled. Fees do not stay in the bin, nor does what orders get.
    pub(super) fn apply(&mut self, direction: Direction, fill: Fill) -> Result<(), QuoteError> {
        let (into, out_of) = direction.orient(self.bin.reserve_a, self.bin.reserve_b);
        let into = into.checked_add(Amount::new(fill.into_reserve)).ok_or(QuoteError::Overflow)?;
        let left =
            |held: Amount, sold| held.checked_sub(Amount::new(sold)).ok_or(QuoteError::NotEnoughLiquidity);
        let [reserve, processed, open] = fill.sold;
        (self.bin.reserve_a, self.bin.reserve_b) = direction.orient(into, left(out_of, reserve)?);
        if let Some(orders) = self.orders.as_mut().filter(|_| processed + open > 0) {
            (orders.processed, orders.open) = (left(orders.processed, processed)?, left(orders.open, open)?);
            if open > 0 {
                // The orders of which some were filled before are gone; those of which some are filled now take their place.
                (orders.processed, orders.open) = (orders.open, Amount::ZERO);
            }
        }
        Ok(())
    }
}

fn total(layers: [u128; 3]) -> Result<u128, QuoteError> {
    let sum = layers[0].checked_add(layers[1]).and_then(|sum| sum.checked_add(layers[2]));
    sum.ok_or(QuoteError::Overflow)
}

/// Returns all bins with their orders and prices.
pub(super) fn merged(
    bins: &[Bin],
    orders: &[BinOrders],
    bin_step_bps: u16,
) -> Result<Vec<PricedBin>, InvalidPool> {
    let invalid = |field, reason| InvalidPool { field, reason };
    if !bins.is_sorted_by(|one, next| one.id < next.id) {
        return Err(invalid("bins", "must be ascending"));
    }
    if !orders.is_sorted_by(|one, next| one.id < next.id) {
        return Err(invalid("limit_orders", "must be ascending"));
    }
    let in_range = |id: &i32| (-price::MAX_ID..=price::MAX_ID).contains(id);
    let priced = |bin: Bin| {
        let price_x64 = Some(bin.id).filter(in_range).and_then(|id| price::of_bin(id, bin_step_bps));
        let price_x64 = price_x64.ok_or(invalid("bins", "must have a price that fits"))?;
        Ok(PricedBin { bin, orders: None, price_x64 })
    };
    let mut merged: Vec<PricedBin> = bins.iter().copied().map(priced).collect::<Result<_, InvalidPool>>()?;
    for resting in orders {
        // Few bins have orders, so that an insertion each is cheap.
        let place = merged.binary_search_by_key(&resting.id, |priced| priced.bin.id);
        let place = match place {
            Ok(place) => place,
            Err(place) => {
                let bin = Bin { id: resting.id, reserve_a: Amount::ZERO, reserve_b: Amount::ZERO };
                merged.insert(place, priced(bin)?);
                place
            }
        };
        merged[place].orders = Some(*resting);
    }
    Ok(merged)
}

/// Checks that bins below the active one hold only token b, and bins above it only token a. A trade empties the bins
/// that it passes. If a bin behind the price still sold something, a round trip could bring a profit.
pub(super) fn check_places(active_id: i32, bins: &[PricedBin]) -> Result<(), InvalidPool> {
    let is_misplaced = |bin: &Bin| {
        (bin.id < active_id && !bin.reserve_a.is_zero()) || (bin.id > active_id && !bin.reserve_b.is_zero())
    };
    if bins.iter().any(|priced| is_misplaced(&priced.bin)) {
        let reason = "must hold only token b below the active one, only token a above it";
        return Err(InvalidPool { field: "bins", reason });
    }
    let is_wrong = |orders: &BinOrders| {
        let is_empty = orders.open.is_zero() && orders.processed.is_zero();
        !is_empty && ((orders.id < active_id && orders.is_ask) || (orders.id > active_id && !orders.is_ask))
    };
    if bins.iter().filter_map(|priced| priced.orders.as_ref()).any(is_wrong) {
        let reason = "must sell token b below the active bin, token a above it";
        return Err(InvalidPool { field: "limit_orders", reason });
    }
    Ok(())
}
