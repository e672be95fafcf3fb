//! The future of a transaction, fixed when it arrives.

use order_engine_core::TxId;

use crate::chance::{self, Chance, Purpose};
use crate::faults::FaultConfig;
use crate::heights::Heights;

/// The most slots until a transaction of an abandoned block lands again.
const MOST_SLOTS_TO_RELAND: u64 = 8;

/// The most slots from the landing of a transaction to its second delivery.
const MOST_SLOTS_TO_REPEAT: u64 = 40;

/// The future of one arrival of a transaction. It depends on the transaction and the time of the arrival, so
/// a transaction that is sent again later gets a new plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The abandoned block in which the transaction lands first.
    pub(crate) fork: Option<Fork>,
    /// The time at which the transaction lands for good, never after its last valid height.
    pub(crate) lands_at_ms: Option<u64>,
    /// The time of the second delivery.
    pub(crate) repeats_at_ms: Option<u64>,
}

/// A block that will be abandoned, and the time in which it is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fork {
    /// The time of the landing in the block.
    pub(crate) from_ms: u64,
    /// The time at which the block is abandoned, always before it would have been final.
    pub(crate) until_ms: u64,
}

impl Plan {
    /// Returns the plan for a transaction that arrives now and may land.
    pub(crate) fn draw(
        id: &TxId,
        last_valid_height: u64,
        now_ms: u64,
        heights: Heights,
        (chance, faults): (Chance, &FaultConfig),
    ) -> Self {
        let subject = chance::subject(id.as_str());
        let strikes = |rate, purpose| chance.happens(rate, purpose, subject, now_ms);
        let slots = |most, purpose| heights.slots_ms(chance.between(1, most, purpose, subject, now_ms));
        if strikes(faults.drop_rate, Purpose::Drop) {
            return Self::default();
        }
        let last_ms = heights.end_ms(last_valid_height);
        let mut lands_at_ms = now_ms.saturating_add(heights.step_ms());
        if strikes(faults.late_rate, Purpose::LateLanding) {
            lands_at_ms = lands_at_ms.max(last_ms);
        } else if strikes(faults.delay_rate, Purpose::Delay) {
            lands_at_ms = lands_at_ms.saturating_add(slots(faults.delay_slots.max(1), Purpose::DelayLength));
        }
        if lands_at_ms > last_ms {
            return Self::default();
        }
        let mut plan = Self { lands_at_ms: Some(lands_at_ms), ..Self::default() };
        if heights.step_ms() > 0 && strikes(faults.reorg_rate, Purpose::Reorg) {
            let until_ms = lands_at_ms
                + chance.between(1, 2 * heights.step_ms() - 1, Purpose::ForkLength, subject, now_ms);
            plan.fork = Some(Fork { from_ms: lands_at_ms, until_ms });
            let again_ms = until_ms + slots(MOST_SLOTS_TO_RELAND, Purpose::Relanding);
            plan.lands_at_ms = Some(again_ms).filter(|&again_ms| again_ms <= last_ms);
        }
        if strikes(faults.duplicate_rate, Purpose::Duplicate) {
            let repeats_at_ms = |at_ms| at_ms + slots(MOST_SLOTS_TO_REPEAT, Purpose::DuplicateDelay);
            plan.repeats_at_ms = plan.lands_at_ms.map(repeats_at_ms);
        }
        plan
    }
}

impl Fork {
    /// Returns whether the landing in the block is visible.
    pub(crate) const fn is_visible(self, now_ms: u64) -> bool {
        self.from_ms <= now_ms && now_ms < self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;
    use crate::rate::Rate;
    use crate::tx::last_valid_height;
    use order_engine_core::Certainty;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW_MS: u64 = 1_000_000_000;

    fn heights(step_ms: u64) -> Heights {
        Heights::new(&SimConfig { step_delay: Duration::from_millis(step_ms), ..SimConfig::default() })
    }

    fn draw(number: u64, age_slots: u64, step_ms: u64, faults: &FaultConfig) -> (Plan, u64) {
        let heights = heights(step_ms);
        let last_height = last_valid_height(heights.at(NOW_MS) - age_slots);
        let id = TxId::new(number.to_string());
        let plan = Plan::draw(&id, last_height, NOW_MS, heights, (Chance::new(7), faults));
        (plan, heights.end_ms(last_height))
    }

    #[test]
    fn without_faults_a_transaction_lands_a_step_later_or_too_late() {
        let on_time = Plan { lands_at_ms: Some(NOW_MS + 150), ..Plan::default() };
        assert_eq!(draw(1, 0, 150, &FaultConfig::default()).0, on_time);
        assert_eq!(draw(1, 150, 1_000, &FaultConfig::default()).0, Plan::default());
    }

    #[test]
    fn a_late_landing_is_in_the_last_valid_moment() {
        let faults = FaultConfig { late_rate: Rate::ALWAYS, ..FaultConfig::default() };
        let (plan, last_ms) = draw(1, 20, 150, &faults);
        assert_eq!(plan.lands_at_ms, Some(last_ms));
    }

    proptest! {
        #[test]
        fn no_plan_breaks_what_an_engine_relies_on(
            number: u64, age_slots in 0_u64..=150, step_ms in 0_u64..2_000, rates: [u8; 5], delay_slots in 0_u64..300,
        ) {
            let [drop_rate, duplicate_rate, delay_rate, late_rate, reorg_rate] =
                rates.map(|rate| Rate::from_ppm(u32::from(rate) * 3_921).unwrap());
            let faults = FaultConfig {
                drop_rate, duplicate_rate, delay_rate, delay_slots, late_rate, reorg_rate, ..FaultConfig::default()
            };
            let (plan, last_ms) = draw(number, age_slots, step_ms, &faults);
            prop_assert_eq!(draw(number, age_slots, step_ms, &faults).0, plan);
            let heights = heights(step_ms);
            if let Some(lands_at_ms) = plan.lands_at_ms {
                prop_assert!(lands_at_ms >= NOW_MS + step_ms && lands_at_ms <= last_ms);
            }
            if let Some(fork) = plan.fork {
                prop_assert!(fork.from_ms < fork.until_ms && fork.from_ms <= last_ms);
                let at_the_end = fork.until_ms - 1;
                prop_assert!(heights.certainty(fork.from_ms, at_the_end) < Certainty::Finalized);
                prop_assert!(heights.view(at_the_end).finalized < heights.at(fork.from_ms));
                prop_assert!(plan.lands_at_ms.is_none_or(|lands_at_ms| lands_at_ms >= fork.until_ms));
            }
            if let Some(repeats_at_ms) = plan.repeats_at_ms {
                prop_assert!(plan.lands_at_ms.is_some_and(|lands_at_ms| repeats_at_ms > lands_at_ms));
            }
        }
    }
}
