//! Random numbers without state: each is a pure function of the seed, the purpose, the subject and the round.
//! They do not depend on the order of calls, so concurrent runs agree.

use crate::rate::Rate;

/// The purpose of a random number. Two purposes never share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// The depth of a pool.
    Depth = 1,
    /// The market price of a token.
    Market,
    /// The deviation of a pool from the market.
    Stray,
    /// Whether a transaction is front-run.
    FrontRun,
    /// Whether a request to send a transaction is lost.
    LostRequest,
    /// Whether the reply to such a request is lost.
    LostReply,
    /// Whether an accepted transaction is forgotten.
    Drop,
    /// Whether a transaction lands in the last valid moment.
    LateLanding,
    /// Whether a transaction lands later than usual.
    Delay,
    /// The length of such a delay.
    DelayLength,
    /// Whether the block of a transaction is abandoned.
    Reorg,
    /// The time until the block is abandoned.
    ForkLength,
    /// The time until the transaction then lands again.
    Relanding,
    /// Whether a transaction is delivered twice.
    Duplicate,
    /// The time from the landing to the second delivery.
    DuplicateDelay,
    /// Whether the history of a node lags.
    HistoryLag,
    /// Whether the history of a node is pruned.
    HistoryPruning,
    /// Whether the node that answers lags.
    NodeLag,
    /// Whether somebody else uses the next nonce of an account.
    ForeignUse,
    /// Whether the newest blocks are abandoned.
    BlockReorg,
    /// The number of these blocks.
    ReorgDepth,
    /// Whether the nodes lose a transaction of an abandoned block.
    ReorgLoss,
    /// Whether the nodes forget a transaction that waits.
    Eviction,
    /// Whether the base fee is high.
    FeeSpike,
}

/// The source of all random numbers of one simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    seed: u64,
}

impl Chance {
    /// Returns the random numbers of this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns 64 well-mixed bits.
    pub(crate) fn bits(self, purpose: Purpose, subject: u64, round: u64) -> u64 {
        [purpose as u64, subject, round].into_iter().fold(mix(self.seed), |state, part| mix(state ^ part))
    }

    /// Returns whether an event of this rate happens.
    pub(crate) fn happens(self, rate: Rate, purpose: Purpose, subject: u64, round: u64) -> bool {
        self.bits(purpose, subject, round) % u64::from(Rate::ALWAYS.ppm()) < u64::from(rate.ppm())
    }

    /// Returns a number between `low` and `high`, both included.
    pub(crate) fn between(self, low: u64, high: u64, purpose: Purpose, subject: u64, round: u64) -> u64 {
        low + self.bits(purpose, subject, round) % (high - low + 1)
    }
}

/// Returns the subject of a text: its hash (FNV-1a, 64 bits).
pub(crate) fn subject(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Returns one step of `SplitMix64`, a bijection in which every bit of the input affects every bit of the
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
    fn numbers_differ_by_seed_purpose_subject_and_round_and_repeat_otherwise() {
        let bits = Chance::new(1).bits(Purpose::Market, 2, 3);
        assert_eq!(Chance::new(1).bits(Purpose::Market, 2, 3), bits);
        assert_ne!(Chance::new(2).bits(Purpose::Market, 2, 3), bits);
        assert_ne!(Chance::new(1).bits(Purpose::Stray, 2, 3), bits);
        assert_ne!(Chance::new(1).bits(Purpose::Market, 3, 3), bits);
        assert_ne!(Chance::new(1).bits(Purpose::Market, 2, 4), bits);
    }

    #[test]
    fn a_rate_is_kept_over_many_events() {
        for (ppm, expected) in [(0, 0..=0), (50_000, 4_700..=5_300), (1_000_000, 100_000..=100_000)] {
            let rate = Rate::from_ppm(ppm).unwrap();
            let count =
                (0..100_000).filter(|&n| Chance::new(9).happens(rate, Purpose::FrontRun, n, 0)).count();
            assert!(expected.contains(&count), "{count} of 100000 at {ppm} ppm");
        }
    }

    #[test]
    fn numbers_stay_between_their_bounds() {
        let numbers: std::collections::BTreeSet<u64> =
            (0..1_000).map(|n| Chance::new(3).between(5, 8, Purpose::Depth, n, 0)).collect();
        assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [5, 6, 7, 8]);
    }
}
