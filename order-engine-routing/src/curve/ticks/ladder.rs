//! The ticks of a pool, and the place of its price among them.

use std::sync::Arc;

use order_engine_core::Amount;
use ruint::aliases::U256;

use crate::error::{InvalidPool, QuoteError};
use crate::ratio::Ratio;
use crate::trade::Direction;

use super::fees::{ONE_PPM, StepFees};
use super::table::{MAX_TICK, MIN_TICK, TickTable};
use super::tick::{PricedTick, Tick, TickOrders};
use super::walk::{Cursor, Walk};

/// A price, the tick in which it is, and the liquidity in range there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) sqrt_price_x64: u128,
    pub(crate) tick_current: i32,
    pub(crate) liquidity: u128,
}

/// The ticks of a pool, and the place of its price among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ladder {
    table: TickTable,
    cursor: Cursor,
    tick_current: i32,
    tick_spacing: u16,
    /// Whether limit orders rest at any tick.
    has_orders: bool,
    ticks: Arc<[PricedTick]>,
}

impl Ladder {
    /// Returns the ladder of these ticks, at which positions begin or end or limit orders rest.
    ///
    /// # Errors
    /// If the price is not in the current tick, a tick is out of range, out of order or not a multiple of the spacing,
    /// or the liquidity would overflow or fall below zero at some tick.
    pub(crate) fn new(
        table: TickTable,
        place: Place,
        tick_spacing: u16,
        ticks: &[Tick],
        orders: &[TickOrders],
    ) -> Result<Self, InvalidPool> {
        check_place(table, place)?;
        if tick_spacing == 0 {
            return Err(InvalidPool { field: "tick_spacing", reason: "must be greater than zero" });
        }
        let mut ticks = merged(ticks, orders)?;
        for tick in &mut ticks {
            let invalid = |reason| InvalidPool { field: "ticks", reason };
            if tick.index % i32::from(tick_spacing) != 0 {
                return Err(invalid("must be multiples of the spacing"));
            }
            tick.sqrt_price_x64 = table.sqrt_price(tick.index).ok_or(invalid("must be in range"))?;
        }
        let Place { sqrt_price_x64, tick_current, liquidity } = place;
        let ticks_below = ticks.partition_point(|tick| tick.index <= tick_current);
        add_up_liquidity(&mut ticks, ticks_below, liquidity)
            .ok_or(InvalidPool { field: "liquidity", reason: "must stay within bounds at each tick" })?;
        let cursor = Cursor { sqrt_price_x64, liquidity, ticks_below };
        Ok(Self {
            table,
            cursor,
            tick_current,
            tick_spacing,
            has_orders: !orders.is_empty(),
            ticks: ticks.into(),
        })
    }

    /// Returns the ladder at another price. The ticks are shared, and only a few of them are looked at.
    ///
    /// # Errors
    /// If the price is not in the tick, or the liquidity is not the one that the known ticks say. Then the ticks have
    /// changed, too. Nor if limit orders rest at any tick, because nothing says which of them were filled on the way.
    pub(crate) fn at(&self, place: Place) -> Result<Self, InvalidPool> {
        check_place(self.table, place)?;
        let Place { sqrt_price_x64, tick_current, liquidity } = place;
        if self.has_orders {
            let reason = "may have been filled, so the pool must be read again";
            return Err(InvalidPool { field: "limit_orders", reason });
        }
        let ticks_below = self.ticks.partition_point(|tick| tick.index <= tick_current);
        let known = ticks_below.checked_sub(1).map(|below| self.ticks[below].liquidity_above);
        let known = known.or_else(|| {
            let first = self.ticks.first()?;
            first.liquidity_above.checked_add_signed(first.liquidity_net.checked_neg()?)
        });
        if known.is_some_and(|known| known != liquidity) {
            return Err(InvalidPool { field: "liquidity", reason: "must be that of the known ticks" });
        }
        let cursor = Cursor { sqrt_price_x64, liquidity, ticks_below };
        Ok(Self { cursor, tick_current, ticks: Arc::clone(&self.ticks), ..*self })
    }

    /// Returns the ladder as a trade leaves it. Orders that it has filled are gone.
    pub(crate) fn after<F: StepFees>(&self, walk: &Walk<'_, F>) -> Self {
        let cursor = walk.cursor();
        let has_moved = cursor.sqrt_price_x64 != self.cursor.sqrt_price_x64
            || cursor.ticks_below != self.cursor.ticks_below;
        // A trade that is too small to move the price leaves the pool in its tick.
        let tick_current = if has_moved { walk.current_tick(self.table) } else { self.tick_current };
        let (passed, left) = walk.orders_met(self.cursor);
        if !self.has_orders {
            return Self { cursor, tick_current, ticks: Arc::clone(&self.ticks), ..*self };
        }
        let mut ticks = self.ticks.to_vec();
        ticks[passed].iter_mut().for_each(|tick| tick.orders = 0);
        if let Some((index, orders)) = left {
            ticks[index].orders = orders;
        }
        // A tick with neither positions nor orders is no longer initialised, so that no trade stops there.
        ticks.retain(|tick| tick.has_positions || tick.orders > 0);
        let ticks_below = ticks.partition_point(|tick| tick.index <= tick_current);
        let has_orders = ticks.iter().any(|tick| tick.orders > 0);
        let cursor = Cursor { ticks_below, ..cursor };
        Self { cursor, tick_current, has_orders, ticks: ticks.into(), ..*self }
    }

