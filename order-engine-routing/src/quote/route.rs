//! A route as the engine knows it.

use order_engine_core::{Leg, Route, RouteAnalysis};

use super::{LegQuote, RouteQuote};
use crate::ratio::Ratio;

impl LegQuote<'_> {
    /// The mint of the token that goes in.
    pub fn input_mint(&self) -> &str {
        self.direction.orient(&self.pool.token_a, &self.pool.token_b).0
    }

    /// The mint of the token that comes out.
    pub fn output_mint(&self) -> &str {
        self.direction.orient(&self.pool.token_a, &self.pool.token_b).1
    }

    fn to_leg(self) -> Leg {
        Leg {
            dex: self.pool.dex.clone(),
            pool: self.pool.id.clone(),
            input_mint: self.input_mint().to_owned(),
            output_mint: self.output_mint().to_owned(),
            amount_in: self.amount_in,
            amount_out: self.amount_out,
        }
    }
}

impl RouteQuote<'_> {
    /// A name that no other route over the same pools has: their ids, joined by `>` where one sells
    /// what the one before it paid, and by `+` where paths lie side by side.
    pub fn id(&self) -> String {
        let paths = self.legs.chunk_by(|one, other| one.path == other.path);
        let name = |legs: &[LegQuote<'_>]| join(legs.iter().map(|leg| leg.pool.id.as_str()), ">");
        paths.map(name).collect::<Vec<_>>().join("+")
    }

    /// The route as the engine knows it. Its legs stand in the order of execution.
    pub fn to_route(&self) -> Route {
        let mut dexes: Vec<&str> = Vec::new();
        for leg in &self.legs {
            if !dexes.contains(&leg.pool.dex.as_str()) {
                dexes.push(&leg.pool.dex);
            }
        }
        let analysis = RouteAnalysis {
            chain_cost: self.chain_cost,
            mid_price: self.mid_price().ok().map(text),
            price_impact_bps: self.price_impact_bps().ok(),
            is_proven_optimal: self.is_proven_optimal,
        };
        Route {
            dex: join(dexes.into_iter(), " + "),
            legs: self.legs.iter().map(|leg| leg.to_leg()).collect(),
            amount_in: self.amount_in,
            amount_out: self.amount_out,
            analysis: Some(analysis),
        }
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a str>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

/// The ratio in lowest terms.
fn text(ratio: Ratio) -> String {
    let (numerator, denominator) = ratio.parts();
    // The reserves of most pools fit, and short divisions take a tenth of the time.
    if let (Ok(numerator), Ok(denominator)) = (u128::try_from(numerator), u128::try_from(denominator)) {
        let divisor = gcd(numerator, denominator);
        return format!("{}/{}", numerator / divisor, denominator / divisor);
    }
    let divisor = numerator.gcd(denominator);
    format!("{}/{}", numerator / divisor, denominator / divisor)
}

/// The greatest common divisor, of which the second is not zero.
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
            let reduced = |scale: U256| text(Ratio::new(numerator * scale, denominator * scale).unwrap());
            prop_assert_eq!(reduced(factor), reduced(factor << 100));
        }
    }
}
