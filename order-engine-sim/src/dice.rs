//! Chance without state: every roll is a pure function of the seed, of what is rolled for, and of
//! whom it concerns. Nothing depends on the order of calls, so concurrent runs agree.

use crate::Rate;

/// What is rolled for. Two purposes never share a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// How deep a pool is.
    Depth = 1,
    /// Where the price of a token stands.
    Market,
    /// How far a pool strays from the market.
    Stray,
    /// Whether somebody trades ahead of a transaction.
    AdverseMove,
    /// Whether a request to send is lost.
    LostRequest,
    /// Whether the answer to it is lost.
    LostReply,
    /// Whether an accepted transaction is forgotten.
    Drop,
    /// Whether it lands in the last moment.
    LateLanding,
    /// Whether it lands later than it should.
    Delay,
    /// By how much.
    DelayLength,
    /// Whether its block is abandoned.
    Reorg,
    /// How long that takes.
    ForkLength,
    /// How long it then takes to land again.
    Relanding,
    /// Whether it is delivered again.
    Duplicate,
    /// How long after its landing.
    DuplicateDelay,
    /// Whether the history lags.
    HistoryLag,
    /// Whether the history is pruned.
    HistoryPruning,
    /// Whether the node that answers lags.
    NodeLag,
}

/// The source of all chance in one simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    seed: u64,
}

impl Dice {
    /// Dice that fall by this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 well-mixed bits.
    pub(crate) fn roll(self, purpose: Purpose, subject: u64, round: u64) -> u64 {
        [purpose as u64, subject, round].into_iter().fold(mix(self.seed), |state, part| mix(state ^ part))
    }

    /// Whether something of this rate happens.
    pub(crate) fn happens(self, rate: Rate, purpose: Purpose, subject: u64, round: u64) -> bool {
        self.roll(purpose, subject, round) % u64::from(Rate::ALWAYS.ppm()) < u64::from(rate.ppm())
    }

    /// A number between `low` and `high`, both included.
    pub(crate) fn between(self, low: u64, high: u64, purpose: Purpose, subject: u64, round: u64) -> u64 {
        low + self.roll(purpose, subject, round) % (high - low + 1)
    }
}

/// A number that stands for a text when dice are rolled (FNV-1a, 64 bits).
pub(crate) fn subject(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// One step of `SplitMix64`: a bijection that lets every bit of the input change every bit of the
/// output.
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_differ_by_seed_purpose_subject_and_round_and_repeat_otherwise() {
        let roll = Dice::new(1).roll(Purpose::Market, 2, 3);
        assert_eq!(Dice::new(1).roll(Purpose::Market, 2, 3), roll);
        assert_ne!(Dice::new(2).roll(Purpose::Market, 2, 3), roll);
        assert_ne!(Dice::new(1).roll(Purpose::Stray, 2, 3), roll);
        assert_ne!(Dice::new(1).roll(Purpose::Market, 3, 3), roll);
        assert_ne!(Dice::new(1).roll(Purpose::Market, 2, 4), roll);
    }

    #[test]
    fn a_rate_is_kept_over_many_rolls() {
        for (ppm, expected) in [(0, 0..=0), (50_000, 4_700..=5_300), (1_000_000, 100_000..=100_000)] {
            let rate = Rate::from_ppm(ppm).unwrap();
            let count =
                (0..100_000).filter(|&n| Dice::new(9).happens(rate, Purpose::AdverseMove, n, 0)).count();
            assert!(expected.contains(&count), "{count} of 100000 at {ppm} ppm");
        }
    }

    #[test]
    fn numbers_stay_between_their_bounds() {
        let numbers: std::collections::BTreeSet<u64> =
            (0..1_000).map(|n| Dice::new(3).between(5, 8, Purpose::Depth, n, 0)).collect();
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [5, 6, 7, 8]);
    }
}
