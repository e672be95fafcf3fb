//! Splits an amount over paths whose output is a hyperbola of the input, in closed form.
//!
//! A constant-product pool pays `p·x / (1 + q·x)`, with the spot price `p` and `q = γ/R`, and so does a
//! path of such pools. The best split equalises the marginal prices `p / (1 + q·x)²` of the paths it
//! uses: with `μ = 1/√λ` for the common marginal price `λ`,
//!
//! ```text
//! xᵢ = √pᵢ/qᵢ · μ − 1/qᵢ        μ = (X + Σ 1/qᵢ) / Σ √pᵢ/qᵢ
//! ```
//!
//! over the paths with `pᵢ > λ`. Only this module chooses with floats, and it chooses only the sizes of the
//! parts. Exact evaluation decides what a split pays and whether it is used.

use crate::hyperbola::Hyperbola;

/// The terms of one path in the closed form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    path: usize,
    /// `√p`
    root: f64,
    /// `√p/q`
    weight: f64,
    /// `1/q`
    room: f64,
}

/// Returns the terms of these paths, in the order of falling price, in which they become worth using.
pub(super) fn terms(paths: impl Iterator<Item = (usize, Hyperbola)>) -> Vec<Terms> {
    let term = |(path, Hyperbola { price, bend }): (usize, Hyperbola)| {
        let root = price.sqrt();
        Terms { path, root, weight: root / bend, room: bend.recip() }
    };
    let mut terms: Vec<Terms> = paths.map(term).collect();
    terms.sort_by(|one, other| other.root.total_cmp(&one.root).then(one.path.cmp(&other.path)));
    terms
}

/// Splits `amount` over the paths that `uses` admits, and calls `add_part(path, amount_in)` for each part.
/// The parts add up to `amount`.
pub(super) fn split(
    terms: &[Terms],
    amount: u128,
    uses: impl Fn(usize) -> bool,
    mut add_part: impl FnMut(usize, u128),
) {
    let admitted = || terms.iter().filter(|terms| uses(terms.path));
    let (mut active, mut weights, mut level) = (0, 0.0, 0.0);
    let mut rooms = as_float(amount);
    let mut deepest: Option<Terms> = None;
    for terms in admitted() {
        // The level is `μ`, one over the root of the common price so far. A path that starts below that
        // price stays unused, and so does every later one.
        if active > 0 && terms.root * level <= 1.0 {
            break;
        }
        active += 1;
        weights += terms.weight;
        rooms += terms.room;
        level = rooms / weights;
        deepest = deepest.filter(|deepest| deepest.room >= terms.room).or(Some(*terms));
    }
    // Rounding leaves a difference in proportion to the largest part. The deepest path takes it, because it
    // would move the price of a shallow one.
    let Some(deepest) = deepest else { return };
    let mut rest = amount;
    for terms in admitted().take(active).filter(|terms| terms.path != deepest.path) {
        let part = as_units(terms.weight * level - terms.room).min(rest);
        rest -= part;
        add_part(terms.path, part);
    }
    add_part(deepest.path, rest);
}

/// Returns the nearest float. Its 53 bits suffice to cut the parts.
#[allow(clippy::cast_precision_loss)]
fn as_float(amount: u128) -> f64 {
    amount as f64
}

/// Returns the integer part, or zero for a negative number: a cast from float to integer saturates.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn as_units(amount: f64) -> u128 {
    amount as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(paths: &[Hyperbola], amount: u128) -> Vec<u128> {
        let mut parts = vec![0; paths.len()];
        split(&terms(paths.iter().copied().enumerate()), amount, |_| true, |path, part| parts[path] = part);
        parts
    }

    proptest! {
        #[test]
        fn marginal_prices_are_equal_and_unused_paths_start_below(
            paths in proptest::collection::vec((0.5_f64..2.0, 1e-13_f64..1e-9), 1..12), amount in 1_u128 << 30..1 << 45,
        ) {
            let paths: Vec<_> = paths.iter().map(|&(price, bend)| Hyperbola { price, bend }).collect();
            let parts = parts(&paths, amount);
            prop_assert_eq!(parts.iter().sum::<u128>(), amount);
            let marginal = |(path, &part): (&Hyperbola, &u128)| path.price / (1.0 + path.bend * as_float(part)).powi(2);
            let prices: Vec<f64> = paths.iter().zip(&parts).map(marginal).collect();
            let admitted = || prices.iter().zip(&parts).filter(|(_, part)| **part > 0).map(|(price, _)| *price);
            let common = admitted().fold(0.0, f64::max);
            prop_assert!(admitted().all(|price| price > common * (1.0 - 1e-6)), "{:?}", prices);
            prop_assert!(prices.iter().all(|&price| price <= common * (1.0 + 1e-6)), "{:?}", prices);
        }
    }

    #[test]
    fn the_whole_amount_goes_to_the_only_path() {
        assert_eq!(parts(&[Hyperbola { price: 1.0, bend: 1.0 }], u128::MAX), [u128::MAX]);
    }
}
