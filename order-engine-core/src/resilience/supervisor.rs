//! A panic ends neither a task of the engine nor the tasks that depend on it: it is caught, counted, shown in
//! health and in the metrics, and the task begins again after a while.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use crate::domain::retry_policy::Backoff;
use crate::planted::planted;
use crate::ports::order_store::error::{StoreError, StoreErrorKind};
use crate::ports::runtime::Runtime;
use crate::telemetry;

/// The waits before a task that panicked begins again.
const RESTART: Backoff = Backoff {
    initial: Duration::from_millis(100),
    multiplier: 2,
    max: Duration::from_secs(10),
    jitter_percent: 0,
};
/// A task that ran for this long before it panicked begins again after the shortest wait.
const STEADY: Duration = Duration::from_mins(1);

/// Catches the panics of an engine's tasks and of the calls of its ports.
#[derive(Debug)]
pub(crate) struct Supervisor {
    runtime: Runtime,
    parts: Mutex<BTreeMap<&'static str, Part>>,
    /// Whether the engine closes: then no task waits to begin again.
    hurries: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Part {
    panics: u64,
    last_panic: Option<String>,
    /// How many tasks of this name wait to begin again.
    resting: usize,
}

/// The health of a part of an engine that has panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartHealth {
    /// The name of the task, or of the port and its method.
    pub name: &'static str,
    /// How often it has panicked since the engine was built.
    pub panics: u64,
    /// The message of the last panic.
    pub last_panic: String,
    /// Whether it is a task that waits to begin again.
    pub is_resting: bool,
}

/// A call panicked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{part} panicked: {message}")]
pub(crate) struct Panicked {
    pub(crate) part: &'static str,
    pub(crate) message: String,
}

impl From<Panicked> for StoreError {
    fn from(panicked: Panicked) -> Self {
        Self::new(StoreErrorKind::Internal, panicked.to_string())
    }
}

impl Supervisor {
    pub(crate) fn new(runtime: Runtime) -> Arc<Self> {
        Arc::new(Self { runtime, parts: Mutex::default(), hurries: watch::Sender::new(false) })
    }

    /// Runs a call and catches its panic. A port promises that its data are whole after a panic, as after a
    /// drop.
    pub(crate) async fn guard<T>(
        &self,
        part: &'static str,
        call: impl Future<Output = T>,
    ) -> Result<T, Panicked> {
        let result = AssertUnwindSafe(call).catch_unwind().await;
        result.map_err(|payload| self.caught(part, payload))
    }

    /// Runs a call of the store. A panic becomes an error of the store.
    pub(crate) async fn store<T>(
        &self,
        part: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.guard(part, call).await.unwrap_or_else(|panicked| Err(panicked.into()))
    }

    /// Runs a call that does not wait, and catches its panic.
    pub(crate) fn guard_sync<T>(&self, part: &'static str, call: impl FnOnce() -> T) -> Result<T, Panicked> {
        let result = std::panic::catch_unwind(AssertUnwindSafe(call));
        result.map_err(|payload| self.caught(part, payload))
    }

