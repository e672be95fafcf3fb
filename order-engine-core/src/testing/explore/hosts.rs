//! The processes of a run. Each is an engine with a worker, on a clock of its own.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::oneshot;

use super::lossy_fanout::LossyFanout;
use super::monitor::{MonitoredVenue, StoreMonitor};
use super::plan::draw_skew;
use super::shared::Shared;
use crate::engine::Engine;
use crate::engine::builder::{BuildError, EngineBuilder};
use crate::ports::runtime::{Clock, Runtime, Spawner};
use crate::ports::sink::StatusSink;
use crate::testing::chaos::Chaos;
use crate::testing::dice::Dice;
use crate::testing::executor::SimulatedProcess;
use crate::testing::intercept::{InterceptedRouter, InterceptedSink, InterceptedStore, InterceptedVenue};
use crate::testing::skew::SkewedClock;

/// The time that a client waits for an answer before it asks another process.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause of a process that cannot start until it tries again.
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// How many orders a process executes at a time.
const WORKER_SLOTS: usize = 10;
/// The longest time that a process may take to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// All processes of a run.
pub(super) struct Hosts {
    shared: Arc<Shared>,
    slots: Mutex<Vec<Slot>>,
    /// The only process that takes requests, while it is tested alone.
    only: Mutex<Option<usize>>,
}

/// A process, whether it runs or not.
struct Slot {
    process: SimulatedProcess,
    chaos: Chaos,
    dice: Dice,
    life: Option<Life>,
}

/// A process between its start and its end.
#[derive(Clone)]
struct Life {
    clock: SkewedClock,
    /// The engine, after it has started.
    engine: Option<Engine>,
    /// Whether it was shut down, and so has to be started again.
    is_leaving: bool,
}

/// Runs a worker as a host does: every other process under apalis, if that is there.
fn run_worker(engine: &Engine, index: usize) -> BoxFuture<'static, ()> {
    match index % 2 {
        #[cfg(feature = "apalis")]
        0 => run_under_apalis(engine),
        _ => engine.run(WORKER_SLOTS),
    }
}

#[cfg(feature = "apalis")]
fn run_under_apalis(engine: &Engine) -> BoxFuture<'static, ()> {
    let worker = apalis::prelude::WorkerBuilder::new("orders")
        .backend(engine.backend(WORKER_SLOTS))
        .build(crate::engine::apalis::execute_order);
    // It ends with the engine.
    worker.run().map(drop).boxed()
}

