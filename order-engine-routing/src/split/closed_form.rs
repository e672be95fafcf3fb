//! Divides an amount over lanes whose output is a hyperbola of the input, in closed form.
//!
//! A constant-product pool pays `p·x / (1 + q·x)`, with the spot price `p` and `q = γ/R`, and so
//! does a chain of them. The best division equalises the marginal prices `p / (1 + q·x)²` of the
//! lanes it uses: with `μ = 1/√λ` for the common price `λ`,
//!
//! ```text
//! xᵢ = √pᵢ/qᵢ · μ − 1/qᵢ        μ = (X + Σ 1/qᵢ) / Σ √pᵢ/qᵢ
//! ```
//!
//! over the lanes with `pᵢ > λ`. This is the one place that computes with floats. They are a seed:
//! what a division yields, and whether it is taken, is decided by exact evaluation.

/// The output of a lane as a function of its input: `price · x / (1 + bend · x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hyperbola {
    pub(crate) price: f64,
    pub(crate) bend: f64,
}

impl Hyperbola {
    /// What comes of selling into one what another paid.
    pub(crate) fn then(self, next: Self) -> Self {
        Self { price: self.price * next.price, bend: self.bend + next.bend * self.price }
    }

    /// Whether the closed form can be computed with it.
    pub(crate) fn is_usable(self) -> bool {
        self.price.is_normal() && self.bend.is_normal() && self.price > 0.0 && self.bend > 0.0
    }
}

/// A lane of which the closed form keeps what it needs, in the order of falling price.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    lane: usize,
    root: f64,
    weight: f64,
    room: f64,
}

/// The lanes in the order in which they become worth using.
pub(crate) fn seeds(lanes: impl Iterator<Item = (usize, Hyperbola)>) -> Vec<Seed> {
    let seed = |(lane, Hyperbola { price, bend }): (usize, Hyperbola)| {
        let root = price.sqrt();
        Seed { lane, root, weight: root / bend, room: bend.recip() }
    };
    let mut seeds: Vec<Seed> = lanes.map(seed).collect();
    seeds.sort_by(|one, other| other.root.total_cmp(&one.root).then(one.lane.cmp(&other.lane)));
    seeds
}

/// Tells `place(lane, amount_in)` the parts, which add up to `amount`, of the lanes among `seeds`
/// that `uses` admits.
pub(crate) fn divide(
    seeds: &[Seed],
    amount: u128,
    uses: impl Fn(usize) -> bool,
    mut place: impl FnMut(usize, u128),
) {
    let admitted = || seeds.iter().filter(|seed| uses(seed.lane));
    let (mut active, mut weights, mut level) = (0, 0.0, 0.0);
    let mut rooms = as_float(amount);
    let mut deepest: Option<Seed> = None;
    for seed in admitted() {
        // The level is one over the root of the common price so far: a lane that starts below that
        // price, and with it every later one, stays unused.
        if active > 0 && seed.root * level <= 1.0 {
            break;
        }
        active += 1;
        weights += seed.weight;
        rooms += seed.room;
        level = rooms / weights;
        deepest = deepest.filter(|deepest| deepest.room >= seed.room).or(Some(*seed));
    }
    // Rounding leaves a little over or under, in proportion to the largest part. The deepest lane
    // takes up the difference, which would move the price of a shallow one.
    let Some(deepest) = deepest else { return };
    let mut rest = amount;
    for seed in admitted().take(active).filter(|seed| seed.lane != deepest.lane) {
        let part = as_units(seed.weight * level - seed.room).min(rest);
        rest -= part;
        place(seed.lane, part);
    }
    place(deepest.lane, rest);
}

/// The nearest float. It loses digits beyond 2⁵³, which a seed can spare.
#[allow(clippy::cast_precision_loss)]
fn as_float(amount: u128) -> f64 {
    amount as f64
}

/// The whole part, and zero for what is negative: a cast from float to integer saturates.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn as_units(amount: f64) -> u128 {
    amount as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn out(lane: Hyperbola, amount_in: f64) -> f64 {
        lane.price * amount_in / (1.0 + lane.bend * amount_in)
    }

    fn parts(lanes: &[Hyperbola], amount: u128) -> Vec<u128> {
        let mut parts = vec![0; lanes.len()];
        divide(&seeds(lanes.iter().copied().enumerate()), amount, |_| true, |lane, part| parts[lane] = part);
        parts
    }

    proptest! {
        #[test]
        fn marginal_prices_are_equal_and_unused_lanes_start_below(
            lanes in proptest::collection::vec((0.5_f64..2.0, 1e-13_f64..1e-9), 1..12), amount in 1_u128 << 30..1 << 45,
        ) {
            let lanes: Vec<_> = lanes.iter().map(|&(price, bend)| Hyperbola { price, bend }).collect();
            let parts = parts(&lanes, amount);
            prop_assert_eq!(parts.iter().sum::<u128>(), amount);
            let marginal = |(lane, &part): (&Hyperbola, &u128)| lane.price / (1.0 + lane.bend * as_float(part)).powi(2);
            let prices: Vec<f64> = lanes.iter().zip(&parts).map(marginal).collect();
            let admitted = || prices.iter().zip(&parts).filter(|(_, part)| **part > 0).map(|(price, _)| *price);
            let common = admitted().fold(0.0, f64::max);
            prop_assert!(admitted().all(|price| price > common * (1.0 - 1e-6)), "{:?}", prices);
            prop_assert!(prices.iter().all(|&price| price <= common * (1.0 + 1e-6)), "{:?}", prices);
        }
    }

    #[test]
    fn a_chain_of_hyperbolas_is_a_hyperbola() {
        let (first, second) = (Hyperbola { price: 1.5, bend: 1e-6 }, Hyperbola { price: 0.7, bend: 3e-6 });
        let (chained, stepwise) = (out(first.then(second), 12_345.0), out(second, out(first, 12_345.0)));
        assert!((chained / stepwise - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_whole_amount_goes_to_the_only_lane() {
        assert_eq!(parts(&[Hyperbola { price: 1.0, bend: 1.0 }], u128::MAX), [u128::MAX]);
    }
}
