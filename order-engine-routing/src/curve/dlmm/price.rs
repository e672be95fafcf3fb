//! The price of a bin, and amounts at it.

use crate::trade::Direction;
use crate::wide::{product, shl_div_ceil, shl_div_floor};

/// One in Q64.64.
const ONE: u128 = 1 << 64;
/// The number of bits of the highest bin id.
const ID_BITS: u32 = 19;
/// The highest bin id: a price of 1.0001 to this power still fits Q64.64.
pub(super) const MAX_ID: i32 = 443_636;

/// Returns the price of token x in token y, `(1 + step/10⁴)^id` in Q64.64, or `None` if it does not fit.
///
/// It is rounded as by Meteora's program, which squares and multiplies the inverse, a number below one,
/// and inverts the result.
pub(super) fn of_bin(id: i32, bin_step_bps: u16) -> Option<u128> {
    if id.unsigned_abs() >> ID_BITS != 0 || bin_step_bps == 0 {
        return None;
    }
    if id == 0 {
        return Some(ONE);
    }
    let base = ONE + (u128::from(bin_step_bps) << 64) / 10_000;
    let mut square = u128::MAX / base;
    let mut power = ONE;
    for bit in 0..ID_BITS {
        if id.unsigned_abs() >> bit & 1 == 1 {
            power = (power * square) >> 64;
        }
        square = (square * square) >> 64;
    }
    if power == 0 {
        return None;
    }
    Some(if id > 0 { u128::MAX / power } else { power })
}

/// Returns the output for a net input at a price, rounded down, or `None` if it does not fit.
pub(super) fn out_of(direction: Direction, net_in: u128, price: u128) -> Option<u128> {
    match direction {
        // ⌊x·p / 2⁶⁴⌋
        Direction::AToB => times(net_in, price).map(|(whole, _)| whole),
        // ⌊y·2⁶⁴ / p⌋
        Direction::BToA => shl_div_floor(net_in, price),
    }
}

/// Returns the least net input for an output at a price, or `None` if it does not fit.
pub(super) fn in_for(direction: Direction, out: u128, price: u128) -> Option<u128> {
    match direction {
        // ⌈y·2⁶⁴ / p⌉
        Direction::AToB => shl_div_ceil(out, price),
        // ⌈x·p / 2⁶⁴⌉
        Direction::BToA => {
            let (whole, is_exact) = times(out, price)?;
            if is_exact { Some(whole) } else { whole.checked_add(1) }
        }
    }
}

/// Returns `⌊amount · price / 2⁶⁴⌋`, and whether that is exact.
fn times(amount: u128, price: u128) -> Option<(u128, bool)> {
    let scaled = product(amount, price);
    let whole = u128::try_from(scaled >> 64).ok()?;
    Some((whole, scaled.as_limbs()[0] == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_rise_with_the_id_and_end_where_they_no_longer_fit() {
        assert_eq!(of_bin(0, 25), Some(ONE));
        // Twice one, plus the rounding of the inverse, 2⁶³ − 1.
        assert_eq!(of_bin(1, 10_000), Some(2 * ONE + 4));
        for step in [1, 10, 25, 400] {
            let limit = MAX_ID / i32::from(step);
            for id in (-limit / 2..limit / 2).step_by(1_009) {
                assert!(of_bin(id, step) < of_bin(id + 1, step), "{id} of {step}");
            }
        }
        assert_eq!(of_bin(MAX_ID, 400), None);
        assert_eq!(of_bin(-MAX_ID, 400), None);
        assert_eq!(of_bin(i32::MIN, 1), None);
        assert_eq!(of_bin(1, 0), None);
    }
}
