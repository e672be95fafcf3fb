//! When to try again, and when to give up.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::amount::Amount;
use crate::domain::event::OrderEvent;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::millis;
use crate::domain::order::Order;
use crate::domain::phase::Phase;
use crate::setters::setters;

/// How often, and how soon, a failed attempt is followed by another.
///
/// ```
/// use std::time::Duration;
///
/// use order_engine_core::{Backoff, Budget, RetryPolicy};
///
/// // Five attempts. A quote that no longer holds is soon fetched again, but only twice.
/// let soon = Backoff::default().with_initial(Duration::from_millis(200)).with_jitter_percent(0);
/// let policy = RetryPolicy::default()
///     .with_max_attempts(5)
///     .with_requote(Budget::default().with_max_failures(2).with_backoff(soon));
///
/// let waits = [1, 2, 3].map(|attempt| policy.requote.backoff.delay(attempt, 0));
/// assert_eq!(waits, [200, 400, 800].map(Duration::from_millis));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How many attempts an order has in all. Fixed for an order when it is accepted.
    pub max_attempts: u32,
    /// What it may spend on failures that may pass by themselves.
    pub transient: Budget,
    /// What it may spend on quotes that no longer held.
    pub requote: Budget,
    /// How long it waits for a router or a venue that cannot be reached.
    pub outage: OutagePolicy,
    /// How often an order without a deadline looks for a route that pays its worst price before it fails, and
    /// the waits between. One with a deadline looks until then. It uses no attempts.
    pub price: Budget,
}

/// How an order waits out an outage before anything is signed. It uses no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutagePolicy {
    /// How long an order without a deadline waits in one attempt before it fails. One with a deadline
    /// waits until then.
    pub max_wait: Duration,
    /// How soon it is tried again at first. Each further wait is as long as the outage has lasted.
    pub min_interval: Duration,
    /// No wait is longer than this.
    pub max_interval: Duration,
}

impl Default for OutagePolicy {
    /// Ten minutes, with tries after a second at first and every half minute in the end.
    fn default() -> Self {
        Self {
            max_wait: Duration::from_mins(10),
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
        }
    }
}

impl OutagePolicy {
    /// Returns how long to wait when the order has been held up for so long already.
    fn interval(&self, held_up: Duration, entropy: u128) -> Duration {
        let interval = held_up.clamp(self.min_interval, self.max_interval.max(self.min_interval));
        let exact = Backoff {
            initial: interval.max(Duration::from_millis(1)),
            multiplier: 1,
            max: Duration::MAX,
            ..Backoff::default()
        };
        exact.delay(1, entropy)
    }
}

/// What an order may spend on one class of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// How many attempts may fail in this way; the next such failure ends the order. It counts within
    /// [`RetryPolicy::max_attempts`].
    pub max_failures: u32,
    /// The waits after them.
    pub backoff: Backoff,
}

impl Default for Budget {
    /// Returns as many as the order has attempts.
    fn default() -> Self {
        Self { max_failures: u32::MAX, backoff: Backoff::default() }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            transient: Budget::default(),
            requote: Budget::default(),
            outage: OutagePolicy::default(),
            price: Budget { max_failures: 20, backoff: Backoff::default() },
        }
    }
}

/// Waits that grow exponentially, are spread by jitter, and end at a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The wait after the first failure.
    pub initial: Duration,
    /// By how much each further wait is longer.
    pub multiplier: u32,
    /// No wait is longer than this.
    pub max: Duration,
    /// How far a wait may be shorter or longer, in percent, so that orders that failed together
    /// do not return together.
    pub jitter_percent: u8,
}

impl Default for Backoff {
    /// A second, two, four and so on, up to half a minute, each a fifth shorter or longer.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            multiplier: 2,
            max: Duration::from_secs(30),
            jitter_percent: 20,
        }
    }
}

impl Backoff {
    /// The waits between tries to reach a server: it is used again within a second of its return.
    pub const RECONNECT: Self = Self {
        initial: Duration::from_millis(50),
        multiplier: 2,
        max: Duration::from_secs(1),
        jitter_percent: 0,
    };

    /// Returns the wait after the failure of this attempt (from 1), in whole milliseconds: so events keep it.
    pub fn delay(&self, attempt: u32, entropy: u128) -> Duration {
        let (initial, max) = (millis::count(self.initial), millis::count(self.max));
        let growth = u64::from(self.multiplier).saturating_pow(attempt.saturating_sub(1));
        let delay = initial.saturating_mul(growth).min(max);
        let spread = delay / 100 * u64::from(self.jitter_percent.min(100));
        let offset = u64::try_from(entropy % (2 * u128::from(spread) + 1)).unwrap_or(0);
        Duration::from_millis((delay - spread).saturating_add(offset).min(max))
    }
}

setters! {
    impl Backoff {
        with_initial sets initial: Duration;
        with_multiplier sets multiplier: u32;
        with_max sets max: Duration;
        with_jitter_percent sets jitter_percent: u8;
    }
}

setters! {
    impl Budget {
        with_max_failures sets max_failures: u32;
        with_backoff sets backoff: Backoff;
    }
}

setters! {
    impl OutagePolicy {
        with_max_wait sets max_wait: Duration;
        with_min_interval sets min_interval: Duration;
        with_max_interval sets max_interval: Duration;
    }
}

