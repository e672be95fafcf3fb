//! Ports that fail at random, from a seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::dice::Dice;
use super::intercept::{Call, Intercept, Port, Reply};
use super::trace::Trace;
use crate::ports::order_store::error::{StoreError, StoreErrorKind};
use crate::ports::runtime::Clock;

/// The probabilities of the faults of a port, in millionths of its calls. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallFaults {
    /// The call fails without an effect.
    pub refused_ppm: u32,
    /// The call succeeds, and its reply is lost.
    pub reply_lost_ppm: u32,
    /// The call panics before its effect.
    pub panic_ppm: u32,
    /// The call panics after its effect.
    pub late_panic_ppm: u32,
    /// A little time passes before the effect, or after it.
    pub delay_ppm: u32,
    /// The longest delay.
    pub max_delay: Duration,
    /// Much time passes before the effect, or after it.
    pub stall_ppm: u32,
    /// The longest stall.
    pub max_stall: Duration,
}

impl CallFaults {
    /// Sets the probability that a call fails without an effect.
    #[must_use]
    pub const fn with_refused_ppm(mut self, refused_ppm: u32) -> Self {
        self.refused_ppm = refused_ppm;
        self
    }

    /// Sets the probability that a call succeeds and its reply is lost.
    #[must_use]
    pub const fn with_reply_lost_ppm(mut self, reply_lost_ppm: u32) -> Self {
        self.reply_lost_ppm = reply_lost_ppm;
        self
    }

    /// Sets the probability that a call panics before its effect.
    #[must_use]
    pub const fn with_panic_ppm(mut self, panic_ppm: u32) -> Self {
        self.panic_ppm = panic_ppm;
        self
    }

    /// Sets the probability that a call panics after its effect.
    #[must_use]
    pub const fn with_late_panic_ppm(mut self, late_panic_ppm: u32) -> Self {
        self.late_panic_ppm = late_panic_ppm;
        self
    }

    /// Sets the probability and the longest duration of a delay.
    #[must_use]
    pub const fn with_delay(mut self, delay_ppm: u32, max_delay: Duration) -> Self {
        self.delay_ppm = delay_ppm;
        self.max_delay = max_delay;
        self
    }

    /// Sets the probability and the longest duration of a stall.
    #[must_use]
    pub const fn with_stall(mut self, stall_ppm: u32, max_stall: Duration) -> Self {
        self.stall_ppm = stall_ppm;
        self.max_stall = max_stall;
        self
    }
}

/// The faults of all ports. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChaosConfig {
    /// The faults of the store and its outbox.
    pub store: CallFaults,
    /// The faults of the venue when it submits or observes.
    pub venue: CallFaults,
    /// The faults of the venue when it prepares.
    pub prepare: CallFaults,
    /// The faults of the router.
    pub router: CallFaults,
    /// The faults of sinks.
    pub sink: CallFaults,
}

impl ChaosConfig {
    /// Sets the faults of the store and its outbox.
    #[must_use]
    pub const fn with_store(mut self, store: CallFaults) -> Self {
        self.store = store;
        self
    }

    /// Sets the faults of the venue when it submits or observes.
    #[must_use]
    pub const fn with_venue(mut self, venue: CallFaults) -> Self {
        self.venue = venue;
        self
    }

    /// Sets the faults of the venue when it prepares.
    #[must_use]
    pub const fn with_prepare(mut self, prepare: CallFaults) -> Self {
        self.prepare = prepare;
        self
    }

    /// Sets the faults of the router.
    #[must_use]
    pub const fn with_router(mut self, router: CallFaults) -> Self {
        self.router = router;
        self
    }

    /// Sets the faults of sinks.
    #[must_use]
    pub const fn with_sink(mut self, sink: CallFaults) -> Self {
        self.sink = sink;
        self
    }
}

/// An [`Intercept`] for all ports of a simulated process that makes calls fail, panic and take time at
/// random. Clones are one interceptor.
///
/// Its panics print nothing.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// The name of the process in the trace.
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    dice: Arc<Dice>,
    trace: Trace,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    config: ChaosConfig,
    /// Whether every call of the store fails.
    is_store_down: bool,
    counts: BTreeMap<&'static str, u64>,
}

