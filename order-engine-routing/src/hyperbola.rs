//! The output of a path of constant-product pools as a function of its input.

/// A function `out = price · x / (1 + bend · x)`, in floats.
///
/// It ignores all rounding, so it only seeds searches that integers decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hyperbola {
    pub(crate) price: f64,
    pub(crate) bend: f64,
}

impl Hyperbola {
    /// Returns the composition of two hyperbolas: `next` takes what this one pays.
    pub(crate) fn then(self, next: Self) -> Self {
        Self { price: self.price * next.price, bend: self.bend + next.bend * self.price }
    }

    /// Returns whether both numbers are positive, finite and not subnormal, as the closed form needs.
    pub(crate) fn is_usable(self) -> bool {
        self.price.is_normal() && self.bend.is_normal() && self.price > 0.0 && self.bend > 0.0
    }

    /// Returns the output for an input.
    pub(crate) fn output(self, amount_in: f64) -> f64 {
        self.price * amount_in / (1.0 + self.bend * amount_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_hyperbolas_is_a_hyperbola() {
        let (first, second) = (Hyperbola { price: 1.5, bend: 1e-6 }, Hyperbola { price: 0.7, bend: 3e-6 });
        let chained = first.then(second).output(12_345.0);
        let stepwise = second.output(first.output(12_345.0));
        assert!((chained / stepwise - 1.0).abs() < 1e-12);
    }
}
