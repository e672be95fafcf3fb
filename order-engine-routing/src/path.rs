//! A path from the input token to the output token, through one pool or a few in a row.

use order_engine_core::Amount;

use crate::budget::Meter;
use crate::error::QuoteError;
use crate::footprint::{Footprint, Tariff, Toll};
use crate::hyperbola::Hyperbola;
use crate::pool::Pool;
use crate::price_ceiling::PriceCeiling;
use crate::trade::{Direction, Moment};

/// The most pools on a path.
pub(crate) const MAX_HOPS: usize = 4;

/// One swap of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) direction: Direction,
    pub(crate) footprint: Footprint,
}

/// Pools in a row, each of which sells what the one before it paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    hops: [Option<Hop<'a>>; MAX_HOPS],
}

impl<'a> Path<'a> {
    /// Returns the path of the first [`MAX_HOPS`] of these hops.
    pub(crate) fn new(hops: impl IntoIterator<Item = Hop<'a>>) -> Self {
        let mut hops = hops.into_iter();
        Self { hops: std::array::from_fn(|_| hops.next()) }
    }

    pub(crate) fn hops(&self) -> impl Iterator<Item = Hop<'a>> {
        self.hops.into_iter().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.hops().count()
    }

    /// Returns the hop of a path of one hop, `None` for a longer path.
    pub(crate) fn only_hop(&self) -> Option<Hop<'a>> {
        self.hops[0].filter(|_| self.hops[1].is_none())
    }

    /// Returns what the legs of the path cost and take.
    pub(crate) fn toll(&self, tariff: &Tariff) -> Toll {
        self.hops().map(|hop| tariff.toll(hop.footprint)).sum()
    }

    /// Returns the path of the same hops from the last to the first.
    pub(crate) fn reversed(&self) -> Self {
        let mut hops = self.hops;
        hops[..self.len()].reverse();
        Self { hops }
    }

    /// Returns what the last pool pays for an exact input of the first.
    pub(crate) fn amount_out(
        &self,
        amount_in: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        if let Some(Hop { pool, direction, .. }) = self.only_hop() {
            return pool.metered_out(direction, amount_in, at, meter);
        }
        self.hops().try_fold(amount_in, |amount, hop| hop.pool.metered_out(hop.direction, amount, at, meter))
    }

    /// Returns the path as a hyperbola, if all its pools are of constant product.
    pub(crate) fn hyperbola(&self) -> Option<Hyperbola> {
        let hyperbolas = self.hops().map(|hop| hop.pool.hyperbola(hop.direction));
        let whole = hyperbolas.reduce(|first, next| Some(first?.then(next?)))??;
        whole.is_usable().then_some(whole)
    }

    /// Returns the value of an amount at the spot prices before any trade, rounded up.
    pub(crate) fn value_of(&self, amount: Amount, at: Moment) -> Option<Amount> {
        let spot_price = |hop: Hop<'a>| hop.pool.spot_price(hop.direction, at).ok();
        self.hops().try_fold(amount, |amount, hop| spot_price(hop)?.value_of(amount))
    }

    /// Returns a price that no trade along the path exceeds.
    pub(crate) fn price_ceiling(&self) -> PriceCeiling {
        let ceilings = self.hops().map(|hop| hop.pool.price_ceiling(hop.direction));
        ceilings.fold(PriceCeiling::ONE, PriceCeiling::times)
    }

    /// Returns whether the path never pays more for one unit than for the unit before it.
    pub(crate) fn is_concave(&self) -> bool {
        self.hops().all(|hop| hop.pool.is_concave())
    }

    /// Returns the ids of the pools, which break ties.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &'a str> {
        self.hops().map(|hop| hop.pool.id.as_str())
    }
}