impl Hosts {
    pub(super) fn new(shared: &Arc<Shared>, dice: &Dice) -> Arc<Self> {
        let slots = (0..shared.exploration.processes).map(|index| {
            let dice = dice.fork(index as u64);
            let clock = Arc::new(shared.world.clone());
            let chaos = Chaos::new(&format!("p{index}"), clock, dice.fork(1), shared.trace.clone());
            Slot { process: shared.executor.process(), chaos, dice, life: None }
        });
        Arc::new(Self {
            slots: Mutex::new(slots.collect()),
            only: Mutex::default(),
            shared: Arc::clone(shared),
        })
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn chaos(&self, index: usize) -> Chaos {
        self.slots()[index].chaos.clone()
    }

    pub(super) fn process(&self, index: usize) -> SimulatedProcess {
        self.slots()[index].process.clone()
    }

    pub(super) fn engine(&self, index: usize) -> Option<Engine> {
        self.slots()[index].life.as_ref()?.engine.clone()
    }

    /// Starts a process, unless it runs.
    pub(super) fn start(self: &Arc<Self>, index: usize) {
        let mut slots = self.slots();
        let slot = &mut slots[index];
        if slot.life.is_some() {
            return;
        }
        slot.dice.roll();
        let clock = SkewedClock::new(&self.shared.world, draw_skew(&self.shared.exploration, &slot.dice));
        let runtime = Runtime {
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(slot.dice.fork(2)),
            spawner: Arc::new(slot.process.clone()),
        };
        slot.life = Some(Life { clock, engine: None, is_leaving: false });
        let process = slot.process.clone();
        drop(slots);
        process.spawn("host", Arc::clone(self).host(index, runtime).boxed());
    }

    /// Builds an engine and runs a worker, like the program of a host.
    async fn host(self: Arc<Self>, index: usize, runtime: Runtime) {
        let engine = loop {
            // A program that panics while it starts is started again.
            let built = AssertUnwindSafe(self.build(index, runtime.clone())).catch_unwind().await;
            match built {
                Ok(Ok(engine)) => break engine,
                Ok(Err(_)) | Err(_) => runtime.clock.sleep(RESTART_WAIT).await,
            }
        };
        if let Some(life) = &mut self.slots()[index].life {
            life.engine = Some(engine.clone());
        }
        self.shared.trace.note(format_args!("p{index} has started"));
        run_worker(&engine, index).await;
        self.shared.trace.note(format_args!("p{index}: its worker has ended"));
    }

    async fn build(&self, index: usize, runtime: Runtime) -> Result<Engine, BuildError> {
        let chaos = Arc::new(self.chaos(index));
        let shared = &self.shared;
        let monitor = Arc::new(StoreMonitor::new(index, Arc::clone(shared)));
        let store = Arc::new(InterceptedStore::new(shared.site.open_store(), monitor));
        let store = InterceptedStore::new(store, chaos.clone());
        let venue = MonitoredVenue::new(index, shared.site.venue(index), Arc::clone(shared));
        let sink = |inner: &dyn Fn() -> Arc<dyn StatusSink>| {
            Arc::new(InterceptedSink::new(inner(), chaos.clone())) as Arc<dyn StatusSink>
        };
        let fanout = LossyFanout { process: index, shared: Arc::clone(shared) };
        EngineBuilder::default()
            .source(Arc::new(fanout.clone()))
            .sink(Arc::new(fanout))
            .store(Arc::new(store))
            .router(Arc::new(InterceptedRouter::new(shared.site.router(index), chaos.clone())))
            .venue(Arc::new(InterceptedVenue::new(Arc::new(venue), chaos.clone())))
            .sink(sink(&|| Arc::new(shared.durable.clone())))
            .sink(sink(&|| Arc::new(shared.best_effort.clone())))
            .runtime(runtime)
            .build()
            .await
    }

    /// Ends all tasks of a process at once.
    pub(super) fn kill(&self, index: usize) {
        let (process, life) = {
            let slot = &mut self.slots()[index];
            (slot.process.clone(), slot.life.take())
        };
        process.kill();
        drop(life);
    }

    /// Suspends a process, and stops its clock as well if `stops_clock` is set.
    pub(super) fn suspend(&self, index: usize, stops_clock: bool) {
        let slot = &self.slots()[index];
        if let Some(life) = &slot.life {
            self.shared.trace.note(format_args!("p{index} stands still"));
            slot.process.suspend();
            if stops_clock {
                life.clock.stop();
            }
        }
    }

    pub(super) fn resume(&self, index: usize) {
        let slot = &self.slots()[index];
        if let Some(life) = &slot.life {
            life.clock.resume();
            slot.process.resume();
        }
    }

    pub(super) fn shut_down(&self, index: usize) {
        let process = self.process(index);
        let engine = self.slots()[index].life.as_mut().and_then(|life| {
            life.is_leaving = true;
            life.engine.clone()
        });
        if let Some(engine) = engine {
            let shutdown = async move {
                // The leases of orders that did not end in time expire.
                let _ = engine.shutdown(SHUTDOWN_TIMEOUT).await;
            };
            process.spawn("shutdown", shutdown.boxed());
        }
    }

    /// Directs all requests to one process, or to any.
    pub(super) fn ask_only(&self, index: Option<usize>) {
        *self.only.lock().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// Returns whether a process was shut down.
    pub(super) fn is_leaving(&self, index: usize) -> bool {
        self.slots()[index].life.as_ref().is_some_and(|life| life.is_leaving)
    }

    /// Returns a random process that takes requests, and its engine.
    pub(super) fn any(&self, dice: &Dice) -> Option<(SimulatedProcess, Engine)> {
        let only = *self.only.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = self.slots();
        let asked = slots.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index));
        let up =
            |(_, slot): (usize, &Slot)| Some((slot.process.clone(), slot.life.as_ref()?.engine.clone()?));
        let mut up: Vec<_> = asked.filter_map(up).collect();
        if up.is_empty() { None } else { Some(up.swap_remove(dice.choose(up.len()))) }
    }

    /// Sends a request to any process. Returns `None` if it dies before it answers, or takes too long.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        dice: &Dice,
        request: impl FnOnce(Engine) -> BoxFuture<'static, T> + Send,
    ) -> Option<T> {
        let Some((process, engine)) = self.any(dice) else {
            self.shared.world.sleep(RESTART_WAIT).await;
            return None;
        };
        let (reply, answer) = oneshot::channel();
        let handled = request(engine).map(|result| _ = reply.send(result));
        process.spawn("request", handled.boxed());
        match select(answer, self.shared.world.sleep(CLIENT_TIMEOUT)).await {
            Either::Left((answer, _)) => answer.ok(),
            Either::Right(_) => None,
        }
    }
}
