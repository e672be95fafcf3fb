//! The store's clock, as far as this process knows it.
//!
//! One clock decides about deadlines: the store's, which all processes share. Asking it each time would
//! cost a call of the store for each event; so this process remembers how far its own clock is from it,
//! and learns that anew whenever the store says what time it is. Such an estimate stamps events. It ends
//! nothing: what hangs on a deadline is asked of the store, or written with a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::runtime::Runtime;
use crate::resilience::supervisor::Supervisor;

/// Tells the store's time.
#[derive(Debug)]
pub(crate) struct StoreClock {
    store: Arc<dyn OrderStore>,
    runtime: Runtime,
    supervisor: Arc<Supervisor>,
    /// How far the store's clock is ahead of this process', in milliseconds.
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

    /// The store's time, as far as this process knows. It is ahead of the truth by no more than the last
    /// answer took, and behind it by no more than this process stood still since then.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let ahead = TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Relaxed));
        self.runtime.now().checked_add_signed(ahead).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The store's time, from the store itself.
    pub(crate) async fn ask(&self) -> Result<DateTime<Utc>, StoreError> {
        let asked_at = self.runtime.now();
        let as_of = self.supervisor.store("store.now", self.store.now()).await?;
        self.learn(asked_at, as_of);
        Ok(as_of)
    }

    /// Asks the store, for the sake of the answer alone.
    pub(crate) async fn refresh(&self) {
        if let Err(error) = self.ask().await {
            tracing::warn!(%error, "the store could not be asked for the time");
        }
    }

    /// Notes what the store said that was asked at `asked_at` and has answered just now.
    ///
    /// It said so at some moment in between. What was known before stays if it agrees with that, because
    /// it may be more exact; otherwise the nearest that does takes its place.
    pub(crate) fn learn(&self, asked_at: DateTime<Utc>, as_of: DateTime<Utc>) {
        let ahead_of = |moment: DateTime<Utc>| (as_of - moment).num_milliseconds();
        let (least, most) = (ahead_of(self.runtime.now()), ahead_of(asked_at));
        let known = self.ahead_ms.load(Ordering::Relaxed);
        // Whoever learns at the same time is as right.
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
        /// The store's clock is an hour ahead, and the process knows that.
        async fn new() -> Self {
            let (stores, own) = (ManualClock::new(), ManualClock::new());
            stores.advance(Duration::from_hours(1));
            let store = Arc::new(MemoryStore::with_clock(Arc::new(stores.clone())));
            let runtime = Runtime { clock: Arc::new(own.clone()), ..Runtime::tokio() };
            let supervisor = Supervisor::new(runtime.clone());
            let clock = StoreClock::start(store, runtime, supervisor).await.unwrap();
            Self { stores, own, clock }
        }

        fn elapse(&self, seconds: u64) {
            self.stores.advance(Duration::from_secs(seconds));
            self.own.advance(Duration::from_secs(seconds));
        }

        /// How many seconds the estimate is ahead of the store's clock.
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
