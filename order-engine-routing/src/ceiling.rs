//! Prices rounded up, to prove at little cost that something cannot pay.

use order_engine_core::Amount;
use ruint::aliases::U256;

use crate::ratio::Ratio;

/// A price, rounded up to 64 significant bits: `mantissa · 2^exponent`.
///
/// It never is below what it stands for, and neither are products of it, so what it says an amount
/// is worth no pool exceeds. Integers only: a float would have to be trusted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ceiling {
    // The derived order compares the exponents first, which decide: mantissas are normalised.
    exponent: i32,
    /// Its highest bit is set, unless the price is zero.
    mantissa: u64,
}

impl Ceiling {
    /// The price of what nobody buys.
    pub(crate) const ZERO: Self = Self { exponent: i32::MIN, mantissa: 0 };
    /// The price of what could be worth anything.
    pub(crate) const UNKNOWN: Self = Self { exponent: i32::MAX >> 8, mantissa: 1 << 63 };
    /// The price of a thing in itself.
    pub(crate) const ONE: Self = Self { exponent: -63, mantissa: 1 << 63 };

    /// The least ceiling that is not below `value · 2^exponent`.
    fn new(value: u128, exponent: i32) -> Self {
        if value == 0 {
            return Self::ZERO;
        }
        let zeros = value.leading_zeros();
        let normal = value << zeros;
        let exponent = exponent + 64 - zeros.cast_signed();
        let is_cut = normal & u128::from(u64::MAX) != 0;
        match ((normal >> 64) as u64).checked_add(u64::from(is_cut)) {
            Some(mantissa) => Self { exponent, mantissa },
            None => Self { exponent: exponent + 1, mantissa: 1 << 63 },
        }
    }

    /// Both prices in a row.
    pub(crate) fn times(self, other: Self) -> Self {
        if self == Self::ZERO || other == Self::ZERO {
            return Self::ZERO;
        }
        let product = u128::from(self.mantissa) * u128::from(other.mantissa);
        Self::new(product, self.exponent + other.exponent)
    }

    /// The most that an amount is worth; the largest amount if that does not fit.
    pub(crate) fn of(self, amount: Amount) -> u128 {
        let Self { exponent, mantissa } = self.times(Self::new(amount.base_units(), 0));
        let mantissa = u128::from(mantissa);
        match exponent {
            65.. => u128::MAX,
            0..=64 => mantissa << exponent,
            -63..0 => {
                let cut = exponent.unsigned_abs();
                (mantissa >> cut) + u128::from(mantissa & ((1 << cut) - 1) != 0)
            }
            _ => u128::from(mantissa != 0),
        }
    }
}

impl From<Ratio> for Ceiling {
    fn from(ratio: Ratio) -> Self {
        let (numerator, denominator) = ratio.parts();
        let (numerator, up) = leading(numerator);
        let (denominator, down) = leading(denominator);
        let numerator = Self::new(numerator.0 + u128::from(numerator.1), up);
        // Cut, so that the quotient is not below the price.
        let zeros = denominator.0.leading_zeros();
        let divisor = (denominator.0 << zeros) >> 64;
        if numerator == Self::ZERO {
            return Self::ZERO;
        }
        let quotient = (u128::from(numerator.mantissa) << 64).div_ceil(divisor);
        Self::new(quotient, numerator.exponent - 64 - (down + 64 - zeros.cast_signed()))
    }
}

/// The leading bits of a number, at most 127 of them, whether any others are set, and how many they
/// are.
fn leading(number: U256) -> ((u128, bool), i32) {
    let cut = number.bit_len().saturating_sub(127);
    let high = number >> cut;
    // At most 129 bits are cut.
    ((high.to::<u128>(), high << cut != number), i32::try_from(cut).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::worth;
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
            let ceiling = Ceiling::from(ratio).of(amount);
            let exact = worth(amount, ratio).map_or(u128::MAX, Amount::base_units);
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
            let [one, other] = [one, other].map(|(above, below)| Ceiling::from(ratio((above, 1), (below, 1))));
            let worth = worth(Amount::new(amount), exact).map_or(u128::MAX, Amount::base_units);
            prop_assert!(one.times(other).of(Amount::new(amount)) >= worth);
            prop_assert!(one.times(other) >= Ceiling::from(exact) || one.times(other).of(Amount::MAX) >= worth);
        }

        #[test]
        fn it_orders_as_prices_do(one in ratio(), other in ratio()) {
            if one <= other {
                prop_assert!(Ceiling::from(one) <= Ceiling::from(other));
            }
        }
    }

    #[test]
    fn one_and_zero_are_themselves() {
        let ratio = |value: u64| Ratio::new(U256::from(value), U256::from(1)).unwrap();
        assert_eq!(Ceiling::from(ratio(1)), Ceiling::ONE);
        assert_eq!(Ceiling::from(ratio(0)), Ceiling::ZERO);
        assert_eq!(Ceiling::ONE.of(Amount::MAX), u128::MAX);
        assert_eq!(Ceiling::ZERO.of(Amount::MAX), 0);
        assert_eq!(Ceiling::ZERO.times(Ceiling::ONE), Ceiling::ZERO);
    }
}
