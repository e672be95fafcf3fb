//! Quotients of products of 128-bit integers. They use 256 bits only where 128 do not suffice.

use ruint::aliases::U256;

/// Returns `⌊a · b / divisor⌋`, or `None` if it does not fit. The divisor must not be zero.
pub(crate) fn mul_div_floor(a: u128, b: u128, divisor: u128) -> Option<u128> {
    match a.checked_mul(b) {
        Some(product) => Some(product / divisor),
        None => u128::try_from(product(a, b) / U256::from(divisor)).ok(),
    }
}

/// Returns `⌈a · b / divisor⌉`, or `None` if it does not fit. The divisor must not be zero.
pub(crate) fn mul_div_ceil(a: u128, b: u128, divisor: u128) -> Option<u128> {
    match a.checked_mul(b) {
        Some(product) => Some(div_ceil(product, divisor)),
        None => u128::try_from(product(a, b).div_ceil(U256::from(divisor))).ok(),
    }
}

/// Returns `⌈dividend / divisor⌉` with one division: the standard `div_ceil` may divide again for the
/// remainder.
pub(crate) const fn div_ceil(dividend: u128, divisor: u128) -> u128 {
    let quotient = dividend / divisor;
    if quotient * divisor == dividend { quotient } else { quotient + 1 }
}

/// Returns `⌊a · 2⁶⁴ / divisor⌋`, or `None` if it does not fit. The divisor must not be zero.
pub(crate) fn shl_div_floor(a: u128, divisor: u128) -> Option<u128> {
    if a >> 64 == 0 { Some((a << 64) / divisor) } else { mul_div_floor(a, 1 << 64, divisor) }
}

/// Returns `⌈a · 2⁶⁴ / divisor⌉`, or `None` if it does not fit. The divisor must not be zero.
pub(crate) fn shl_div_ceil(a: u128, divisor: u128) -> Option<u128> {
    if a >> 64 == 0 { Some(div_ceil(a << 64, divisor)) } else { mul_div_ceil(a, 1 << 64, divisor) }
}

/// Returns `a · b`, which always fits.
pub(crate) fn product(a: u128, b: u128) -> U256 {
    U256::from(a).wrapping_mul(U256::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the same quotient, always computed in 256 bits.
    fn wide(numerator: U256, divisor: u128, rounds_up: bool) -> Option<u128> {
        let quotient = numerator / U256::from(divisor);
        let is_exact = quotient * U256::from(divisor) == numerator;
        let quotient = if rounds_up && !is_exact { quotient + U256::from(1) } else { quotient };
        u128::try_from(quotient).ok()
    }

    fn operand() -> impl Strategy<Value = u128> {
        (any::<u128>(), 0..128_u32).prop_map(|(value, shift)| value >> shift)
    }

    proptest! {
        #[test]
        fn short_and_wide_divisions_agree(a in operand(), b in operand(), divisor in operand()) {
            let divisor = divisor.max(1);
            prop_assert_eq!(mul_div_floor(a, b, divisor), wide(product(a, b), divisor, false));
            prop_assert_eq!(mul_div_ceil(a, b, divisor), wide(product(a, b), divisor, true));
            prop_assert_eq!(shl_div_floor(a, divisor), wide(product(a, 1 << 64), divisor, false));
            prop_assert_eq!(shl_div_ceil(a, divisor), wide(product(a, 1 << 64), divisor, true));
        }
    }
}
