//! Square roots of prices in Q64.64: at a tick, and after a trade.
//!
//! The formulas are those of the Uniswap v3 whitepaper, in the fixed-point format of
//! `raydium-clmm`. No square root exceeds 2⁹⁷, so most intermediates fit 256 bits whatever the
//! liquidity. Where one may not, the calculation falls back to 512 bits.

use ruint::aliases::{U256, U512};

use crate::trade::Direction;
use crate::wide::{product, shl_div_ceil, shl_div_floor};

/// The lowest tick, by symmetry with [`MAX_TICK`].
pub(crate) const MIN_TICK: i32 = -MAX_TICK;
/// The highest tick: a price of 1.0001 to this power still fits Q64.64.
pub(crate) const MAX_TICK: i32 = 443_636;

/// `2⁶⁴ · 1.0001^(−2ⁱ/2)` for each bit `i` of a tick. They are the program's own constants, because
/// the price at a tick must equal the program's to the last bit.
const FACTORS: [u64; 19] = [
    0xfffc_b933_bd6f_b800,
    0xfff9_7272_373d_4000,
    0xfff2_e50f_5f65_7000,
    0xffe5_caca_7e10_f000,
    0xffcb_9843_d60f_7000,
    0xff97_3b41_fa98_e800,
    0xff2e_a164_66c9_b000,
    0xfe5d_ee04_6a9a_3800,
    0xfcbe_86c7_900b_b000,
    0xf987_a725_3ac6_5800,
    0xf339_2b08_22bb_6000,
    0xe715_9475_a2ca_f000,
    0xd097_f3bd_fd2f_2000,
    0xa9f7_4646_2d9f_8000,
    0x70d8_69a1_56f3_1c00,
    0x31be_135f_97ed_3200,
    0x09aa_508b_5b85_a500,
    0x005d_6af8_dedc_582c,
    0x0000_2216_e584_f5fa,
];

/// Returns the square root of the price at a tick, `√1.0001^tick`, or `None` if there is no such tick.
pub(crate) fn at_tick(tick: i32) -> Option<u128> {
    if !(MIN_TICK..=MAX_TICK).contains(&tick) {
        return None;
    }
    let mut ratio = 1_u128 << 64;
    for (bit, factor) in FACTORS.iter().enumerate() {
        if tick.unsigned_abs() >> bit & 1 == 1 {
            ratio = (ratio * u128::from(*factor)) >> 64;
        }
    }
    // The factors are below one, so the product is, too; for prices above one it is inverted.
    Some(if tick > 0 { u128::MAX / ratio } else { ratio })
}

/// Returns the highest tick from `low` to `high` whose price is not above `sqrt_price`. The price at `low`
/// must not be above it.
pub(crate) fn tick_between(mut low: i32, mut high: i32, sqrt_price: u128) -> i32 {
    while low < high {
        let middle = low + (high - low + 1) / 2;
        match at_tick(middle) {
            Some(price) if price <= sqrt_price => low = middle,
            _ => high = middle - 1,
        }
    }
    low
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_published_ones() {
        assert_eq!(at_tick(MIN_TICK), Some(4_295_048_016));
        assert_eq!(at_tick(MAX_TICK), Some(79_226_673_521_066_979_257_578_248_091));
        assert_eq!(at_tick(0), Some(1 << 64));
        assert_eq!(at_tick(MAX_TICK + 1), None);
        assert_eq!(at_tick(i32::MIN), None);
    }

    #[test]
    fn a_price_is_found_at_its_tick_and_just_before_the_next() {
        for tick in (MIN_TICK..MAX_TICK).step_by(997).chain([-1, 0, 1, MAX_TICK - 1]) {
            let (here, next) = (at_tick(tick).unwrap(), at_tick(tick + 1).unwrap());
            assert!(here < next);
            for price in [here, next - 1] {
                assert_eq!(tick_between(MIN_TICK, MAX_TICK, price), tick);
            }
        }
    }
}
