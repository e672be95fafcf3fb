//! Prices as ratios of integers.

use std::cmp::Ordering;

use order_engine_core::Amount;
use ruint::aliases::{U256, U512};

/// A ratio of two integers of up to 256 bits, compared exactly, by cross-multiplication.
///
/// Ratios with the same value are equal: 1/2 equals 2/4.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    numerator: U256,
    /// Never zero.
    denominator: U256,
}

impl Ratio {
    /// Returns the ratio of two integers, `None` if the second is zero.
    pub(crate) fn new(numerator: U256, denominator: U256) -> Option<Self> {
        (!denominator.is_zero()).then_some(Self { numerator, denominator })
    }

    /// Returns the nearest float, to seed a search that integers decide, or to display.
    pub fn to_f64(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// Returns the numerator and the denominator, which is not zero.
    pub const fn parts(self) -> (U256, U256) {
        (self.numerator, self.denominator)
    }

    /// Returns the value of an amount at this price, `⌈amount · price⌉`, or `None` if it does not fit.
    pub(crate) fn value_of(self, amount: Amount) -> Option<Amount> {
        let product: U512 = U256::from(amount.base_units()).widening_mul(self.numerator);
        let value = product.div_ceil(U512::from(self.denominator));
        u128::try_from(value).ok().map(Amount::new)
    }
}

impl Ord for Ratio {
    fn cmp(&self, other: &Self) -> Ordering {
        let left: U512 = self.numerator.widening_mul(other.denominator);
        let right: U512 = other.numerator.widening_mul(self.denominator);
        left.cmp(&right)
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ratio {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ratio {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: U256, denominator: U256) -> Ratio {
        Ratio::new(numerator, denominator).unwrap()
    }

    #[test]
    fn ratios_compare_by_value_at_any_size() {
        let [one, two, four] = [1_u64, 2, 4].map(U256::from);
        assert_eq!(ratio(one, two), ratio(two, four));
        assert!(ratio(one, two) > ratio(one, four));
        assert!(ratio(U256::MAX - one, U256::MAX) < ratio(U256::MAX, U256::MAX));
        assert!(ratio(U256::MAX, one) > ratio(U256::MAX - one, one));
        assert!(Ratio::new(one, U256::ZERO).is_none());
    }

    #[test]
    fn floats_are_near() {
        let half = ratio(U256::MAX >> 1, U256::MAX).to_f64();
        assert!((half - 0.5).abs() < 1e-12);
    }
}
