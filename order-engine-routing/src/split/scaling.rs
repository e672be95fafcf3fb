//! Divides an amount over lanes of any curve, by exchanges at ever finer steps.
//!
//! Every lane's output is concave in its input: a pool never becomes cheaper by being used. A
//! division over concave functions that no exchange of one unit between two of them improves is the
//! best there is, so a descent over steps of halving size, each phase starting where the coarser one
//! ended, finds it after a number of evaluations that grows with the logarithm of the amount
//! (Hochbaum's scaling for separable concave allocation). Nothing here is a float, and kinks, as
//! between two bins, need no care.

use crate::budget::Budget;

/// How many exchanges a phase may make for each lane. A phase begins within a few steps of its
/// optimum, so this is never reached on concave curves; it bounds the work on anything else.
const MOST_EXCHANGES_PER_LANE: usize = 16;

/// What a lane has been given, and what one step more or less would change.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    amount_in: u128,
    amount_out: u128,
    /// What one step more would bring; nothing if the lane cannot take it.
    gain: Option<u128>,
    /// What one step less would cost; nothing if there is no step to take away.
    loss: Option<u128>,
}

/// A division on its way.
struct Shares<F> {
    lanes: Vec<Share>,
    step: u128,
    out: F,
}

/// The inputs, one a lane, that add up to `amount` and bring the most. Nothing if the lanes
/// together cannot take the amount, or the budget ends before all of it has its place.
///
/// `out(lane, amount_in)` is what comes out of a lane; nothing if it cannot take so much.
pub(crate) fn divide(
    lanes: usize,
    amount: u128,
    budget: &Budget<'_>,
    out: impl FnMut(usize, u128) -> Option<u128>,
) -> Option<Vec<u128>> {
    // Beginning with all of it in one lane, so that even a few base units find the best price.
    let mut step = 1 << amount.checked_ilog2().unwrap_or(0);
    let mut shares = Shares { lanes: vec![Share::default(); lanes], step, out };
    let mut rest = amount;
    loop {
        shares.refresh(step);
        while rest >= step
            && let Some(lane) = shares.most_wanting()
        {
            shares.give(lane);
            rest -= step;
        }
        shares.exchange();
        // Where a step brings one base unit at most, finer ones only move the rounding about.
        let is_settled = rest == 0 && shares.are_settled();
        if step == 1 || is_settled || (rest == 0 && !budget.lasts()) {
            break;
        }
        if !budget.lasts() {
            return None;
        }
        step /= 2;
    }
    (rest == 0).then(|| shares.lanes.iter().map(|share| share.amount_in).collect())
}

impl<F: FnMut(usize, u128) -> Option<u128>> Shares<F> {
    fn refresh(&mut self, step: u128) {
        self.step = step;
        for lane in 0..self.lanes.len() {
            self.look_around(lane);
        }
    }

    /// Evaluates a lane one step above and one below what it has.
    fn look_around(&mut self, lane: usize) {
        let Share { amount_in, amount_out, .. } = self.lanes[lane];
        let above = amount_in.checked_add(self.step).and_then(|more| (self.out)(lane, more));
        let below = match amount_in.checked_sub(self.step) {
            None => None,
            Some(0) => Some(0),
            Some(less) => (self.out)(lane, less),
        };
        let share = &mut self.lanes[lane];
        share.gain = above.map(|above| above.saturating_sub(amount_out));
        share.loss = below.map(|below| amount_out.saturating_sub(below));
    }

    fn give(&mut self, lane: usize) {
        let share = &mut self.lanes[lane];
        share.amount_in += self.step;
        share.amount_out += share.gain.unwrap_or_default();
        self.look_around(lane);
    }

    fn take(&mut self, lane: usize) {
        let share = &mut self.lanes[lane];
        share.amount_in -= self.step;
        share.amount_out -= share.loss.unwrap_or_default();
        self.look_around(lane);
    }

