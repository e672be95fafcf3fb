//! Time, randomness and tasks. All of core takes them from here, so that an engine can run in a simulation
//! that is deterministic from a seed.
#![allow(clippy::disallowed_methods)] // The one place from which they come.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};

use crate::ports::into_port::{IntoPort, into_port};

/// A clock that can wait.
///
/// # Contract
/// - [`now`](Self::now) never steps back within a process, and is cut to milliseconds.
/// - [`sleep`](Self::sleep) is safe to drop.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the time.
    fn now(&self) -> DateTime<Utc>;

    /// Waits for a duration.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A source of random bits for ids, owners of leases and jitter.
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Returns 128 bits that cannot be guessed and do not repeat.
    fn next_u128(&self) -> u128;
}

/// Starts background tasks.
pub trait Spawner: Debug + Send + Sync + 'static {
    /// Starts a task. It ends by itself when the engine shuts down.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

into_port!(Clock, Entropy, Spawner);

/// Where an engine takes time, randomness and tasks from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Runtime {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Tasks.
    pub spawner: Arc<dyn Spawner>,
}

impl Runtime {
    /// Returns the real ones: system time, the system's randomness, tasks on the current tokio runtime.
    pub fn tokio() -> Self {
        Self {
            clock: Arc::new(TokioClock::new()),
            entropy: Arc::new(SystemEntropy),
            spawner: Arc::new(TokioSpawner),
        }
    }

    /// Sets [`clock`](Self::clock).
    #[must_use]
    pub fn with_clock(self, clock: impl IntoPort<dyn Clock>) -> Self {
        Self { clock: clock.into_port(), ..self }
    }

    /// Sets [`entropy`](Self::entropy).
    #[must_use]
    pub fn with_entropy(self, entropy: impl IntoPort<dyn Entropy>) -> Self {
        Self { entropy: entropy.into_port(), ..self }
    }

    /// Sets [`spawner`](Self::spawner).
    #[must_use]
    pub fn with_spawner(self, spawner: impl IntoPort<dyn Spawner>) -> Self {
        Self { spawner: spawner.into_port(), ..self }
    }

    /// Returns the time.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Waits for a future, but no longer than `limit`. Returns nothing if it took longer.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T> + Send,
    ) -> Option<T> {
        let mut future = pin!(future);
        // Most futures are ready at once in tests and simulations; they need no timer.
        if let Some(result) = future.as_mut().now_or_never() {
            return Some(result);
        }
        match select(future, self.clock.sleep(limit)).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(((), _)) => None,
        }
    }
}

/// The system's time, read once and carried on by a clock that never jumps.
///
/// If the system's clock is set back or forth by an hour, no order expires early and no living worker loses
/// a lease.
#[derive(Debug)]
pub struct TokioClock {
    /// In microseconds since 1970. The time is read many times for each order, and adding integers costs a
    /// fraction of adding to a date.
    started_at_us: i64,
    started: tokio::time::Instant,
}

impl TokioClock {
    /// Reads the system's time.
    pub fn new() -> Self {
        Self::starting_at(Utc::now())
    }

    /// Returns a clock that shows `now` now. On paused tokio time a test is thus the same every time.
    pub fn starting_at(now: DateTime<Utc>) -> Self {
        Self { started_at_us: now.timestamp_micros(), started: tokio::time::Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        let elapsed_us = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let now_ms = self.started_at_us.saturating_add(elapsed_us).div_euclid(1_000);
        DateTime::from_timestamp_millis(now_ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[derive(Debug)]
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next_u128(&self) -> u128 {
        rand::random()
    }
}

#[derive(Debug)]
struct TokioSpawner;

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}
