use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::clock::ManualClock;
use crate::ports::runtime::Clock;

/// The whole, in millionths.
const ONE_PPM: i64 = 1_000_000;

/// The clock of a process that differs from the world's: it is ahead or behind, runs fast or slow, and may
/// stop while the process is suspended. Clones are one clock.
#[derive(Clone, Debug)]
pub struct SkewedClock {
    world: ManualClock,
    begun: DateTime<Utc>,
    skew: Skew,
    stops: Arc<Mutex<Stops>>,
}

/// The difference of a clock from the world's. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skew {
    /// The time by which the clock is ahead. A negative one is behind.
    pub offset: TimeDelta,
    /// The millionths by which the clock is too fast. A negative one is too slow.
    pub drift_ppm: i32,
}

impl Skew {
    /// Sets the time by which the clock is ahead.
    #[must_use]
    pub const fn with_offset(mut self, offset: TimeDelta) -> Self {
        self.offset = offset;
        self
    }

    /// Sets the millionths by which the clock is too fast.
    #[must_use]
    pub const fn with_drift_ppm(mut self, drift_ppm: i32) -> Self {
        self.drift_ppm = drift_ppm;
        self
    }
}

/// The times at which the clock was stopped.
#[derive(Debug, Default)]
struct Stops {
    /// The time since which it is stopped, if it is.
    since: Option<DateTime<Utc>>,
    /// The duration of all stops before that.
    total: TimeDelta,
}

impl SkewedClock {
    /// Returns a clock that differs from the world's from now on.
    pub fn new(world: &ManualClock, skew: Skew) -> Self {
        Self { world: world.clone(), begun: world.now(), skew, stops: Arc::default() }
    }

    /// Stops the clock, like one that does not count while its machine is suspended.
    pub fn stop(&self) {
        let now = self.world.now();
        self.stops().since.get_or_insert(now);
    }

    /// Lets the clock go on at the time at which it was stopped.
    pub fn resume(&self) {
        let now = self.world.now();
        let mut stops = self.stops();
        if let Some(since) = stops.since.take() {
            stops.total += now - since;
        }
    }

    fn stops(&self) -> MutexGuard<'_, Stops> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time of the world in which this clock advances by `by`. It is at least a millisecond, so
    /// that every wait makes progress.
    fn world_time(&self, by: TimeDelta) -> Duration {
        let ms = by.num_milliseconds().saturating_mul(ONE_PPM) / (ONE_PPM + i64::from(self.skew.drift_ppm));
        Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> DateTime<Utc> {
        let elapsed = {
            let stops = self.stops();
            stops.since.unwrap_or_else(|| self.world.now()) - self.begun - stops.total
        };
        let ms = elapsed.num_milliseconds();
        let drift_ms = ms.saturating_mul(i64::from(self.skew.drift_ppm)) / ONE_PPM;
        self.begun + self.skew.offset + TimeDelta::milliseconds(ms + drift_ms)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        let end = TimeDelta::from_std(duration).ok().and_then(|delta| clock.now().checked_add_signed(delta));
        let end = end.unwrap_or(DateTime::<Utc>::MAX_UTC);
        async move {
            loop {
                let left = end - clock.now();
                if left <= TimeDelta::zero() {
                    return;
                }
                clock.world.sleep(clock.world_time(left)).await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ahead_runs_fast_and_stands_still() {
        let world = ManualClock::new();
        let begun = world.now();
        let clock = SkewedClock::new(&world, Skew { offset: TimeDelta::hours(2), drift_ppm: 100_000 });
        assert_eq!(clock.now() - begun, TimeDelta::hours(2));
        let mut sleep = clock.sleep(Duration::from_secs(11));
        assert_eq!((&mut sleep).now_or_never(), None);
        world.advance(Duration::from_secs(5));
        assert_eq!(clock.now() - begun, TimeDelta::hours(2) + TimeDelta::milliseconds(5_500));
        clock.stop();
        world.advance(Duration::from_secs(7));
        assert_eq!((&mut sleep).now_or_never(), None);
        clock.resume();
        assert_eq!(clock.now() - begun, TimeDelta::hours(2) + TimeDelta::milliseconds(5_500));
        world.advance(Duration::from_secs(5));
        assert_eq!(sleep.now_or_never(), Some(()), "eleven of its seconds are ten of the world's");
    }
}
