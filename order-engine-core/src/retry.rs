//! When to try again, and when to give up.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{Failure, FailureClass, FailureCode, Order, OrderEvent, Phase};

/// How often, and how soon, a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many attempts an order has in all. Fixed for an order when it is accepted.
    pub max_attempts: u32,
    /// What it may spend on failures that may pass by themselves.
    pub transient: Budget,
    /// What it may spend on quotes that no longer held.
    pub requote: Budget,
}

/// What an order may spend on one class of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many attempts may fail in this way; the next such failure ends the order. It counts within
    /// [`RetryPolicy::max_attempts`].
    pub max_failures: u32,
    /// The waits after them.
    pub backoff: Backoff,
}

impl Default for Budget {
    /// As many as the order has attempts.
    fn default() -> Self {
        Self { max_failures: u32::MAX, backoff: Backoff::default() }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, transient: Budget::default(), requote: Budget::default() }
    }
}

/// Waits that grow exponentially, are spread by jitter, and end at a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, in milliseconds.
    pub initial_ms: u64,
    /// By how much each further wait is longer.
    pub multiplier: u32,
    /// No wait is longer than this, in milliseconds.
    pub max_ms: u64,
    /// How far a wait may be shorter or longer, in percent, so that orders that failed together
    /// do not return together.
    pub jitter_percent: u8,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial_ms: 1_000, multiplier: 2, max_ms: 30_000, jitter_percent: 20 }
    }
}

impl Backoff {
    /// The wait after the failure of this attempt (from 1), in milliseconds.
    pub fn delay_ms(&self, attempt: u32, entropy: u128) -> u64 {
        let growth = u64::from(self.multiplier).saturating_pow(attempt.saturating_sub(1));
        let delay = self.initial_ms.saturating_mul(growth).min(self.max_ms);
        let spread = delay / 100 * u64::from(self.jitter_percent.min(100));
        let offset = u64::try_from(entropy % (2 * u128::from(spread) + 1)).unwrap_or(0);
        (delay - spread).saturating_add(offset).min(self.max_ms)
    }
}

impl RetryPolicy {
    /// What follows from a failed attempt: another one at a time, or the end.
    ///
    /// Nothing if the order's attempt has not failed.
    pub fn settle(&self, order: &Order, now: DateTime<Utc>, entropy: u128) -> Option<OrderEvent> {
        let Phase::AttemptFailed { failure, class, cancel_requested, .. } = order.state.phase() else {
            return None;
        };
        let failed = |failure| Some(OrderEvent::Failed { failure });
        if *cancel_requested {
            return failed(cancelled());
        }
        if !class.is_retryable() {
            return failed(failure.clone());
        }
        if is_expired(order, now) {
            return failed(expired());
        }
        let spent = order.state.failed_attempts();
        let (budget, failures) = match class {
            FailureClass::Requote => (&self.requote, spent.requote),
            _ => (&self.transient, spent.transient),
        };
        if !order.state.may_retry() || failures > budget.max_failures {
            return failed(exhausted(order.state.attempt(), failure));
        }
        let retry_in_ms = budget.backoff.delay_ms(order.state.attempt(), entropy);
        Some(OrderEvent::RetryScheduled { retry_at: now + Duration::from_millis(retry_in_ms), retry_in_ms })
    }
}

/// Whether the order's deadline has passed.
pub(crate) fn is_expired(order: &Order, now: DateTime<Utc>) -> bool {
    order.expires_at().is_some_and(|deadline| deadline <= now)
}

pub(crate) fn expired() -> Failure {
    Failure::new(FailureCode::EXPIRED, "The deadline passed before the order could be executed")
}

pub(crate) fn cancelled() -> Failure {
    Failure::new(FailureCode::CANCELLED, "The order was cancelled")
}

fn exhausted(attempts: u32, last: &Failure) -> Failure {
    if attempts == 1 {
        return last.clone();
    }
    Failure::new(
        FailureCode::RETRIES_EXHAUSTED,
        format!("All {attempts} attempts failed; the last one with {last}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_waits_are_one_two_and_four_seconds() {
        let exact = Backoff { jitter_percent: 0, ..Backoff::default() };
        let waits: Vec<_> = (1..=6).map(|attempt| exact.delay_ms(attempt, 7)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share_and_the_cap(attempt in 1_u32..200, entropy: u128, initial in 0_u64..100_000) {
            let backoff = Backoff { initial_ms: initial, ..Backoff::default() };
            let exact = Backoff { jitter_percent: 0, ..backoff }.delay_ms(attempt, 0);
            let delay = backoff.delay_ms(attempt, entropy);
            prop_assert!(delay <= backoff.max_ms);
            prop_assert!(delay >= exact - exact / 5);
            prop_assert!(delay <= exact + exact / 5);
        }
    }
}
