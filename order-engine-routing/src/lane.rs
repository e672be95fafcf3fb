//! A way from the input token to the output token: one pool, or a few in a row.

use order_engine_core::Amount;
use ruint::aliases::{U256, U512};

use crate::ceiling::Ceiling;
use crate::curve::Curve;
use crate::pool::{Pool, QuoteError};
use crate::ratio::Ratio;
use crate::split::Hyperbola;
use crate::trade::{Direction, Moment};

/// The most pools that a path leads through.
pub(crate) const MAX_HOPS: usize = 4;

/// One swap of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) direction: Direction,
}

impl Hop<'_> {
    fn hyperbola(self) -> Option<Hyperbola> {
        match &self.pool.curve {
            Curve::ConstantProduct(curve) => {
                let (price, bend) = curve.hyperbola(self.direction);
                Some(Hyperbola { price, bend })
            }
            _ => None,
        }
    }
}

/// Pools in a row, each selling what the one before it paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane<'a> {
    hops: [Option<Hop<'a>>; MAX_HOPS],
}

impl<'a> Lane<'a> {
    /// A lane of these hops, of which at most [`MAX_HOPS`] count.
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

    /// The hop, if there is but one.
    pub(crate) fn only_hop(&self) -> Option<Hop<'a>> {
        self.hops[0].filter(|_| self.hops[1].is_none())
    }

    /// The same hops from the last to the first.
    pub(crate) fn reversed(&self) -> Self {
        let mut hops = self.hops;
        hops[..self.len()].reverse();
        Self { hops }
    }

    /// What comes out at the end.
    pub(crate) fn amount_out(&self, amount_in: Amount, at: Moment) -> Result<Amount, QuoteError> {
        if let Some(Hop { pool, direction }) = self.only_hop() {
            return pool.amount_out(direction, amount_in, at);
        }
        self.hops().try_fold(amount_in, |amount, hop| hop.pool.amount_out(hop.direction, amount, at))
    }

    /// The lane as a hyperbola, if all its pools are of constant product.
    pub(crate) fn hyperbola(&self) -> Option<Hyperbola> {
        let shapes = self.hops().map(Hop::hyperbola);
        let shape = shapes.reduce(|first, next| Some(first?.then(next?)))??;
        shape.is_usable().then_some(shape)
    }

    /// What an amount is worth at the spot prices, before it moves them.
    pub(crate) fn worth(&self, amount: Amount, at: Moment) -> Option<Amount> {
        let spot_price = |hop: Hop<'a>| hop.pool.spot_price(hop.direction, at).ok();
        self.hops().try_fold(amount, |amount, hop| worth(amount, spot_price(hop)?))
    }

    /// A price that no trade along the lane betters.
    pub(crate) fn price_ceiling(&self) -> Ceiling {
        let ceilings = self.hops().map(|hop| hop.pool.price_ceiling(hop.direction));
        ceilings.fold(Ceiling::ONE, Ceiling::times)
    }

    /// Whether the lane never pays more for one unit than for the unit before it. A DLMM pool may, if
    /// its fee falls on the way back to the bin from which it measures volatility.
    pub(crate) fn is_concave(&self) -> bool {
        self.hops().all(|hop| !matches!(hop.pool.curve, Curve::Dlmm(_)))
    }

    /// The ids of the pools, by which ties are broken.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &'a str> {
        self.hops().map(|hop| hop.pool.id.as_str())
    }
}

/// `⌈amount · price⌉`, if it fits.
pub(crate) fn worth(amount: Amount, price: Ratio) -> Option<Amount> {
    let (numerator, denominator) = price.parts();
    let product: U512 = U256::from(amount.base_units()).widening_mul(numerator);
    let worth = product.div_ceil(U512::from(denominator));
    u128::try_from(worth).ok().map(Amount::new)
}
