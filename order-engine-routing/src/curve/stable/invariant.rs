//! The invariant of two coins, `Ann·S + D = Ann·D + D³ / 4xy` with `S = x + y` and `Ann = 2·A`, solved
//! exactly in integers.
//!
//! Coins are below 2⁹⁶ and `Ann` is below 2²¹ throughout, as the constructor of a pool checks.

use ruint::aliases::{U256, U512};

/// The number of bits that a coin may have.
pub(super) const COIN_BITS: usize = 96;

/// Curve's bound on Newton's rounds. The iterations here converge monotonically and need far fewer.
const MAX_ROUNDS: usize = 255;

/// Returns the least integer above the invariant of two coins. A larger invariant makes quotes lower, so
/// they never promise too much.
///
/// It runs Newton's iteration from above on `h(D) = D³ + 4xy·(Ann − 1)·D − 4xy·Ann·S`, which is increasing
/// and convex, so the iteration stops at the root rounded down.
pub(super) fn above(x: u128, y: u128, ann: u64) -> u128 {
    let (wide_x, wide_y, wide_ann) = (U512::from(x), U512::from(y), U512::from(ann));
    let sum = wide_x + wide_y;
    let product = U512::from(4) * wide_x * wide_y;
    let constant = product * wide_ann * sum;
    let slope = product * (wide_ann - U512::from(1));
    let mut root = sum;
    for _ in 0..MAX_ROUNDS {
        let square = root * root;
        let next = (U512::from(2) * square * root + constant) / (U512::from(3) * square + slope);
        if next >= root {
            break;
        }
        root = next;
    }
    // The root is at most the sum, so it fits.
    root.saturating_to::<u128>() + 1
}

/// Returns the least amount of one coin that keeps the invariant beside `x` of the other, or `None` if no
/// coin can be that large.
///
/// Multiplied out, the invariant holds where `Ann·y² + (Ann·x + D)·y ≥ Ann·D·y + ⌈D³ / 4x⌉`. Newton's
/// iteration starts above and rounds up, so it never passes the root and stops a step or two above it.
pub(super) fn other_coin(x: u128, invariant: u128, ann: u64) -> Option<u128> {
    let curve = Quadratic::new(x, invariant, ann)?;
    let mut y = curve.start();
    for _ in 0..MAX_ROUNDS {
        let next = curve.newton(y);
        if next >= y {
            break;
        }
        y = next;
    }
    while !y.is_zero() && curve.holds(y - U256::from(1)) {
        y -= U256::from(1);
    }
    if y.bit_len() > COIN_BITS { None } else { Some(y.saturating_to::<u128>()) }
}

/// The inequality `Ann·y² + plus·y ≥ minus·y + constant`.
struct Quadratic {
    ann: U256,
    plus: U256,
    minus: U256,
    constant: U256,
}

impl Quadratic {
    fn new(x: u128, invariant: u128, ann: u64) -> Option<Self> {
        let (wide_x, wide_d, wide_ann) = (U256::from(x), U256::from(invariant), U256::from(ann));
        let divisor = U256::from(4) * wide_x;
        let constant = if wide_d.bit_len() <= 85 {
            (wide_d * wide_d * wide_d).div_ceil(divisor)
        } else {
            let cube = U512::from(wide_d * wide_d) * U512::from(invariant);
            cube.div_ceil(U512::from(divisor)).saturating_to::<U256>()
        };
        // A coin below 2⁹⁶ needs no more than 2²¹⁵. A larger constant would only overflow before the coin
        // is refused.
        let is_within_reach = constant.bit_len() <= 220;
        let (plus, minus) = (wide_ann * wide_x + wide_d, wide_ann * wide_d);
        is_within_reach.then_some(Self { ann: wide_ann, plus, minus, constant })
    }

    /// Returns a point above the root: `√(constant / Ann)`, rounded up to a power of two, plus the most
    /// that the linear term adds.
    fn start(&self) -> U256 {
        let bits = (self.constant / self.ann).bit_len().div_ceil(2) + 1;
        let power: U256 = U256::from(1) << bits;
        power + self.minus.saturating_sub(self.plus).div_ceil(self.ann)
    }

    /// Runs one round of Newton's iteration from a point that is not below the root, where the slope is
    /// positive.
    fn newton(&self, y: U256) -> U256 {
        let scaled = self.ann * y;
        let slope = U256::from(2) * scaled + self.plus - self.minus;
        (scaled * y + self.constant).div_ceil(slope)
    }

    fn holds(&self, y: U256) -> bool {
        self.ann * y * y + self.plus * y >= self.minus * y + self.constant
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coin() -> impl Strategy<Value = u128> {
        (0..COIN_BITS, any::<u128>()).prop_map(|(bit, noise)| (1 << bit) | (noise & ((1 << bit) - 1)))
    }

    /// Returns whether two coins keep the published invariant, multiplied out.
    fn keeps(x: u128, y: u128, d: u128, ann: u64) -> bool {
        let [x, y, d, ann] = [x, y, d, u128::from(ann)].map(U512::from);
        let product = U512::from(4) * x * y;
        product * (ann * (x + y) + d) >= product * ann * d + d * d * d
    }

    proptest! {
        #[test]
        fn the_invariant_is_the_least_that_is_not_kept(x in coin(), y in coin(), a in 1_u64..=1_000_000) {
            let invariant = above(x, y, 2 * a);
            prop_assert!(!keeps(x, y, invariant, 2 * a));
            prop_assert!(keeps(x, y, invariant - 1, 2 * a));
        }

        #[test]
        fn the_other_coin_is_the_least_that_keeps_the_invariant(
            x in coin(), y in coin(), other in coin(), a in 1_u64..=1_000_000,
        ) {
            let invariant = above(x, y, 2 * a);
            match other_coin(other, invariant, 2 * a) {
                Some(least) => {
                    prop_assert!(keeps(other, least, invariant, 2 * a));
                    prop_assert!(!keeps(other, least - 1, invariant, 2 * a));
                }
                None => prop_assert!(!keeps(other, (1 << COIN_BITS) - 1, invariant, 2 * a)),
            }
        }
    }
}
