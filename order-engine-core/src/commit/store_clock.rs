//! The store's clock, as far as this process knows it.
//!
//! One clock decides about deadlines: the store's, which all processes share. Reading it for each event would
//! cost a call of the store each time, so this process remembers how far its own clock is from it, and learns
//! the difference again from each answer of the store. Events carry such an estimate. It decides nothing: a
//! deadline is checked with the store, or by a write that carries its limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::runtime::Runtime;
use crate::resilience::supervisor::Supervisor;
use crate::telemetry;

/// The store's time, as this process estimates it.
#[derive(Debug)]
pub(crate) struct StoreClock {
    store: Arc<dyn OrderStore>,
    runtime: Runtime,
    supervisor: Arc<Supervisor>,
    /// How far the store's clock is ahead of this process's clock, in milliseconds.
    ahead_ms: AtomicI64,
}

impl StoreClock {
    /// Asks the store for the first time.
    pub(crate) async fn start(
        store: Arc<dyn OrderStore>,
        runtime: Runtime,
        supervisor: Arc<Supervisor>,
    ) -> Result<Self, StoreError> {
        let asked_at = runtime.now();
        let as_of = store.now().await?;
        let ahead_ms = AtomicI64::new((as_of - asked_at).num_milliseconds());
        Ok(Self { store, runtime, supervisor, ahead_ms })
    }

    /// Returns the store's time, as far as this process knows it. The estimate is ahead of the truth by no more
    /// than the last answer took, and behind it by no more than this process stood still since then.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let ahead = TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Relaxed));
        self.runtime.now().checked_add_signed(ahead).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Returns the store's time, from the store itself.
    pub(crate) async fn ask(&self) -> Result<DateTime<Utc>, StoreError> {
        let asked_at = self.runtime.now();
        let as_of = self.supervisor.store("store.now", self.store.now()).await?;
        self.learn(asked_at, as_of);
        Ok(as_of)
    }

    /// Asks the store, to learn the difference again.
    pub(crate) async fn refresh(&self) {
        if let Err(error) = self.ask().await {
            tracing::warn!(error = %telemetry::chain(&error), "the store could not be asked for the time");
        }
    }

    /// Learns from an answer of the store that was requested at `asked_at` and has just come.
    ///
    /// The store read its clock at some moment in between. An estimate that agrees with that stays, because it
    /// may be more exact; any other is replaced by the nearest one that agrees.
    pub(crate) fn learn(&self, asked_at: DateTime<Utc>, as_of: DateTime<Utc>) {
        let ahead_of = |moment: DateTime<Utc>| (as_of - moment).num_milliseconds();
        let (least, most) = (ahead_of(self.runtime.now()), ahead_of(asked_at));
        let known = self.ahead_ms.load(Ordering::Relaxed);
        // A task that learns at the same time is as right.
        self.ahead_ms.store(known.max(least).min(most), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::memory_store::MemoryStore;
    use crate::testing::ManualClock;

    struct World {
        stores: ManualClock,
        own: ManualClock,
        clock: StoreClock,
    }

    impl World {
        /// A store whose clock is an hour ahead, and a process that knows it.
        async fn new() -> Self {
            let (stores, own) = (ManualClock::new(), ManualClock::new());
            stores.advance(Duration::from_hours(1));
            let store = Arc::new(MemoryStore::with_clock(stores.clone()));
            let runtime = Runtime::tokio().with_clock(own.clone());
            let supervisor = Supervisor::new(runtime.clone());
            let clock = StoreClock::start(store, runtime, supervisor).await.unwrap();
            Self { stores, own, clock }
        }

        fn elapse(&self, seconds: u64) {
            self.stores.advance(Duration::from_secs(seconds));
            self.own.advance(Duration::from_secs(seconds));
        }

        /// Returns how many seconds the estimate is ahead of the store's clock.
        fn error(&self) -> i64 {
            (self.clock.now() - crate::ports::runtime::Clock::now(&self.stores)).num_seconds()
        }

        /// An answer that was on its way for a while before the store read its clock, and after it.
        fn learn(&self, before: u64, after: u64) {
            let asked_at = crate::ports::runtime::Clock::now(&self.own);
            self.elapse(before);
            let as_of = crate::ports::runtime::Clock::now(&self.stores);
            self.elapse(after);
            self.clock.learn(asked_at, as_of);
        }
    }

    #[tokio::test]
    async fn it_goes_on_with_the_process_clock() {
        let world = World::new().await;
        for _ in 0..3 {
            assert_eq!(world.error(), 0);
            world.elapse(100);
        }
    }

    #[tokio::test]
    async fn slow_answers_spoil_nothing_that_is_known_better() {
        let world = World::new().await;
        for (before, after) in [(10, 0), (0, 10), (5, 5)] {
            world.learn(before, after);
            assert_eq!(world.error(), 0);
        }
    }

    #[tokio::test]
    async fn after_a_jump_it_is_wrong_by_no_more_than_the_answer_took() {
        for (before, after) in [(0, 0), (10, 0), (0, 10), (5, 5)] {
            for is_own in [false, true] {
                let world = World::new().await;
                let jumps = if is_own { &world.own } else { &world.stores };
                jumps.advance(Duration::from_hours(2));
                assert_eq!(world.error().abs(), 7_200);
                world.learn(before, after);
                let took = i64::try_from(before + after).unwrap();
                assert!(world.error().abs() <= took, "{}", world.error());
                assert_eq!(world.clock.ask().await.unwrap(), world.clock.now());
            }
        }
    }
}
