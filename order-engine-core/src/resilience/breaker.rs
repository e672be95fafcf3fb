//! Circuit breakers: a part that fails again and again is left alone for a while, and then tried once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::retry_policy::Backoff;
use crate::ports::runtime::Runtime;
use crate::setters::setters;

/// How many breakers are kept before those are dropped that let calls through: single failures of many pairs
/// must not pile up for ever.
const BREAKERS_MAX: usize = 4_096;

/// A breaker that opens for no time at all would let the very next call through. The clock counts milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// When a circuit breaker opens, and how soon it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// After how many failures in a row it opens.
    pub max_failures: u32,
    /// How long it stays open before it lets one call through, longer after each that fails.
    pub backoff: Backoff,
}

impl Default for BreakerConfig {
    /// Opens after 5 failures for a second, at most for half a minute.
    fn default() -> Self {
        Self { max_failures: 5, backoff: Backoff::default() }
    }
}

setters! {
    impl BreakerConfig {
        with_max_failures sets max_failures: u32;
        with_backoff sets backoff: Backoff;
    }
}

/// The circuit breakers of a kind, by what each protects. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Breakers<K> {
    shared: Arc<Shared<K>>,
}

#[derive(Debug)]
struct Shared<K> {
    config: BreakerConfig,
    runtime: Runtime,
    /// Those with calls under way, or with failures since the last answer.
    breakers: Mutex<BTreeMap<K, Breaker>>,
}

/// The breaker of one key.
#[derive(Debug, Default)]
struct Breaker {
    /// How many calls are under way.
    calls: usize,
    /// How many calls were answered while others were under way.
    answers: u64,
    /// Failures in a row.
    failures: u32,
    /// How often in a row it opened.
    openings: u32,
    /// Until when it lets no call through; none while it is closed.
    open_until: Option<DateTime<Utc>>,
    /// Whether a probe is under way: the call that decides whether it closes.
    is_probed: bool,
}

/// The right to make a call. The result must be [reported](Self::report); a call that is dropped has no
/// result, and if it was a probe, the next call is one.
#[derive(Debug)]
#[must_use = "what came of the call must be reported"]
pub(crate) struct Admission<K: Ord + Clone> {
    breakers: Breakers<K>,
    key: K,
    /// How many calls had been answered when this one began.
    answers: u64,
    is_probe: bool,
}

/// No call is let through for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) retry_in: Duration,
}

impl<K: Ord + Clone> Breakers<K> {
    pub(crate) fn new(config: BreakerConfig, runtime: Runtime) -> Self {
        Self { shared: Arc::new(Shared { config, runtime, breakers: Mutex::default() }) }
    }

    /// Lets a call through, unless the breaker is open.
    pub(crate) fn admit(&self, key: &K) -> Result<Admission<K>, Open> {
        let now = self.shared.runtime.now();
        let mut breakers = self.breakers();
        if breakers.len() >= BREAKERS_MAX {
            breakers.retain(|_, breaker| {
                breaker.calls > 0 || breaker.open_until.is_some_and(|until| now < until)
            });
        }
        let breaker = breakers.entry(key.clone()).or_default();
        let is_probe = match breaker.open_until {
            Some(until) if now < until => {
                return Err(Open { retry_in: (until - now).to_std().unwrap_or_default() });
            }
            // The result of the probe is known soon.
            Some(_) if breaker.is_probed => return Err(Open { retry_in: self.first_wait() }),
            Some(_) => true,
            None => false,
        };
        breaker.is_probed = is_probe;
        breaker.calls += 1;
        let answers = breaker.answers;
        Ok(Admission { breakers: self.clone(), key: key.clone(), answers, is_probe })
    }

    /// Whether no call is let through now.
    pub(crate) fn is_open(&self, key: &K) -> bool {
        let now = self.shared.runtime.now();
        let breakers = self.breakers();
        let open = breakers.get(key).and_then(|breaker| Some((breaker.open_until?, breaker.is_probed)));
        open.is_some_and(|(until, is_probed)| now < until || is_probed)
    }

    fn first_wait(&self) -> Duration {
        self.shared.config.backoff.initial.max(SHORTEST)
    }

