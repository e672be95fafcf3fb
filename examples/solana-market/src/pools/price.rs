//! What a token costs, in the ways in which the programs say it.

use order_engine_routing::ConcentratedLiquidity;

use super::Dice;

/// How many units of the second token a unit of the first one costs: 1.0001 to the power of the tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price(i32);

impl Price {
    /// A quarter.
    pub const QUARTER: Self = Self(-13_864);

    /// Returns a price between about a third and three.
    pub fn any(dice: &Dice) -> Self {
        Self(i32::try_from(dice.below(20_000)).unwrap() - 10_000)
    }

    /// Returns the tick.
    pub(super) const fn tick(self) -> i32 {
        self.0
    }

    /// Returns the nearest bin of a tenth of a percent.
    pub(super) const fn bin(self) -> i32 {
        // So many ticks are as wide as a bin: ln 1.001 / ln 1.0001 = 9.9955.
        (self.0 * 10_000).div_euclid(99_955)
    }

    /// Returns what an amount of the first token costs.
    pub(super) fn of(self, amount: u64) -> u64 {
        let root = ConcentratedLiquidity::sqrt_price_at_tick(self.0).unwrap();
        let once = (u128::from(amount) * (root >> 32)) >> 32;
        u64::try_from((once * (root >> 32)) >> 32).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_programs_are_told_the_same_price() {
        assert_eq!(Price::QUARTER.of(1 << 42) >> 30, (1 << 10) - 1, "a little less than a quarter");
        let by_bin = 1.001_f64.powi(Price::QUARTER.bin());
        let by_tick = 1.0001_f64.powi(Price::QUARTER.tick());
        assert!((by_bin / by_tick - 1.0).abs() < 0.001, "{by_bin} and {by_tick}");
    }
}