    /// Returns a trade that begins at the price.
    pub(crate) fn walk<F: StepFees>(
        &self,
        direction: Direction,
        fees: F,
        is_fee_on_input: bool,
    ) -> Walk<'_, F> {
        Walk::new(&self.ticks, fees, is_fee_on_input, self.cursor, direction)
    }

    /// Returns the price of the input in the output without a walk, before any trade, less a fee in millionths.
    pub(crate) fn price(&self, direction: Direction, fee_ppm: u32) -> Result<Ratio, QuoteError> {
        price(direction, self.cursor.sqrt_price_x64, fee_ppm)
    }

    /// Returns the price at which the first unit trades, less the fee.
    pub(crate) fn first_price<F: StepFees>(
        &self,
        direction: Direction,
        fees: F,
    ) -> Result<Ratio, QuoteError> {
        let (sqrt_price, fee_ppm) = self.walk(direction, fees, true).first_price()?;
        price(direction, sqrt_price, fee_ppm)
    }

    pub(crate) const fn place(&self) -> Place {
        let Cursor { sqrt_price_x64, liquidity, .. } = self.cursor;
        Place { sqrt_price_x64, tick_current: self.tick_current, liquidity }
    }

    pub(crate) const fn tick_spacing(&self) -> u16 {
        self.tick_spacing
    }

    /// Returns the ticks at which positions begin or end.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let ticks = self.ticks.iter().filter(|tick| tick.has_positions);
        ticks.map(|tick| Tick { index: tick.index, liquidity_net: tick.liquidity_net }).collect()
    }

    /// Returns the limit orders.
    pub(crate) fn orders(&self) -> Vec<TickOrders> {
        let ticks = self.ticks.iter().filter(|tick| tick.orders > 0);
        ticks.map(|tick| TickOrders { index: tick.index, amount: Amount::from(tick.orders) }).collect()
    }

    /// Returns whether limit orders rest at any tick.
    pub(crate) const fn has_orders(&self) -> bool {
        self.has_orders
    }
}

/// Returns the price of the input in the output, less a fee.
fn price(direction: Direction, sqrt_price_x64: u128, fee_ppm: u32) -> Result<Ratio, QuoteError> {
    let root = U256::from(sqrt_price_x64);
    // A root is below 2⁹⁷, so its square times a million fits.
    let (numerator, denominator) = direction.orient(root * root, U256::from(1) << 128);
    let ratio = Ratio::new(numerator * U256::from(ONE_PPM - fee_ppm), denominator * U256::from(ONE_PPM));
    ratio.ok_or(QuoteError::NotEnoughLiquidity)
}

fn check_place(table: TickTable, place: Place) -> Result<(), InvalidPool> {
    let invalid = |field, reason| Err(InvalidPool { field, reason });
    if !(MIN_TICK..MAX_TICK).contains(&place.tick_current) {
        return invalid("tick_current", "must be a tick below the highest");
    }
    match (table.sqrt_price(place.tick_current), table.sqrt_price(place.tick_current + 1)) {
        (Some(here), Some(next)) if (here..=next).contains(&place.sqrt_price_x64) => Ok(()),
        _ => invalid("sqrt_price_x64", "must be in the current tick"),
    }
}

/// Returns all initialised ticks, without their prices.
fn merged(ticks: &[Tick], orders: &[TickOrders]) -> Result<Vec<PricedTick>, InvalidPool> {
    let invalid = |field, reason| InvalidPool { field, reason };
    if !ticks.is_sorted_by(|one, next| one.index < next.index) {
        return Err(invalid("ticks", "must be ascending"));
    }
    if !orders.is_sorted_by(|one, next| one.index < next.index) {
        return Err(invalid("limit_orders", "must be ascending"));
    }
    let bare = |index| PricedTick {
        index,
        has_positions: false,
        orders: 0,
        liquidity_net: 0,
        sqrt_price_x64: 0,
        liquidity_above: 0,
    };
    let with_net = |tick: &Tick| PricedTick {
        has_positions: true,
        liquidity_net: tick.liquidity_net,
        ..bare(tick.index)
    };
    let mut merged: Vec<PricedTick> = ticks.iter().map(with_net).collect();
    for resting in orders {
        let amount = u64::try_from(resting.amount.base_units()).ok().filter(|amount| *amount > 0);
        let amount = amount.ok_or(invalid("limit_orders", "must sell something that fits 64 bits"))?;
        // Few ticks have orders, so that an insertion each is cheap.
        match merged.binary_search_by_key(&resting.index, |tick| tick.index) {
            Ok(found) => merged[found].orders = amount,
            Err(place) => merged.insert(place, PricedTick { orders: amount, ..bare(resting.index) }),
        }
    }
    Ok(merged)
}

/// Adds up the liquidity from the price to both ends, so that no trade overflows it. Returns `None` if it does not
/// stay within bounds.
fn add_up_liquidity(ticks: &mut [PricedTick], ticks_below: usize, liquidity: u128) -> Option<()> {
    let (below, above) = ticks.split_at_mut(ticks_below);
    let mut rising = liquidity;
    for tick in above {
        rising = rising.checked_add_signed(tick.liquidity_net)?;
        tick.liquidity_above = rising;
    }
    let mut falling = liquidity;
    for tick in below.iter_mut().rev() {
        tick.liquidity_above = falling;
        falling = falling.checked_add_signed(tick.liquidity_net.checked_neg()?)?;
    }
    Some(())
}
