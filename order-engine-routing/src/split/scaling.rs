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

/// By how many base units a step up may be worth less than a step down before finer steps are tried:
/// either is cut to whole units.
const ROUNDING: u128 = 2;

/// What a division needs to know of its lanes.
pub(crate) trait Payer {
    /// What comes out of a lane; nothing if it cannot take so much.
    fn pays(&self, lane: usize, amount_in: u128) -> Option<u128>;

    /// The most that could come out of a lane, at the price of its first unit; nothing if unknown.
    fn pays_at_most(&self, lane: usize, amount_in: u128) -> Option<u128>;
}

/// A division on its way.
struct Shares<'p, P> {
    lanes: Vec<Share>,
    step: u128,
    payer: &'p P,
}

/// The inputs, one a lane, that add up to `amount` and bring the most. Nothing if the lanes
/// together cannot take the amount, or the budget ends before all of it has its place.
pub(crate) fn divide(
    lanes: usize,
    amount: u128,
    budget: &Budget<'_>,
    payer: &impl Payer,
) -> Option<Vec<u128>> {
    // Beginning with all of it in one lane, so that even a few base units find the best price.
    let mut step = 1 << amount.checked_ilog2().unwrap_or(0);
    let mut shares = Shares { lanes: vec![Share::default(); lanes], step, payer };
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

impl<P: Payer> Shares<'_, P> {
    fn refresh(&mut self, step: u128) {
        self.step = step;
        for lane in 0..self.lanes.len() {
            self.look_around(lane);
        }
    }

    /// Evaluates a lane one step above and one below what it has.
    fn look_around(&mut self, lane: usize) {
        let Share { amount_in, amount_out, .. } = self.lanes[lane];
        let above = amount_in.checked_add(self.step).and_then(|more| self.payer.pays(lane, more));
        let below = match amount_in.checked_sub(self.step) {
            None => None,
            Some(0) => Some(0),
            Some(less) => self.payer.pays(lane, less),
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

    /// Whether finer steps can bring no more than a rounding a lane.
    ///
    /// As outputs are concave, no part of a step is worth more to a lane than the same part of the
    /// step before it, and giving it away costs no less than that part of the step after it. So
    /// where the dearest step down exceeds the cheapest step up by no more than the rounding, moving
    /// parts of a step about brings nothing.
    fn are_settled(&self) -> bool {
        let costs = self.lanes.iter().filter(|share| share.amount_in > 0).map(|share| share.gain);
        let Some(Some(cheapest)) = costs.min() else { return false };
        (0..self.lanes.len())
            .all(|lane| self.most_of_a_step(lane).is_some_and(|most| most <= cheapest + ROUNDING))
    }

    /// The most that parts of one more step could bring, scaled up to all of it.
    fn most_of_a_step(&self, lane: usize) -> Option<u128> {
        let Share { amount_in, loss, .. } = self.lanes[lane];
        if amount_in == 0 { self.payer.pays_at_most(lane, self.step) } else { loss }
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

    /// Lanes that tell no price, so that all steps are tried, or the price of their first unit.
    struct Lanes<'a>(&'a [Lane], bool);

    impl Payer for Lanes<'_> {
        fn pays(&self, lane: usize, amount_in: u128) -> Option<u128> {
            self.0[lane].out(amount_in)
        }

        fn pays_at_most(&self, lane: usize, amount_in: u128) -> Option<u128> {
            self.1.then(|| (self.0[lane].price * amount_in).div_ceil(1_000))
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
            lanes in proptest::collection::vec(lane(), 1..4), amount in 1_u128..60, tells_prices: bool,
        ) {
            let found = divide(lanes.len(), amount, &Budget::unlimited(), &Lanes(&lanes, tells_prices));
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
        let lane = |room| Lane { price: 1_000, depth: 1 << 50, room };
        let (wide, narrow) = ([lane(1 << 41); 2], [lane(1_000_001); 2]);
        let divide = |lanes, amount, budget| divide(2, amount, &budget, &Lanes(lanes, false));
        let half = Some(vec![1 << 39, 1 << 39]);
        assert_eq!(divide(&wide, 1 << 40, Budget::unlimited()), half);
        assert_eq!(divide(&wide, 1 << 40, Budget::evaluations(0)), Some(vec![1 << 40, 0]));
        assert_eq!(divide(&narrow, 2_000_001, Budget::evaluations(0)), None);
        let found = divide(&narrow, 2_000_001, Budget::unlimited()).unwrap();
        assert_eq!(found.iter().sum::<u128>(), 2_000_001);
    }
}
