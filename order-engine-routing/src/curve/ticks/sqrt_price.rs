//! Square roots of prices in Q64.64 after a trade, and the amounts between two of them.
//!
//! The formulas are those of the Uniswap v3 whitepaper, in the fixed-point format of `raydium-clmm` and
//! `whirlpools`, whose roundings are the same. No square root exceeds 2⁹⁷, so most intermediates fit 256 bits
//! whatever the liquidity. Where one may not, the calculation falls back to 512 bits.

use ruint::aliases::{U256, U512};

use crate::trade::Direction;
use crate::wide::{product, shl_div_ceil, shl_div_floor};

/// Returns the price to which an input leads, rounded so that it never moves too far, or `None` if the
/// price does not fit.
pub(crate) fn after_input(
    direction: Direction,
    sqrt_price: u128,
    liquidity: u128,
    net_in: u128,
) -> Option<u128> {
    match direction {
        // ⌈L·√P / (L + x·√P)⌉. The denominator fits: 192 and 225 bits.
        Direction::AToB => {
            let shifted = product(liquidity, 1 << 64);
            after_a(sqrt_price, liquidity, shifted + product(net_in, sqrt_price))
        }
        // √P + ⌊y·2⁶⁴ / L⌋
        Direction::BToA => sqrt_price.checked_add(shl_div_floor(net_in, liquidity)?),
    }
}

/// Returns the price to which an output leads, rounded so that it always moves far enough. The range must
/// hold the output.
pub(crate) fn after_output(
    direction: Direction,
    sqrt_price: u128,
    liquidity: u128,
    out: u128,
) -> Option<u128> {
    match direction {
        // √P − ⌈y·2⁶⁴ / L⌉
        Direction::AToB => sqrt_price.checked_sub(shl_div_ceil(out, liquidity)?),
        // ⌈L·√P / (L − x·√P)⌉
        Direction::BToA => {
            let shifted = product(liquidity, 1 << 64);
            let rest = shifted.checked_sub(product(out, sqrt_price)).filter(|rest| !rest.is_zero())?;
            after_a(sqrt_price, liquidity, rest)
        }
    }
}

/// Returns `⌈L·2⁶⁴·√P / denominator⌉`.
fn after_a(sqrt_price: u128, liquidity: u128, denominator: U256) -> Option<u128> {
    let scaled = product(liquidity, sqrt_price);
    if scaled.bit_len() <= 192 {
        let shifted: U256 = scaled << 64;
        u128::try_from(shifted.div_ceil(denominator)).ok()
    } else {
        let shifted: U512 = U512::from(scaled) << 64;
        u128::try_from(shifted.div_ceil(U512::from(denominator))).ok()
    }
}

/// Returns the input that moves the price from `from` to `to`, rounded up.
pub(crate) fn amount_in(direction: Direction, from: u128, to: u128, liquidity: u128) -> Option<u128> {
    match direction {
        Direction::AToB => amount_a(to, from, liquidity, U256::div_ceil, U512::div_ceil),
        Direction::BToA => {
            let scaled = product(liquidity, to - from);
            let whole = u128::try_from(scaled >> 64).ok()?;
            if scaled.as_limbs()[0] == 0 { Some(whole) } else { whole.checked_add(1) }
        }
    }
}

/// Returns the output while the price moves from `from` to `to`, rounded down.
pub(crate) fn amount_out(direction: Direction, from: u128, to: u128, liquidity: u128) -> Option<u128> {
    match direction {
        Direction::AToB => match liquidity.checked_mul(from - to) {
            Some(scaled) => Some(scaled >> 64),
            None => u128::try_from(product(liquidity, from - to) >> 64).ok(),
        },
        Direction::BToA => amount_a(from, to, liquidity, |n, d| n / d, |n, d| n / d),
    }
}

/// Returns `L·2⁶⁴·(√b − √a) / (√a·√b)`, rounded by `divide` and `divide_wide`.
fn amount_a(
    lower: u128,
    upper: u128,
    liquidity: u128,
    divide: fn(U256, U256) -> U256,
    divide_wide: fn(U512, U512) -> U512,
) -> Option<u128> {
    let scaled = product(liquidity, upper - lower);
    let denominator = product(lower, upper);
    if scaled.bit_len() <= 192 {
        u128::try_from(divide(scaled << 64, denominator)).ok()
    } else {
        u128::try_from(divide_wide(U512::from(scaled) << 64, U512::from(denominator))).ok()
    }
}
