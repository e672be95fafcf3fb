//! The conversion of quotes to the engine's types.

use order_engine_core::{Leg, Route, RouteAnalysis};

use super::{LegQuote, RouteQuote};
use crate::ratio::Ratio;

impl LegQuote<'_> {
    /// Returns the mint of the input token.
    pub fn input_mint(&self) -> &str {
        self.direction.orient(&self.pool.token_a, &self.pool.token_b).0
    }

    /// Returns the mint of the output token.
    pub fn output_mint(&self) -> &str {
        self.direction.orient(&self.pool.token_a, &self.pool.token_b).1
    }

    fn to_leg(self) -> Leg {
        let (sold, bought) = ((self.input_mint(), self.amount_in), (self.output_mint(), self.amount_out));
        Leg::new(self.pool.dex.as_str(), self.pool.id.as_str(), sold, bought)
    }
}

impl RouteQuote<'_> {
    /// Returns an id that is unique among the routes over a set of pools: the ids of the pools, joined by
    /// `+` between pools that sell the same token and by `>` before those that sell another.
    pub fn id(&self) -> String {
        let stages = self.legs.chunk_by(|one, other| one.input_mint() == other.input_mint());
        let name = |legs: &[LegQuote<'_>]| join(legs.iter().map(|leg| leg.pool.id.as_str()), "+");
        stages.map(name).collect::<Vec<_>>().join(">")
    }

    /// Returns the engine's route, with the legs in the order of execution.
    pub fn to_route(&self) -> Route {
        let mut dexes: Vec<&str> = Vec::new();
        for leg in &self.legs {
            if !dexes.contains(&leg.pool.dex.as_str()) {
                dexes.push(&leg.pool.dex);
            }
        }
        let analysis = RouteAnalysis {
            chain_cost: self.chain_cost,
            mid_price: self.mid_price().ok().map(reduced),
            price_impact_bps: self.price_impact_bps().ok(),
            is_proven_optimal: self.is_proven_optimal,
        };
        let legs = self.legs.iter().map(|leg| leg.to_leg()).collect();
        Route::new(join(dexes.into_iter(), " + "), legs, self.amount_in, self.amount_out)
            .with_analysis(analysis)
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a str>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

/// Formats a ratio in lowest terms.
fn reduced(ratio: Ratio) -> String {
    let (numerator, denominator) = ratio.parts();
    // The reserves of most pools fit 128 bits, where divisions take a tenth of the time.
    if let (Ok(numerator), Ok(denominator)) = (u128::try_from(numerator), u128::try_from(denominator)) {
        let divisor = gcd(numerator, denominator);
        return format!("{}/{}", numerator / divisor, denominator / divisor);
    }
    let divisor = numerator.gcd(denominator);
    format!("{}/{}", numerator / divisor, denominator / divisor)
}

/// Returns the greatest common divisor.
const fn gcd(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ruint::aliases::U256;

    proptest! {
        #[test]
        fn short_and_long_ratios_are_reduced_alike(numerator: u64, denominator in 1..u64::MAX, factor in 1..u64::MAX) {
            let [numerator, denominator, factor] = [numerator, denominator, factor].map(U256::from);
            let scaled = |scale: U256| reduced(Ratio::new(numerator * scale, denominator * scale).unwrap());
            prop_assert_eq!(scaled(factor), scaled(factor << 100));
        }
    }
}
