use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::ports::runtime::Clock;

/// A clock that stands still until a test advances it. Clones are one clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    time: Arc<Mutex<Time>>,
}

#[derive(Debug)]
struct Time {
    now: DateTime<Utc>,
    /// The sleepers by the time at which they wake. The number separates sleepers that wake at the same time,
    /// in the order in which they fell asleep.
    sleepers: BTreeMap<(DateTime<Utc>, u64), oneshot::Sender<()>>,
    sleepers_so_far: u64,
}

impl ManualClock {
    /// Returns a clock that stands at the beginning of 2026.
    pub fn new() -> Self {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_767_225_600);
        let time = Time { now, sleepers: BTreeMap::new(), sleepers_so_far: 0 };
        Self { time: Arc::new(Mutex::new(time)) }
    }

    /// Advances the clock, and wakes the sleepers whose time has come, the earliest first.
    pub fn advance(&self, duration: Duration) {
        let mut time = self.time();
        time.now = later(time.now, duration);
        let now = time.now;
        while let Some(sleeper) = time.sleepers.first_entry().filter(|sleeper| sleeper.key().0 <= now) {
            // An error says that the sleeper was dropped.
            let _ = sleeper.remove().send(());
        }
    }

    /// Advances the clock to the time at which the next sleeper wakes, and wakes it. Without a sleeper until
    /// `end`, advances the clock to `end`. Returns whether there was a sleeper.
    pub fn advance_to_next(&self, end: DateTime<Utc>) -> bool {
        let next = self.time().sleepers.first_key_value().map(|(key, _)| key.0).filter(|next| *next <= end);
        let now = self.now();
        self.advance((next.unwrap_or(end) - now).to_std().unwrap_or_default());
        next.is_some()
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.time().now.trunc_subsecs(3)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if duration.is_zero() {
            return std::future::ready(()).boxed();
        }
        let (wake, woken) = oneshot::channel();
        let mut time = self.time();
        time.sleepers_so_far += 1;
        let key = (later(time.now, duration), time.sleepers_so_far);
        time.sleepers.insert(key, wake);
        // An error says that the clock is gone. It is never advanced again, so the sleeper never wakes.
        async move {
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

fn later(now: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    let delta = TimeDelta::from_std(duration).ok();
    delta.and_then(|delta| now.checked_add_signed(delta)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_the_clock_reaches_them_and_not_before() {
        let clock = ManualClock::new();
        let start = clock.now();
        let mut short = clock.sleep(Duration::from_secs(1));
        let mut long = clock.sleep(Duration::from_secs(2));
        clock.advance(Duration::from_millis(999));
        assert_eq!((&mut short).now_or_never(), None);
        clock.advance(Duration::from_millis(1));
        assert_eq!((&mut short).now_or_never(), Some(()));
        assert_eq!((&mut long).now_or_never(), None);
        clock.clone().advance(Duration::from_secs(5));
        assert_eq!(long.now_or_never(), Some(()));
        assert_eq!(clock.now() - start, TimeDelta::seconds(6));
    }

    #[tokio::test]
    async fn an_empty_sleep_ends_at_once_and_a_dropped_one_affects_no_other() {
        let clock = ManualClock::new();
        assert_eq!(clock.sleep(Duration::ZERO).now_or_never(), Some(()));
        drop(clock.sleep(Duration::from_secs(1)));
        let other = clock.sleep(Duration::from_secs(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(other.now_or_never(), Some(()));
    }
}
