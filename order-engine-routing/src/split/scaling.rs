//! Splits an amount over paths of any curves, by exchanges between them at ever finer steps.
//!
//! The output of a path is concave in its input: a pool never becomes cheaper by being used. A split over
//! concave functions is optimal if no exchange of one unit between two of them improves it. So a descent
//! over steps of halving size, in which each phase starts where the coarser one ended, finds the optimum
//! with a number of evaluations that grows with the logarithm of the amount (Hochbaum's scaling for
//! separable concave allocation). It uses no floats, and kinks in the output, as between two bins, need no
//! special care.

use crate::budget::SearchBudget;

/// The most exchanges that a phase makes per path. A phase starts within a few steps of its optimum, so it
/// never reaches this bound on concave outputs; the bound limits the work on all others.
const MOST_EXCHANGES_PER_PATH: usize = 16;

/// The base units by which a step more may pay less than a step less costs before finer steps are tried:
/// both are rounded down to whole units.
const ROUNDING: u128 = 2;

/// The outputs of the paths to split over.
pub(super) trait PathOutputs {
    /// Returns what a path pays for an input, or `None` if it cannot trade it.
    fn output(&self, path: usize, amount_in: u128) -> Option<u128>;

    /// Returns an upper bound of what a path pays, at the price of its first unit, or `None` if it is
    /// unknown.
    fn output_ceiling(&self, path: usize, amount_in: u128) -> Option<u128>;
}

/// The input and output of one path, and how one step more or less would change the output.
#[derive(Clone, Copy, Debug, Default)]
struct Allocation {
    amount_in: u128,
    amount_out: u128,
    /// What one step more would add to the output; `None` if the path cannot trade it.
    gain: Option<u128>,
    /// What one step less would take from the output; `None` if there is no step to take away.
    loss: Option<u128>,
}

/// A split that is being improved.
struct Descent<'p, O> {
    allocations: Vec<Allocation>,
    step: u128,
    outputs: &'p O,
}

/// Returns the inputs, one per path, that add up to `amount` and pay the most. Returns `None` if all paths
/// together cannot trade the amount, or the budget ends before all of it is allocated.
///
/// `start` are inputs from which the best ones differ by no more than what they lack of the amount, zeros if nothing is known.
pub(super) fn split(
    start: &[u128],
    amount: u128,
    budget: &SearchBudget<'_>,
    outputs: &impl PathOutputs,
) -> Option<Vec<u128>> {
    let mut rest = start.iter().try_fold(amount, |rest, amount_in| rest.checked_sub(*amount_in))?;
    // The first step allocates more than half of the rest to one path, so that even a few base units
    // find the best price.
    let mut step = 1 << rest.checked_ilog2().unwrap_or(0);
    let allocation = |(path, &amount_in): (usize, &u128)| {
        let amount_out = if amount_in == 0 { 0 } else { outputs.output(path, amount_in)? };
        Some(Allocation { amount_in, amount_out, ..Allocation::default() })
    };
    let allocations = start.iter().enumerate().map(allocation).collect::<Option<_>>()?;
    let mut descent = Descent { allocations, step, outputs };
    loop {
        descent.refresh(step);
        while rest >= step
            && let Some(path) = descent.largest_gain()
        {
            descent.add_step(path);
            rest -= step;
        }
        descent.exchange();
        let is_settled = rest == 0 && descent.is_settled();
        if step == 1 || is_settled || (rest == 0 && !budget.lasts()) {
            break;
        }
        if !budget.lasts() {
            return None;
        }
        step /= 2;
    }
    (rest == 0).then(|| descent.allocations.iter().map(|allocation| allocation.amount_in).collect())
}