setters! {
    impl RetryPolicy {
        with_max_attempts sets max_attempts: u32;
        with_transient sets transient: Budget;
        with_requote sets requote: Budget;
        with_outage sets outage: OutagePolicy;
        with_price sets price: Budget;
    }
}

impl RetryPolicy {
    /// Returns the event that follows a failed attempt: another attempt, or the end of the order. Returns
    /// nothing if the order's attempt has not failed.
    pub fn retry_or_fail(&self, order: &Order, now: DateTime<Utc>, entropy: u128) -> Option<OrderEvent> {
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
        let retry_in = budget.backoff.delay(order.state.attempt(), entropy);
        Some(OrderEvent::RetryScheduled { retry_at: now + retry_in, retry_in })
    }
}

impl RetryPolicy {
    /// Returns the event that follows when the router or the venue cannot be reached for an order that has
    /// signed nothing: a wait of at least `at_least`, or the end of the order after too long a wait.
    pub fn defer(
        &self,
        order: &Order,
        failure: Failure,
        at_least: Duration,
        now: DateTime<Utc>,
        entropy: u128,
    ) -> OrderEvent {
        let since = order.state.held_up_since().unwrap_or(now);
        let held_up = (now - since).to_std().unwrap_or_default();
        if order.request.deadline.is_none() && held_up >= self.outage.max_wait {
            return OrderEvent::Failed { failure };
        }
        let retry_in = self.outage.interval(held_up, entropy).max(millis::whole(at_least));
        OrderEvent::Deferred { failure, since, retry_at: now + retry_in, retry_in }
    }
}

impl RetryPolicy {
    /// Returns the event that follows when the best route pays less than the order accepts at least: another
    /// look later, or the end of the order after too many.
    pub fn look_again(&self, order: &Order, best: Amount, now: DateTime<Utc>, entropy: u128) -> OrderEvent {
        let (minimum, looks) = (order.min_amount_out(best), order.state.looks());
        if order.request.deadline.is_none() && looks >= self.price.max_failures {
            let output = &order.request.output;
            let (best, minimum) = (output.format(best), output.format(minimum));
            let message = format!("The best route pays {best}, below the minimum of {minimum}");
            return OrderEvent::Failed { failure: Failure::new(FailureCode::PRICE_BELOW_MINIMUM, message) };
        }
        let retry_in = self.price.backoff.delay(looks.saturating_add(1), entropy);
        OrderEvent::PriceTooLow { best, minimum, retry_at: now + retry_in, retry_in }
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
        let waits: Vec<_> = (1..=6).map(|attempt| exact.delay(attempt, 7)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30].map(Duration::from_secs));
    }

    fn held_up(since: DateTime<Utc>, deadline: Option<crate::domain::order::Deadline>) -> Order {
        let request = crate::domain::order::OrderRequest { deadline, ..crate::testing::request() };
        let (mut order, _) = Order::accept(crate::domain::ids::OrderId::new(since, 1), request, 3, since);
        let failure = Failure::new(FailureCode::VENUE_UNAVAILABLE, "503");
        let held_up = OrderEvent::Deferred { failure, since, retry_at: since, retry_in: Duration::ZERO };
        for event in [OrderEvent::RoutingStarted { attempt: 1, dexes: vec![] }, held_up] {
            order.advance_mut(event, since).unwrap();
        }
        order
    }

    #[test]
    fn an_outage_is_waited_out_for_as_long_as_a_person_would() {
        let (start, policy) = (DateTime::UNIX_EPOCH, RetryPolicy::default());
        let defer = |order: &Order, after: Duration| {
            let failure = Failure::new(FailureCode::VENUE_UNAVAILABLE, "503");
            policy.defer(order, failure, Duration::ZERO, start + after, 0)
        };
        let order = held_up(start, None);
        let mut waits = Vec::new();
        for seconds in [0, 1, 4, 20, 599] {
            match defer(&order, Duration::from_secs(seconds)) {
                OrderEvent::Deferred { since, retry_in, .. } => {
                    assert_eq!(since, start);
                    waits.push(retry_in);
                }
                other => panic!("{other:?}"),
            }
        }
        // The jitter takes a fifth at most.
        assert_eq!(waits, [800, 800, 3_200, 16_000, 24_000].map(Duration::from_millis));
        assert!(matches!(defer(&order, Duration::from_mins(10)), OrderEvent::Failed { .. }));
        let with_deadline =
            held_up(start, Some(crate::domain::order::Deadline::After(Duration::from_hours(1))));
        assert!(matches!(defer(&with_deadline, Duration::from_mins(10)), OrderEvent::Deferred { .. }));
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share_and_the_cap(attempt in 1_u32..200, entropy: u128, initial in 0_u64..100_000) {
            let backoff = Backoff { initial: Duration::from_millis(initial), ..Backoff::default() };
            let exact = Backoff { jitter_percent: 0, ..backoff }.delay(attempt, 0);
            let delay = backoff.delay(attempt, entropy);
            prop_assert!(delay <= backoff.max);
            prop_assert!(delay + exact / 5 >= exact);
            prop_assert!(delay <= exact + exact / 5);
        }
    }
}
