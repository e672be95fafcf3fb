//! The chain's time: heights and levels of certainty as functions of the clock.

use std::time::Duration;

use order_engine_core::{Certainty, ChainView};

use crate::config::SimConfig;

/// The slots for which a blockhash is valid, as on Solana: a transaction may land up to this many slots after
/// the one whose blockhash it names.
pub(crate) const BLOCKHASH_WINDOW_SLOTS: u64 = 150;

/// The fewest slots until most validators have voted for a block.
const CONFIRMED_LAG_SLOTS: u64 = 2;

/// The fewest slots until a block is final, as on Solana.
const FINALIZED_LAG_SLOTS: u64 = 32;

/// Computes heights from times, and the certainty of landings.
///
/// Heights count slots since 1970, so they are the same for every process with the same clock, grow across
/// restarts, and are positive under any clock of a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heights {
    slot_ms: u64,
    step_ms: u64,
    /// The slots added because an earlier process, with another clock or slot length, got further.
    offset: u64,
}

impl Heights {
    /// Returns the heights of a new chain.
    pub(crate) fn new(config: &SimConfig) -> Self {
        Self { slot_ms: millis(config.slot).max(1), step_ms: millis(config.step_delay), offset: 0 }
    }

    /// Continues after the last landing of an earlier process, in this height and at this time. A height must never recur, because a
    /// transaction that is dead because a final height passed it could then land after all.
    pub(crate) fn resume_after(mut self, (height, landed_at_ms): (u64, u64), now_ms: u64) -> Self {
        self.offset = 0;
        let then_ms = landed_at_ms.min(now_ms);
        self.offset = height.saturating_sub(self.at(then_ms));
        self
    }

    /// Returns the height at a time.
    pub(crate) const fn at(self, now_ms: u64) -> u64 {
        now_ms / self.slot_ms + self.offset
    }

    /// Returns the first millisecond of a height.
    pub(crate) const fn start_ms(self, height: u64) -> u64 {
        height.saturating_sub(self.offset) * self.slot_ms
    }

    /// Returns the last millisecond of a height.
    pub(crate) const fn end_ms(self, height: u64) -> u64 {
        (height.saturating_sub(self.offset) + 1) * self.slot_ms - 1
    }

    /// Returns the length of `slots` slots.
    pub(crate) const fn slots_ms(self, slots: u64) -> u64 {
        slots.saturating_mul(self.slot_ms)
    }

    /// Returns the length of one step of a transaction.
    pub(crate) const fn step_ms(self) -> u64 {
        self.step_ms
    }

    /// Returns the heights of the chain at each level of certainty.
    ///
    /// A height is never more certain than a transaction that landed in it: a finalized height has only
    /// finalized transactions, and nothing can land in it any more.
    pub(crate) fn view(self, now_ms: u64) -> ChainView {
        let processed = self.at(now_ms);
        let lag = |steps: u64, at_least: u64| {
            // The slot in which a step ends is not over yet, so the lag is one slot longer.
            at_least.max((steps * self.step_ms).div_ceil(self.slot_ms) + 1)
        };
        let confirmed = processed.saturating_sub(lag(1, CONFIRMED_LAG_SLOTS));
        ChainView::new(processed, confirmed, processed.saturating_sub(lag(2, FINALIZED_LAG_SLOTS)))
    }

    /// Returns the certainty at `now_ms` of a landing at `landed_at_ms`.
    pub(crate) const fn certainty(self, landed_at_ms: u64, now_ms: u64) -> Certainty {
        let age_ms = now_ms.saturating_sub(landed_at_ms);
        if age_ms >= 2 * self.step_ms {
            Certainty::Finalized
        } else if age_ms >= self.step_ms {
            Certainty::Confirmed
        } else {
            Certainty::Processed
        }
    }
}

/// Returns a duration in milliseconds, rounded up, so that no delay becomes zero.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heights(slot_ms: u64, step_ms: u64) -> Heights {
        Heights::new(&SimConfig {
            slot: Duration::from_millis(slot_ms),
            step_delay: Duration::from_millis(step_ms),
            ..SimConfig::default()
        })
    }

    #[test]
    fn a_restart_continues_at_the_height_of_the_clock() {
        let heights = heights(400, 150);
        let last = (heights.at(1_000_000), 1_000_000);
        assert_eq!(heights.resume_after(last, 9_000_000).at(9_000_000), heights.at(9_000_000));
    }

    #[test]
    fn no_height_recurs_when_the_clock_is_set_back() {
        let heights = heights(400, 150);
        let last = (heights.at(9_000_000), 9_000_000);
        let resumed = heights.resume_after(last, 1_000_000);
        assert_eq!(resumed.at(1_000_000), last.0);
        assert_eq!(resumed.at(1_000_400), last.0 + 1);
        let next = (resumed.at(2_000_000), 2_000_000);
        assert_eq!(heights.resume_after(next, 3_000_000).at(3_000_000), resumed.at(3_000_000));
    }

    proptest! {
        #[test]
        fn a_height_is_never_more_certain_than_a_landing_in_it(
            slot_ms in 1_u64..1_000, step_ms in 0_u64..100_000, landed_ms in 10_000_000_u64..20_000_000, age in 0_u64..300_000,
        ) {
            let heights = heights(slot_ms, step_ms);
            let now_ms = landed_ms + age;
            let view = heights.view(now_ms);
            prop_assert!(view.finalized <= view.confirmed && view.confirmed <= view.processed);
            let (height, certainty) = (heights.at(landed_ms), heights.certainty(landed_ms, now_ms));
            prop_assert!(height > view.confirmed || certainty >= Certainty::Confirmed);
            prop_assert!(height > view.finalized || certainty == Certainty::Finalized);
        }

        #[test]
        fn the_last_millisecond_of_a_height_belongs_to_it(slot_ms in 1_u64..1_000, now_ms in 0_u64..1_000_000) {
            let heights = heights(slot_ms, 0);
            let height = heights.at(now_ms);
            prop_assert!(heights.end_ms(height) >= now_ms);
            prop_assert_eq!(heights.at(heights.end_ms(height)), height);
            prop_assert_eq!(heights.start_ms(height + 1), heights.end_ms(height) + 1);
            prop_assert_eq!(heights.at(heights.end_ms(height) + 1), height + 1);
        }
    }
}
