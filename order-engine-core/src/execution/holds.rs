//! What keeps an order from its next step for a while, and when it is tried again.
//!
//! Thousands of orders may wait for the same thing. If all of them came back after the same wait, the store
//! would do nothing else, so their returns are spaced.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::ids::{UserId, VenueName};
use crate::execution::bulkhead::Pair;
use crate::ports::controls::{Activity, PauseScope};
use crate::ports::runtime::Runtime;

/// How soon the first order comes back.
const FIRST_RETURN: Duration = Duration::from_secs(1);
/// How far the returns are apart.
const SPACING: Duration = Duration::from_millis(10);
/// No return is later than this. Beyond it returns are closer, so that what ends a wait is noticed.
const LAST_RETURN: Duration = Duration::from_mins(2);

/// What an order waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Room among the executions of its pair.
    Pair(Pair),
    /// Room among the transactions of its user.
    User(UserId),
    /// Room on a venue, or the venue itself, if this process does not have it.
    Venue(VenueName),
    /// The end of a pause.
    Pause(Activity, PauseScope),
}

/// When orders that are held come back.
#[derive(Debug)]
pub(crate) struct Holds {
    runtime: Runtime,
    /// When the last order comes back that waits for something.
    returns: Mutex<BTreeMap<Hold, DateTime<Utc>>>,
}

impl Holds {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime, returns: Mutex::default() }
    }

    fn returns(&self) -> MutexGuard<'_, BTreeMap<Hold, DateTime<Utc>>> {
        // Nothing in here panics while the lock is held.
        self.returns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long an order waits until it is tried again.
    pub(crate) fn wait(&self, hold: Hold) -> Duration {
        let now = self.runtime.now();
        let mut returns = self.returns();
        returns.retain(|_, last| *last > now);
        let earliest = now + delta(FIRST_RETURN);
        let after_last = returns.get(&hold).map_or(earliest, |last| *last + delta(SPACING));
        let at = after_last.clamp(earliest, now + delta(LAST_RETURN));
        returns.insert(hold, at);
        (at - now).to_std().unwrap_or_default()
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    #[test]
    fn returns_are_spaced_for_each_hold_and_bounded() {
        let clock = ManualClock::new();
        let holds = Holds::new(Runtime::tokio().with_clock(clock.clone()));
        let pause = || Hold::Pause(Activity::Sending, PauseScope::All);
        let waits: Vec<_> = (0..3).map(|_| holds.wait(pause())).collect();
        assert_eq!(waits, [FIRST_RETURN, FIRST_RETURN + SPACING, FIRST_RETURN + 2 * SPACING]);
        assert_eq!(holds.wait(Hold::User("alice".into())), FIRST_RETURN);
        let last = (0..100_000).map(|_| holds.wait(pause())).last();
        assert_eq!(last, Some(LAST_RETURN));
        clock.advance(LAST_RETURN);
        assert_eq!(holds.wait(pause()), FIRST_RETURN);
        assert_eq!(holds.returns().len(), 1, "nothing is remembered of what nobody waits for");
    }
}