    fn breakers(&self) -> MutexGuard<'_, BTreeMap<K, Breaker>> {
        // Nothing in here panics while the lock is held.
        self.shared.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, key: &K) {
        if let Some(breaker) = self.breakers().get_mut(key) {
            let (calls, answers) = (breaker.calls, breaker.answers + 1);
            *breaker = Breaker { calls, answers, ..Breaker::default() };
        }
    }

    fn failed(&self, key: &K, answers: u64, is_probe: bool) {
        let Shared { config, runtime, .. } = &*self.shared;
        let (now, entropy) = (runtime.now(), runtime.entropy.next_u128());
        let mut breakers = self.breakers();
        let Some(breaker) = breakers.get_mut(key) else { return };
        if answers != breaker.answers {
            // Other calls were answered meanwhile: only this one fails.
            return;
        }
        breaker.failures = breaker.failures.saturating_add(1);
        let is_open = breaker.open_until.is_some();
        // The result of a call that began before the breaker opened says nothing new.
        if is_probe || (!is_open && breaker.failures >= config.max_failures) {
            breaker.openings = breaker.openings.saturating_add(1);
            let wait = config.backoff.delay(breaker.openings, entropy).max(SHORTEST);
            breaker.open_until = Some(now + wait);
            breaker.is_probed = false;
        }
    }

    fn ended(&self, key: &K, is_probe: bool) {
        let mut breakers = self.breakers();
        let Some(breaker) = breakers.get_mut(key) else { return };
        breaker.calls -= 1;
        if is_probe {
            breaker.is_probed = false;
        }
        if breaker.calls == 0 && breaker.failures == 0 && breaker.open_until.is_none() {
            breakers.remove(key);
        }
    }
}

impl<K: Ord + Clone> Admission<K> {
    /// Whether this call decides whether the breaker closes.
    pub(crate) const fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Reports that the call was answered.
    pub(crate) fn succeeded(self) {
        self.breakers.answered(&self.key);
    }

    /// Reports that the call was not answered.
    pub(crate) fn failed(self) {
        self.breakers.failed(&self.key, self.answers, self.is_probe);
    }

    /// Reports whether the call was answered.
    pub(crate) fn report(self, is_answered: bool) {
        if is_answered { self.succeeded() } else { self.failed() }
    }
}

impl<K: Ord + Clone> Drop for Admission<K> {
    fn drop(&mut self) {
        self.breakers.ended(&self.key, self.is_probe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    fn breakers() -> (Breakers<u8>, ManualClock) {
        let clock = ManualClock::new();
        let runtime = Runtime::tokio().with_clock(clock.clone());
        let backoff = Backoff { jitter_percent: 0, ..Backoff::default() };
        (Breakers::new(BreakerConfig { max_failures: 3, backoff }, runtime), clock)
    }

    fn open(breakers: &Breakers<u8>, key: u8) {
        for _ in 0..3 {
            breakers.admit(&key).unwrap().failed();
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_only_for_its_key() {
        let (breakers, _) = breakers();
        breakers.admit(&1).unwrap().failed();
        breakers.admit(&1).unwrap().failed();
        breakers.admit(&1).unwrap().succeeded();
        open(&breakers, 1);
        assert_eq!(breakers.admit(&1).unwrap_err(), Open { retry_in: Duration::from_secs(1) });
        assert!(breakers.admit(&2).is_ok());
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let (breakers, clock) = breakers();
        open(&breakers, 1);
        clock.advance(Duration::from_secs(1));
        let probe = breakers.admit(&1).unwrap();
        assert!(breakers.admit(&1).is_err(), "one probe is enough");
        probe.failed();
        assert_eq!(breakers.admit(&1).unwrap_err(), Open { retry_in: Duration::from_secs(2) });
        clock.advance(Duration::from_secs(2));
        breakers.admit(&1).unwrap().succeeded();
        let both = (breakers.admit(&1).unwrap(), breakers.admit(&1).unwrap());
        both.0.failed();
        both.1.failed();
        assert!(breakers.admit(&1).is_ok(), "it forgot what was before");
    }

    #[test]
    fn calls_that_fail_beside_others_that_are_answered_open_nothing() {
        let (breakers, _) = breakers();
        let hang: Vec<_> = (0..20).map(|_| breakers.admit(&1).unwrap()).collect();
        breakers.admit(&1).unwrap().succeeded();
        hang.into_iter().for_each(Admission::failed);
        assert!(breakers.admit(&1).is_ok());
        assert!(breakers.breakers().is_empty(), "nothing is remembered of who answers");
    }

    #[test]
    fn failures_of_ever_new_keys_do_not_gather() {
        let (_, clock) = breakers();
        let runtime = Runtime::tokio().with_clock(clock);
        let breakers: Breakers<usize> = Breakers::new(BreakerConfig::default(), runtime);
        for key in 0..3 * BREAKERS_MAX {
            breakers.admit(&key).unwrap().failed();
        }
        assert!(breakers.breakers().len() <= BREAKERS_MAX);
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_the_decision_to_the_next() {
        let (breakers, clock) = breakers();
        open(&breakers, 1);
        clock.advance(Duration::from_secs(1));
        drop(breakers.admit(&1).unwrap());
        assert!(breakers.admit(&1).is_ok());
    }

    #[test]
    fn calls_that_began_before_it_opened_do_not_open_it_again() {
        let (breakers, clock) = breakers();
        let late: Vec<_> = (0..5).map(|_| breakers.admit(&1).unwrap()).collect();
        open(&breakers, 1);
        late.into_iter().for_each(Admission::failed);
        clock.advance(Duration::from_secs(1));
        assert!(breakers.admit(&1).is_ok());
    }
}
