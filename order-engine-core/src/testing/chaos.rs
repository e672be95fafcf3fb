//! Ports that fail at random, as a seed says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::intercept::{Call, Intercept, Port, Reply};
use super::{Dice, Trace};
use crate::ports::order_store::error::{StoreError, StoreErrorKind};
use crate::ports::runtime::Clock;

/// How often which fault strikes a call of a port, in millionths of the calls. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFaults {
    /// It fails, and nothing has happened.
    pub refused_ppm: u32,
    /// It succeeds, and the caller is told that it failed.
    pub reply_lost_ppm: u32,
    /// It panics before anything has happened.
    pub panic_ppm: u32,
    /// It panics after all of it has happened.
    pub late_panic_ppm: u32,
    /// A little time passes, before and after the effect each.
    pub delay_ppm: u32,
    /// How much at most.
    pub most_delay: Duration,
    /// Much time passes, before or after the effect.
    pub stall_ppm: u32,
    /// How much at most.
    pub most_stall: Duration,
}

/// How often which fault strikes the calls of each port. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChaosConfig {
    /// Calls of the store, the outbox among them.
    pub store: CallFaults,
    /// Calls of the venue that send and observe.
    pub venue: CallFaults,
    /// Calls of the venue that prepare.
    pub prepare: CallFaults,
    /// Calls of the router.
    pub router: CallFaults,
    /// Calls of sinks.
    pub sink: CallFaults,
}

/// An [`Intercept`] for all ports of a simulated process, that lets calls fail, panic and take their time
/// as dice say. Clones are one.
///
/// It panics without a word on the standard error stream.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// The process, in the trace.
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

/// Whether a call has had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl Chaos {
    /// Chaos that does nothing yet. Its waits are on this clock.
    pub fn new(name: &str, clock: Arc<dyn Clock>, dice: Dice, trace: Trace) -> Self {
        Self { name: name.into(), clock, dice: Arc::new(dice), trace, state: Arc::default() }
    }

    /// Lets other faults strike from now on. Calls under way go on as they began.
    pub fn set(&self, config: ChaosConfig) {
        self.state().config = config;
    }

    /// From now on the store fails every call, or works again.
    pub fn set_store_down(&self, is_down: bool) {
        self.state().is_store_down = is_down;
    }

    /// How often each kind of fault struck.
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

    fn strike(&self, kind: &'static str, call: Call<'_>) {
        *self.state().counts.entry(kind).or_default() += 1;
        self.trace.note(format_args!("{} {}: {kind}", self.name, call.name()));
    }

    /// Lets time pass.
    async fn wait(&self, faults: &CallFaults, call: Call<'_>) {
        let ms = |most: Duration| u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
        let wait_ms = if self.dice.happens(faults.stall_ppm) {
            let wait_ms = self.dice.between(1, ms(faults.most_stall));
            self.strike("call stalls", call);
            wait_ms
        } else if self.dice.happens(faults.delay_ppm) {
            self.dice.between(1, ms(faults.most_delay))
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
            self.strike(panics[port], call);
            // The hook that would print is not run.
            std::panic::resume_unwind(Box::new("a panic that was asked for"));
        }
        if is_down {
            *self.state().counts.entry("call in an outage of the store").or_default() += 1;
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the store is down"));
        }
        if self.dice.happens(fail_ppm) {
            self.strike(fails[port], call);
            return Err(StoreError::new(StoreErrorKind::Unavailable, fails[port]));
        }
        Ok(())
    }
}

/// By side and port.
const PANICS: [[&str; 4]; 2] = [
    ["store panics before", "venue panics before", "router panics before", "sink panics before"],
    ["store panics after", "venue panics after", "router panics after", "sink panics after"],
];
/// By side and port.
const FAILURES: [[&str; 4]; 2] = [
    ["store refuses", "venue refuses", "router refuses", "sink refuses"],
    ["store's reply is lost", "venue's reply is lost", "router's reply is lost", "sink's reply is lost"],
];

#[async_trait]
impl Intercept for Chaos {
    /// # Panics
    /// If the dice say so.
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        self.pass(call, Side::Before).await
    }

    /// # Panics
    /// If the dice say so.
    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        self.pass(call, Side::After).await
    }
}
