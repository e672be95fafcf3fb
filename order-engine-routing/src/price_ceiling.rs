//! Prices rounded up: upper bounds that prove cheaply that a pool or path cannot pay enough.

use order_engine_core::Amount;
use ruint::aliases::U256;

use crate::ratio::Ratio;

/// A price, rounded up to 64 significant bits: `mantissa · 2^exponent`.
///
/// It is never below the exact price, and a product of ceilings is never below the product of the
/// prices. So no pool at these prices pays more than [`value_of`](Self::value_of) an amount. It uses
/// integers only, because the rounding of a float could break the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PriceCeiling {
    // The derived order compares the exponents first, which is right because mantissas are normalised.
    exponent: i32,
    /// The highest bit is set, unless the price is zero.
    mantissa: u64,
}

impl PriceCeiling {
    /// The ceiling of a token that no pool buys.
    pub(crate) const ZERO: Self = Self { exponent: i32::MIN, mantissa: 0 };
    /// The ceiling of an unknown price: higher than any real one.
    pub(crate) const UNKNOWN: Self = Self { exponent: i32::MAX >> 8, mantissa: 1 << 63 };
    /// The price of a token in itself.
    pub(crate) const ONE: Self = Self { exponent: -63, mantissa: 1 << 63 };

    /// Returns the least ceiling that is not below `value · 2^exponent`.
    fn new(value: u128, exponent: i32) -> Self {
        if value == 0 {
            return Self::ZERO;
        }
        let zeros = value.leading_zeros();
        let normal = value << zeros;
        let exponent = exponent + 64 - zeros.cast_signed();
        let is_truncated = normal & u128::from(u64::MAX) != 0;
        match ((normal >> 64) as u64).checked_add(u64::from(is_truncated)) {
            Some(mantissa) => Self { exponent, mantissa },
            None => Self { exponent: exponent + 1, mantissa: 1 << 63 },
        }
    }

    /// Returns the ceiling of two trades in a row.
    pub(crate) fn times(self, other: Self) -> Self {
        if self == Self::ZERO || other == Self::ZERO {
            return Self::ZERO;
        }
        let product = u128::from(self.mantissa) * u128::from(other.mantissa);
        Self::new(product, self.exponent + other.exponent)
    }

    /// Returns an upper bound of the value of an amount, or `u128::MAX` if the bound does not fit.
    pub(crate) fn value_of(self, amount: Amount) -> u128 {
        let Self { exponent, mantissa } = self.times(Self::new(amount.base_units(), 0));
        let mantissa = u128::from(mantissa);
        match exponent {
            65.. => u128::MAX,
            0..=64 => mantissa << exponent,
            -63..0 => {
                let shift = exponent.unsigned_abs();
                (mantissa >> shift) + u128::from(mantissa & ((1 << shift) - 1) != 0)
            }
            _ => u128::from(mantissa != 0),
        }
    }
}

impl From<Ratio> for PriceCeiling {
    fn from(ratio: Ratio) -> Self {
        let (numerator, denominator) = ratio.parts();
        let (over, under) = (Leading::of(numerator), Leading::of(denominator));
        let numerator = Self::new(over.bits + u128::from(over.is_truncated), over.exponent);
        if numerator == Self::ZERO {
            return Self::ZERO;
        }
        // The divisor is rounded down, so that the quotient is not below the price.
        let zeros = under.bits.leading_zeros();
        let divisor = (under.bits << zeros) >> 64;
        let quotient = (u128::from(numerator.mantissa) << 64).div_ceil(divisor);
        Self::new(quotient, numerator.exponent - 64 - (under.exponent + 64 - zeros.cast_signed()))
    }
}

/// The leading bits of a number: `bits · 2^exponent`, rounded down.
struct Leading {
    /// At most 127 bits, so that adding one does not overflow.
    bits: u128,
    exponent: i32,
    /// Whether the number is larger than `bits · 2^exponent`.
    is_truncated: bool,
}

impl Leading {
    fn of(number: U256) -> Self {
        let shift = number.bit_len().saturating_sub(127);
        let bits = number >> shift;
        // At most 129 bits are shifted out, so the exponent fits.
        let exponent = i32::try_from(shift).unwrap_or(i32::MAX);
        Self { bits: bits.to::<u128>(), exponent, is_truncated: bits << shift != number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = U256> {
        (any::<[u64; 4]>(), 0..256_usize).prop_map(|(limbs, shift)| U256::from_limbs(limbs) >> shift)
    }

    fn ratio() -> impl Strategy<Value = Ratio> {
        (number(), number()).prop_filter_map("a denominator", |(above, below)| Ratio::new(above, below))
    }

    proptest! {
        #[test]
        fn it_is_never_below_and_hardly_above(ratio in ratio(), bits in 0..128_u32, amount: u128) {
            let amount = Amount::new(amount >> bits);
            let ceiling = PriceCeiling::from(ratio).value_of(amount);
            let exact = ratio.value_of(amount).map_or(u128::MAX, Amount::base_units);
            prop_assert!(ceiling >= exact);
            let slack = (exact >> 58) + 1;
            prop_assert!(ceiling - exact <= slack || exact > u128::MAX - 2 * slack, "{} {}", ceiling, exact);
        }

        #[test]
        fn products_are_never_below(
            one in (1..u64::MAX, 1..u64::MAX), other in (1..u64::MAX, 1..u64::MAX), amount: u128,
        ) {
            let ratio = |above: (u64, u64), below: (u64, u64)| {
                let product = |(one, other)| U256::from(one) * U256::from(other);
                Ratio::new(product(above), product(below)).unwrap()
            };
            let exact = ratio((one.0, other.0), (one.1, other.1));
            let [one, other] = [one, other].map(|(above, below)| PriceCeiling::from(ratio((above, 1), (below, 1))));
            let value = exact.value_of(Amount::new(amount)).map_or(u128::MAX, Amount::base_units);
            prop_assert!(one.times(other).value_of(Amount::new(amount)) >= value);
            prop_assert!(one.times(other) >= PriceCeiling::from(exact) || one.times(other).value_of(Amount::MAX) >= value);
        }

        #[test]
        fn it_orders_as_prices_do(one in ratio(), other in ratio()) {
            if one <= other {
                prop_assert!(PriceCeiling::from(one) <= PriceCeiling::from(other));
            }
        }
    }

    #[test]
    fn one_and_zero_are_themselves() {
        let ratio = |value: u64| Ratio::new(U256::from(value), U256::from(1)).unwrap();
        assert_eq!(PriceCeiling::from(ratio(1)), PriceCeiling::ONE);
        assert_eq!(PriceCeiling::from(ratio(0)), PriceCeiling::ZERO);
        assert_eq!(PriceCeiling::ONE.value_of(Amount::MAX), u128::MAX);
        assert_eq!(PriceCeiling::ZERO.value_of(Amount::MAX), 0);
        assert_eq!(PriceCeiling::ZERO.times(PriceCeiling::ONE), PriceCeiling::ZERO);
    }
}