/// The side of a call's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl Chaos {
    /// Returns an interceptor without faults. Its delays are on this clock.
    pub fn new(name: &str, clock: Arc<dyn Clock>, dice: Dice, trace: Trace) -> Self {
        Self { name: name.into(), clock, dice: Arc::new(dice), trace, state: Arc::default() }
    }

    /// Changes the faults from now on.
    pub fn set(&self, config: ChaosConfig) {
        self.state().config = config;
    }

    /// Makes every call of the store fail from now on, or lets the store work again.
    pub fn set_store_down(&self, is_down: bool) {
        self.state().is_store_down = is_down;
    }

    /// Returns the number of faults of each kind so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self, call: Call<'_>) -> (CallFaults, bool) {
        let state = self.state();
        let config = &state.config;
        let faults = match (call.port(), call) {
            (_, Call::Prepare(_)) => config.prepare,
            (Port::Store, _) => config.store,
            (Port::Venue, _) => config.venue,
            (Port::Router, _) => config.router,
            (Port::Sink, _) => config.sink,
        };
        (faults, call.port() == Port::Store && state.is_store_down)
    }

    fn record(&self, kind: &'static str, call: Call<'_>) {
        *self.state().counts.entry(kind).or_default() += 1;
        self.trace.note(format_args!("{} {}: {kind}", self.name, call.name()));
    }

    /// Waits for a random stall or delay, if there is one.
    async fn wait(&self, faults: &CallFaults, call: Call<'_>) {
        let ms = |max: Duration| u64::try_from(max.as_millis()).unwrap_or(u64::MAX).max(1);
        let wait_ms = if self.dice.happens(faults.stall_ppm) {
            let wait_ms = self.dice.between(1, ms(faults.max_stall));
            self.record("call stalls", call);
            wait_ms
        } else if self.dice.happens(faults.delay_ppm) {
            self.dice.between(1, ms(faults.max_delay))
        } else {
            return;
        };
        self.clock.sleep(Duration::from_millis(wait_ms)).await;
    }

    async fn pass(&self, call: Call<'_>, side: Side) -> Result<(), StoreError> {
        let (faults, is_down) = self.faults(call);
        self.wait(&faults, call).await;
        let ((panic_ppm, panics), (fail_ppm, fails)) = match side {
            Side::Before => ((faults.panic_ppm, PANICS[0]), (faults.refused_ppm, FAILURES[0])),
            Side::After => ((faults.late_panic_ppm, PANICS[1]), (faults.reply_lost_ppm, FAILURES[1])),
        };
        let port = call.port() as usize;
        if self.dice.happens(panic_ppm) {
            self.record(panics[port], call);
            // This does not call the panic hook, which would print.
            std::panic::resume_unwind(Box::new("an injected panic"));
        }
        if is_down {
            *self.state().counts.entry("call in an outage of the store").or_default() += 1;
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the store is down"));
        }
        if self.dice.happens(fail_ppm) {
            self.record(fails[port], call);
            return Err(StoreError::new(StoreErrorKind::Unavailable, fails[port]));
        }
        Ok(())
    }
}

/// The names of panics, by side and port.
const PANICS: [[&str; 4]; 2] = [
    ["store panics before", "venue panics before", "router panics before", "sink panics before"],
    ["store panics after", "venue panics after", "router panics after", "sink panics after"],
];
/// The names of failures, by side and port.
const FAILURES: [[&str; 4]; 2] = [
    ["store refuses", "venue refuses", "router refuses", "sink refuses"],
    ["store's reply is lost", "venue's reply is lost", "router's reply is lost", "sink's reply is lost"],
];

#[async_trait]
impl Intercept for Chaos {
    /// # Panics
    /// At random.
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        self.pass(call, Side::Before).await
    }

    /// # Panics
    /// At random.
    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        self.pass(call, Side::After).await
    }
}
