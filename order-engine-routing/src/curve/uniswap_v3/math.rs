//! Prices after a trade, and the amounts between two prices: the contract's `SqrtPriceMath`.

use ruint::aliases::{U256, U512};

use crate::trade::Direction;

/// Returns `⌊a · b / divisor⌋`, or `None` if it does not fit. The divisor must not be zero.
fn mul_div(a: U256, b: U256, divisor: U256) -> Option<U256> {
    match a.checked_mul(b) {
        Some(product) => Some(product / divisor),
        None => U256::checked_from_limbs_slice((wide(a) * wide(b) / wide(divisor)).as_limbs()),
    }
}

/// Returns `⌈a · b / divisor⌉`, or `None` if it does not fit. The divisor must not be zero.
fn mul_div_up(a: U256, b: U256, divisor: U256) -> Option<U256> {
    match a.checked_mul(b) {
        Some(product) => Some(product.div_ceil(divisor)),
        None => U256::checked_from_limbs_slice((wide(a) * wide(b)).div_ceil(wide(divisor)).as_limbs()),
    }
}

fn wide(value: U256) -> U512 {
    U512::from(value)
}

/// Returns the liquidity in Q96.
fn scaled(liquidity: u128) -> U256 {
    U256::from(liquidity) << 96
}

/// Returns the input that moves the price from `from` to `to`, rounded up.
pub(super) fn amount_in(direction: Direction, from: U256, to: U256, liquidity: u128) -> Option<U256> {
    match direction {
        Direction::AToB => {
            let (lower, upper) = (to, from);
            Some(mul_div_up(scaled(liquidity), upper - lower, upper)?.div_ceil(lower))
        }
        Direction::BToA => mul_div_up(U256::from(liquidity), to - from, U256::ONE << 96),
    }
}

/// Returns the output while the price moves from `from` to `to`, rounded down.
pub(super) fn amount_out(direction: Direction, from: U256, to: U256, liquidity: u128) -> Option<U256> {
    match direction {
        Direction::AToB => mul_div(U256::from(liquidity), from - to, U256::ONE << 96),
        Direction::BToA => {
            let (lower, upper) = (from, to);
            Some(mul_div(scaled(liquidity), upper - lower, upper)? / lower)
        }
    }
}

/// Returns the price to which an input leads, rounded so that it never moves too far.
pub(super) fn after_input(direction: Direction, price: U256, liquidity: u128, net_in: U256) -> Option<U256> {
    match direction {
        Direction::AToB => {
            let numerator = scaled(liquidity);
            let denominator = net_in.checked_mul(price).and_then(|product| numerator.checked_add(product));
            match denominator {
                Some(denominator) => mul_div_up(numerator, price, denominator),
                // The contract rounds otherwise where the product does not fit.
                None => Some(numerator.div_ceil((numerator / price).checked_add(net_in)?)),
            }
        }
        Direction::BToA => price.checked_add(mul_div(net_in, U256::ONE << 96, U256::from(liquidity))?),
    }
}

/// Returns the price to which an output leads, rounded so that it always moves far enough. The range must hold the output.
pub(super) fn after_output(direction: Direction, price: U256, liquidity: u128, out: U256) -> Option<U256> {
    match direction {
        Direction::AToB => price.checked_sub(mul_div_up(out, U256::ONE << 96, U256::from(liquidity))?),
        Direction::BToA => {
            let numerator = scaled(liquidity);
            let denominator =
                numerator.checked_sub(out.checked_mul(price)?).filter(|rest| !rest.is_zero())?;
            mul_div_up(numerator, price, denominator)
        }
    }
}

/// Returns so many millionths of an amount, rounded down.
pub(super) fn share(amount: U256, ppm: u32) -> Option<U256> {
    mul_div(amount, U256::from(ppm), U256::from(super::ONE_PPM))
}

/// Returns the fee on top of an input: `⌈x · fee / (1 − fee)⌉`.
pub(super) fn fee_on(amount: U256, fee_ppm: u32) -> Option<U256> {
    mul_div_up(amount, U256::from(fee_ppm), U256::from(super::ONE_PPM - fee_ppm))
}