impl<O: PathOutputs> Descent<'_, O> {
    fn refresh(&mut self, step: u128) {
        self.step = step;
        for path in 0..self.allocations.len() {
            self.evaluate_neighbours(path);
        }
    }

    /// Evaluates a path one step above and one step below its input.
    fn evaluate_neighbours(&mut self, path: usize) {
        let Allocation { amount_in, amount_out, .. } = self.allocations[path];
        let above = amount_in.checked_add(self.step).and_then(|more| self.outputs.output(path, more));
        let below = match amount_in.checked_sub(self.step) {
            None => None,
            Some(0) => Some(0),
            Some(less) => self.outputs.output(path, less),
        };
        let allocation = &mut self.allocations[path];
        allocation.gain = above.map(|above| above.saturating_sub(amount_out));
        allocation.loss = below.map(|below| amount_out.saturating_sub(below));
    }

    fn add_step(&mut self, path: usize) {
        let allocation = &mut self.allocations[path];
        allocation.amount_in += self.step;
        allocation.amount_out += allocation.gain.unwrap_or_default();
        self.evaluate_neighbours(path);
    }

    fn remove_step(&mut self, path: usize) {
        let allocation = &mut self.allocations[path];
        allocation.amount_in -= self.step;
        allocation.amount_out -= allocation.loss.unwrap_or_default();
        self.evaluate_neighbours(path);
    }

    /// Returns the path that gains the most from one step more; the first of several.
    fn largest_gain(&self) -> Option<usize> {
        let gain = |path: &usize| (self.allocations[*path].gain, std::cmp::Reverse(*path));
        (0..self.allocations.len()).filter(|&path| self.allocations[path].gain.is_some()).max_by_key(gain)
    }

    /// Returns the path, other than `except`, that loses the least from one step less; the first of several.
    fn smallest_loss(&self, except: usize) -> Option<usize> {
        let can_lose = |path: &usize| *path != except && self.allocations[*path].loss.is_some();
        let paths = (0..self.allocations.len()).filter(can_lose);
        paths.min_by_key(|&path| (self.allocations[path].loss, path))
    }

    /// Returns whether finer steps can improve the output by no more than the rounding of each path.
    ///
    /// As outputs are concave, a path gains no more from a part of its next step than it gained from the
    /// same part of its last step, and loses no less with a part of its last step than it would gain from
    /// the same part of its next step. So if the largest loss exceeds the smallest gain by no more than the
    /// rounding, moving parts of a step between paths improves nothing.
    fn is_settled(&self) -> bool {
        let used = self.allocations.iter().filter(|allocation| allocation.amount_in > 0);
        let Some(Some(smallest)) = used.map(|allocation| allocation.gain).min() else { return false };
        (0..self.allocations.len())
            .all(|path| self.gain_ceiling(path).is_some_and(|most| most <= smallest + ROUNDING))
    }

    /// Returns an upper bound of what parts of one more step add, scaled up to the whole step.
    fn gain_ceiling(&self, path: usize) -> Option<u128> {
        let Allocation { amount_in, loss, .. } = self.allocations[path];
        if amount_in == 0 { self.outputs.output_ceiling(path, self.step) } else { loss }
    }

    /// Moves steps from the paths with the smallest losses to those with the largest gains while that
    /// increases the output.
    fn exchange(&mut self) {
        for _ in 0..MOST_EXCHANGES_PER_PATH * self.allocations.len() {
            let Some(to) = self.largest_gain() else { return };
            let Some(from) = self.smallest_loss(to) else { return };
            if self.allocations[to].gain <= self.allocations[from].loss {
                return;
            }
            self.remove_step(from);
            self.add_step(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A hyperbola with the spot price `price / 1000` that takes at most `room`.
    #[derive(Clone, Copy, Debug)]
    struct CappedHyperbola {
        price: u128,
        depth: u128,
        room: u128,
    }

    impl CappedHyperbola {
        fn output(self, amount_in: u128) -> Option<u128> {
            (amount_in <= self.room)
                .then(|| self.price * self.depth * amount_in / (1_000 * (self.depth + amount_in)))
        }
    }

    /// Paths of known shape. Without ceilings the search tries every step.
    struct Paths<'a> {
        shapes: &'a [CappedHyperbola],
        has_ceilings: bool,
    }

    impl PathOutputs for Paths<'_> {
        fn output(&self, path: usize, amount_in: u128) -> Option<u128> {
            self.shapes[path].output(amount_in)
        }

        fn output_ceiling(&self, path: usize, amount_in: u128) -> Option<u128> {
            self.has_ceilings.then(|| (self.shapes[path].price * amount_in).div_ceil(1_000))
        }
    }

    fn shape() -> impl Strategy<Value = CappedHyperbola> {
        (500_u128..2_000, 1_u128..500, 1_u128..200).prop_map(|(price, depth, room)| CappedHyperbola {
            price,
            depth,
            room,
        })
    }

    /// Returns the highest output, by trying every split.
    fn exhaustive(shapes: &[CappedHyperbola], amount: u128) -> Option<u128> {
        match shapes {
            [] => (amount == 0).then_some(0),
            [shape, rest @ ..] => (0..=amount)
                .filter_map(|part| Some(shape.output(part)? + exhaustive(rest, amount - part)?))
                .max(),
        }
    }

    proptest! {
        #[test]
        fn no_split_is_better_by_more_than_the_rounding(
            shapes in proptest::collection::vec(shape(), 1..4), amount in 1_u128..60, has_ceilings: bool,
        ) {
            let paths = Paths { shapes: &shapes, has_ceilings };
            let found = split(&vec![0; shapes.len()], amount, &SearchBudget::unlimited(), &paths);
            let best = exhaustive(&shapes, amount);
            prop_assert_eq!(found.is_some(), best.is_some());
            if let (Some(found), Some(best)) = (found, best) {
                prop_assert_eq!(found.iter().sum::<u128>(), amount);
                let total: u128 = found.iter().zip(&shapes).map(|(&x, shape)| shape.output(x).unwrap()).sum();
                // Outputs would be concave without their rounding to whole units. It may hide one unit of
                // what an exchange gains, and one unit of what it loses.
                prop_assert!(total + 2 * shapes.len() as u128 >= best, "{} of {}", total, best);
            }
        }
    }

    #[test]
    fn a_spent_budget_returns_a_complete_split_or_none() {
        let shape = |room| CappedHyperbola { price: 1_000, depth: 1 << 50, room };
        let (wide, narrow) = ([shape(1 << 41); 2], [shape(1_000_001); 2]);
        let split =
            |shapes, amount, budget| split(&[0; 2], amount, &budget, &Paths { shapes, has_ceilings: false });
        let half = Some(vec![1 << 39, 1 << 39]);
        assert_eq!(split(&wide, 1 << 40, SearchBudget::unlimited()), half);
        assert_eq!(split(&wide, 1 << 40, SearchBudget::evaluations(0)), Some(vec![1 << 40, 0]));
        assert_eq!(split(&narrow, 2_000_001, SearchBudget::evaluations(0)), None);
        let found = split(&narrow, 2_000_001, SearchBudget::unlimited()).unwrap();
        assert_eq!(found.iter().sum::<u128>(), 2_000_001);
    }
}