    /// Runs a task until it ends by itself, and again after each panic.
    pub(crate) async fn keep_running<F, Fut>(self: Arc<Self>, name: &'static str, start: F)
    where
        F: Fn() -> Fut + Send,
        Fut: Future<Output = ()> + Send,
    {
        let (mut restarts, mut is_last) = (0, false);
        loop {
            let began = self.runtime.now();
            if self.guard(name, start()).await.is_ok() || is_last || planted!(PanicEndsTask) {
                return;
            }
            let lasted = (self.runtime.now() - began).to_std().unwrap_or_default();
            restarts = if lasted >= STEADY { 1 } else { restarts + 1 };
            let resting = Resting::begin(&self, name);
            let mut hurries = self.hurries.subscribe();
            tokio::select! {
                biased;
                _ = hurries.wait_for(|hurries| *hurries) => is_last = true,
                () = self.runtime.clock.sleep(RESTART.delay(restarts, 0)) => {}
            }
            drop(resting);
        }
    }

    /// Lets waiting tasks begin again at once, so that they come to their end.
    pub(crate) fn hurry(&self) {
        self.hurries.send_replace(true);
    }

    /// Returns the parts that have panicked, by name.
    pub(crate) fn health(&self) -> Vec<PartHealth> {
        let parts = self.parts();
        let panicked = parts.iter().filter_map(|(name, part)| {
            Some(PartHealth {
                name,
                panics: part.panics,
                last_panic: part.last_panic.clone()?,
                is_resting: part.resting > 0,
            })
        });
        panicked.collect()
    }

    fn caught(&self, part: &'static str, payload: Box<dyn Any + Send>) -> Panicked {
        let message = message(&*payload);
        discard(payload);
        telemetry::panicked(part);
        tracing::error!(part, panic = message, "a part of the engine panicked");
        let mut parts = self.parts();
        let known = parts.entry(part).or_default();
        known.panics += 1;
        known.last_panic = Some(message.clone());
        Panicked { part, message }
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        // Nothing in here panics while the lock is held.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that waits to begin again.
struct Resting<'a> {
    supervisor: &'a Supervisor,
    name: &'static str,
}

impl<'a> Resting<'a> {
    fn begin(supervisor: &'a Supervisor, name: &'static str) -> Self {
        supervisor.parts().entry(name).or_default().resting += 1;
        Self { supervisor, name }
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        if let Some(part) = self.supervisor.parts().get_mut(self.name) {
            part.resting -= 1;
        }
    }
}

/// Drops what a call panicked with. A second panic, at that drop, says nothing more.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::testing::ManualClock;

    fn supervisor(clock: &ManualClock) -> Arc<Supervisor> {
        Supervisor::new(Runtime::tokio().with_clock(clock.clone()))
    }

    #[tokio::test]
    async fn a_task_that_panics_begins_again_after_growing_waits() {
        let clock = ManualClock::new();
        let supervisor = supervisor(&clock);
        let runs = AtomicU32::new(0);
        let start = || async {
            assert!(runs.fetch_add(1, Ordering::SeqCst) >= 3, "not yet");
        };
        let mut task = std::pin::pin!(Arc::clone(&supervisor).keep_running("a task", start));
        for (run, wait_ms) in [(1, 100), (2, 200), (3, 400)] {
            assert!((&mut task).now_or_never().is_none());
            assert_eq!(runs.load(Ordering::SeqCst), run);
            let [health] = &supervisor.health()[..] else { panic!() };
            assert_eq!((health.panics, &*health.last_panic), (u64::from(run), "not yet"));
            assert!(health.is_resting);
            clock.advance(Duration::from_millis(wait_ms - 1));
            assert!((&mut task).now_or_never().is_none());
            clock.advance(Duration::from_millis(1));
        }
        assert_eq!(task.now_or_never(), Some(()));
        assert!(!supervisor.health()[0].is_resting);
    }

    /// What a call panics with, and what panics again.
    struct PanicsAtDrop;

    impl Drop for PanicsAtDrop {
        fn drop(&mut self) {
            panic!("at the drop");
        }
    }

    #[tokio::test]
    async fn a_call_that_panics_is_counted_and_told() {
        let supervisor = supervisor(&ManualClock::new());
        assert_eq!(supervisor.guard("port", async { 7 }).await.unwrap(), 7);
        assert!(supervisor.health().is_empty());
        let wrong = async { assert_eq!(supervisor.health(), [], "it is wrong") };
        supervisor.guard("port", wrong).await.unwrap();
        let panicked = supervisor.guard("port", async { panic!("{} is wrong", "it") });
        let panicked: Result<(), Panicked> = panicked.await;
        assert_eq!(panicked.unwrap_err().to_string(), "port panicked: it is wrong");
        assert!(supervisor.guard_sync("port", || panic!("again")).is_err());
        assert_eq!(supervisor.health()[0].panics, 2);
        let panicked = supervisor.guard_sync("port", || std::panic::panic_any(PanicsAtDrop));
        assert_eq!(panicked.unwrap_err().to_string(), "port panicked: no message");
    }
}