    /// The lane that would make the most of one step more; the first of several.
    fn most_wanting(&self) -> Option<usize> {
        let wanting = |lane: &usize| (self.lanes[*lane].gain, std::cmp::Reverse(*lane));
        (0..self.lanes.len()).filter(|&lane| self.lanes[lane].gain.is_some()).max_by_key(wanting)
    }

    /// The lane, other than `not`, that would miss one step the least; the first of several.
    fn least_missing(&self, not: usize) -> Option<usize> {
        let lanes = (0..self.lanes.len()).filter(|&lane| lane != not && self.lanes[lane].loss.is_some());
        lanes.min_by_key(|&lane| (self.lanes[lane].loss, lane))
    }

    /// Whether no lane would make anything of one step more. One that cannot take it may still make
    /// something of a smaller one.
    fn are_settled(&self) -> bool {
        self.lanes.iter().all(|share| share.gain.is_some_and(|gain| gain <= 1))
    }

    /// Moves steps from lanes that miss them least to lanes that want them most while that pays.
    fn exchange(&mut self) {
        for _ in 0..MOST_EXCHANGES_PER_LANE * self.lanes.len() {
            let Some(to) = self.most_wanting() else { return };
            let Some(from) = self.least_missing(to) else { return };
            if self.lanes[to].gain <= self.lanes[from].loss {
                return;
            }
            self.take(from);
            self.give(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A lane that pays `price / 1000` for the first `room` and then ever less.
    #[derive(Clone, Copy, Debug)]
    struct Lane {
        price: u128,
        depth: u128,
        room: u128,
    }

    impl Lane {
        fn out(self, amount_in: u128) -> Option<u128> {
            (amount_in <= self.room)
                .then(|| self.price * self.depth * amount_in / (1_000 * (self.depth + amount_in)))
        }
    }

    fn lane() -> impl Strategy<Value = Lane> {
        (500_u128..2_000, 1_u128..500, 1_u128..200).prop_map(|(price, depth, room)| Lane {
            price,
            depth,
            room,
        })
    }

    /// The most that can come out, by trying every division.
    fn exhaustive(lanes: &[Lane], amount: u128) -> Option<u128> {
        match lanes {
            [] => (amount == 0).then_some(0),
            [lane, rest @ ..] => {
                (0..=amount).filter_map(|part| Some(lane.out(part)? + exhaustive(rest, amount - part)?)).max()
            }
        }
    }

    proptest! {
        #[test]
        fn no_division_is_better_by_more_than_the_rounding(
            lanes in proptest::collection::vec(lane(), 1..4), amount in 1_u128..60,
        ) {
            let found = divide(lanes.len(), amount, &Budget::unlimited(), |lane, x| lanes[lane].out(x));
            let best = exhaustive(&lanes, amount);
            prop_assert_eq!(found.is_some(), best.is_some());
            if let (Some(found), Some(best)) = (found, best) {
                prop_assert_eq!(found.iter().sum::<u128>(), amount);
                let total: u128 = found.iter().zip(&lanes).map(|(&x, lane)| lane.out(x).unwrap()).sum();
                // Outputs are cut to whole units, which is all that keeps them from being concave: it
                // may hide a unit of what an exchange brings, and a unit of what it costs.
                prop_assert!(total + 2 * lanes.len() as u128 >= best, "{} of {}", total, best);
            }
        }
    }

    #[test]
    fn a_spent_budget_gives_what_is_placed_or_nothing() {
        let flat = |_, amount_in: u128| Some(amount_in);
        assert_eq!(divide(2, 1 << 40, &Budget::evaluations(0), flat), Some(vec![1 << 40, 0]));
        let narrow = |_, amount_in: u128| (amount_in <= 1_000_001).then_some(amount_in);
        assert_eq!(divide(2, 2_000_001, &Budget::evaluations(0), narrow), None);
        let found = divide(2, 2_000_001, &Budget::unlimited(), narrow).unwrap();
        assert_eq!(found.iter().sum::<u128>(), 2_000_001);
    }
}
