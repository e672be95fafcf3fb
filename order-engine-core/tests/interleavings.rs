//! A cancel, a deadline and a crash against every step of a worker, in every order.
//!
//! `cargo test -p order-engine-core --all-features --test interleavings -- --nocapture` prints how many
//! schedules each scenario has; with `EVERY_INTERLEAVING=1`, and better with `--release`, it tries the
//! large ones, too.
#![allow(clippy::disallowed_methods)] // Tests are the outside world.

#[path = "common/explore.rs"]
mod explore;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use explore::{Choices, Executor, Gates, SlowRouter, explore};
use order_engine_core::testing::{
    InterceptedStore, InterceptedVenue, ManualClock, ScriptedRouter, ScriptedVenue, SeededEntropy, Sending,
    request,
};
use order_engine_core::{
    Cancellation, Clock, Deadline, Engine, EngineConfig, EventRecord, FailureCode, MemoryStore, Order,
    OrderEvent, OrderId, OrderRequest, OrderState, OrderTask, Runtime, Status, Submission,
};

/// The order's time to live in the scenarios with a deadline.
const TTL_MS: u64 = 60_000;
/// How far the clock moves when everybody waits for it.
const TICK: Duration = Duration::from_millis(250);
/// How far the chain grows meanwhile: transactions expire after a few ticks.
const HEIGHTS_A_TICK: u64 = 40;

/// What happens once, at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Somebody asks for a cancel in the worker's own process.
    CancelHere,
    /// Somebody asks for a cancel in another process.
    CancelElsewhere,
    /// The deadline passes.
    PassDeadline,
    /// The worker's process dies, and its lease runs out before another one begins.
    Crash,
}

/// A worker's process.
struct Process {
    executor: Executor,
    engine: Engine,
}

/// Everything that a schedule is about.
struct World {
    clock: ManualClock,
    store: MemoryStore,
    venue: Arc<ScriptedVenue>,
    gates: Gates,
    worker: Process,
    elsewhere: Process,
    order: OrderId,
    cancelled: Arc<Mutex<Option<Cancellation>>>,
    /// Whether nothing was committed that might be sent when the deadline passed.
    is_too_late: bool,
    seed: u64,
}

impl World {
    fn new(fate: Sending, has_deadline: bool) -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(Arc::new(clock.clone()));
        let venue = Arc::new(ScriptedVenue::new());
        venue.next_sendings([fate]);
        let gates = Gates::default();
        let elsewhere = start(&clock, &store, &venue, &gates, 1);
        let deadline = has_deadline.then_some(Deadline::AfterMs(TTL_MS));
        let request = OrderRequest { deadline, ..request() };
        let engine = elsewhere.engine.clone();
        let submitted = elsewhere.executor.block_on(async move { engine.submit(request).await });
        let Ok(Submission::Created(order)) = submitted else { panic!("{submitted:?}") };
        let worker = start(&clock, &store, &venue, &gates, 2);
        let world = Self {
            clock,
            store,
            venue,
            gates,
            worker,
            elsewhere,
            order: order.id,
            cancelled: Arc::default(),
            is_too_late: false,
            seed: 2,
        };
        world.work();
        world
    }

    /// Lets the worker's process execute the order whenever it is due.
    fn work(&self) {
        let (engine, clock, id) = (self.worker.engine.clone(), self.clock.clone(), self.order);
        let task = async move {
            loop {
                // A lease that was lost to a cancel is no error of the test.
                let _ = engine.execute(OrderTask::new(id)).await;
                clock.sleep(TICK).await;
            }
        };
        order_engine_core::Spawner::spawn(&self.worker.executor, "worker", Box::pin(task));
    }

    fn run(&self) {
        self.worker.executor.run_until_stalled();
        self.elsewhere.executor.run_until_stalled();
    }

    fn tick(&self) {
        self.clock.advance(TICK);
        self.venue.grow(HEIGHTS_A_TICK);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::CancelHere => self.cancel(&self.worker),
            Action::CancelElsewhere => self.cancel(&self.elsewhere),
            Action::PassDeadline => {
                let is_signed =
                    |record: &EventRecord| matches!(record.event, OrderEvent::TransactionSigned { .. });
                self.is_too_late = !self.events().iter().any(is_signed);
                self.clock.advance(Duration::from_millis(TTL_MS));
            }
            Action::Crash => {
                self.worker.executor.kill();
                self.seed += 1;
                self.worker = start(&self.clock, &self.store, &self.venue, &self.gates, self.seed);
                self.clock.advance(EngineConfig::default().lease_duration + TICK);
                self.work();
            }
        }
    }

    fn cancel(&self, process: &Process) {
        let (engine, id, answer) = (process.engine.clone(), self.order, Arc::clone(&self.cancelled));
        let task = async move {
            let result = engine.cancel(id).await;
            *answer.lock().unwrap() = result.expect("the store answers");
        };
        order_engine_core::Spawner::spawn(&process.executor, "cancel", Box::pin(task));
    }

    fn history(&self) -> (Order, Vec<EventRecord>) {
        let (engine, id) = (self.elsewhere.engine.clone(), self.order);
        self.elsewhere.executor.block_on(async move {
            let order = engine.order(id).await.unwrap().unwrap();
            (order, engine.events(id, 0, u32::MAX).await.unwrap())
        })
    }
}

fn start(
    clock: &ManualClock,
    store: &MemoryStore,
    venue: &Arc<ScriptedVenue>,
    gates: &Gates,
    seed: u64,
) -> Process {
    let executor = Executor::default();
    let runtime = Runtime {
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SeededEntropy::new(seed)),
        spawner: Arc::new(executor.clone()),
    };
    let gate = Arc::new(gates.clone());
    let engine = Engine::builder()
        .store(Arc::new(InterceptedStore::new(Arc::new(store.clone()), gate.clone())))
        .router(Arc::new(SlowRouter(Arc::new(ScriptedRouter::new()))))
        .venue(Arc::new(InterceptedVenue::new(venue.clone(), gate)))
        .runtime(runtime);
    let engine = executor.block_on(engine.build()).unwrap();
    Process { executor, engine }
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Open(usize),
    Act(usize),
    Tick,
}

/// Runs one schedule: at each point one of the calls that wait goes on, or something happens.
fn play(choices: &mut Choices, fate: Sending, actions: &[Action]) {
    let mut world = World::new(fate, actions.contains(&Action::PassDeadline));
    let mut actions = actions.to_vec();
    let wants_cancel =
        actions.iter().any(|action| matches!(action, Action::CancelHere | Action::CancelElsewhere));
    let mut trace = Vec::new();
    loop {
        world.run();
        let is_answered = !wants_cancel || world.cancelled.lock().unwrap().is_some();
        if actions.is_empty() && is_answered {
            break;
        }
        let waiting = world.gates.waiting();
        let mut moves: Vec<Move> = (0..waiting.len()).map(Move::Open).collect();
        moves.extend((0..actions.len()).map(Move::Act));
        // Time passes only where nobody has anything else to do, and only until the order ends.
        if waiting.is_empty() && !world.is_terminal() {
            moves.push(Move::Tick);
        }
        if moves.is_empty() {
            // Whoever asked for the cancel is dead, and the order has come to its end.
            break;
        }
        let chosen = moves[choices.choose(moves.len())];
        match chosen {
            Move::Open(gate) => world.gates.open(gate),
            Move::Act(action) => world.act(actions.remove(action)),
            Move::Tick => world.tick(),
        }
        trace.push((chosen, waiting));
    }
    world.gates.open_all();
    for _ in 0..10_000 {
        world.run();
        if world.is_terminal() {
            break;
        }
        world.tick();
    }
    check(&world, &trace);
}

impl Drop for World {
    fn drop(&mut self) {
        // The tasks hold the engine, which holds the executor, which holds the tasks.
        self.worker.executor.kill();
        self.elsewhere.executor.kill();
    }
}

impl World {
    /// The log is looked at past the gates.
    fn events(&self) -> Vec<EventRecord> {
        let (engine, id) = (self.elsewhere.engine.clone(), self.order);
        let events = self.elsewhere.executor.block_on(async move { engine.events(id, 0, u32::MAX).await });
        events.unwrap()
    }

    fn is_terminal(&self) -> bool {
        self.events().last().is_some_and(|record| record.status.is_terminal())
    }
}

/// What must hold at the end, whatever happened when.
fn check(world: &World, trace: &dyn std::fmt::Debug) {
    let (order, history) = world.history();
    let executions = world.venue.executions(world.order);
    // Only a failure is worth the words.
    let context = std::fmt::from_fn(|f| write!(f, "{trace:#?}\n{history:#?}"));
    assert!(order.status().is_terminal(), "the order did not end: {context}");
    assert_eq!(OrderState::replay(&history).as_ref(), Ok(&order.state), "{context}");
    assert_eq!(executions, usize::from(order.status() == Status::Confirmed), "{context}");
    if world.is_too_late {
        assert_eq!(world.venue.sent(world.order), [], "it was sent after the deadline: {context}");
    }
    let ended = history.iter().filter(|record| record.status.is_terminal()).count();
    assert_eq!(ended, 1, "something followed the end: {context}");

    let position = |is_it: fn(&OrderEvent) -> bool| history.iter().position(|record| is_it(&record.event));
    if let Some(wish) = position(|event| *event == OrderEvent::CancelRequested) {
        let is_rebuilt = |record: &EventRecord| {
            matches!(record.event, OrderEvent::RoutingStarted { .. } | OrderEvent::TransactionSigned { .. })
        };
        assert!(!history[wish..].iter().any(is_rebuilt), "it was built again after a cancel: {context}");
    }
    let code = order.state.failure().map(|failure| failure.code.clone());
    match world.cancelled.lock().unwrap().as_ref() {
        None => {}
        Some(Cancellation::Cancelled(_)) => assert_eq!(code, Some(FailureCode::CANCELLED), "{context}"),
        Some(Cancellation::Pending(then)) => {
            assert!(then.state.is_cancel_requested(), "{context}");
            let is_cancelled = code == Some(FailureCode::CANCELLED);
            assert!(is_cancelled || order.status() == Status::Confirmed, "{context}");
        }
        Some(Cancellation::TooLate(then)) => {
            assert_eq!(then.state, order.state, "{context}");
            assert_ne!(code, Some(FailureCode::CANCELLED), "{context}");
        }
    }
}

/// What can become of the first transaction.
const FATES: [Sending; 5] =
    [Sending::Lands, Sending::LandsUnheard, Sending::Dropped, Sending::Reverts, Sending::Refused];

/// These actions in every order, against these fates of the transaction; against every fate if the
/// environment variable `EVERY_INTERLEAVING` is set.
fn every_interleaving(actions: &[Action], fates: &[Sending]) {
    let fates = if std::env::var_os("EVERY_INTERLEAVING").is_some() { &FATES } else { fates };
    for fate in fates {
        let schedules = explore(|choices| play(choices, *fate, actions));
        println!("{actions:?}, the transaction {fate:?}: {schedules} schedules");
        assert!(schedules >= 5, "the gates are where the order passes");
    }
}

#[test]
fn a_cancel_in_the_same_process() {
    every_interleaving(&[Action::CancelHere], &FATES);
}

#[test]
fn a_cancel_in_another_process() {
    every_interleaving(&[Action::CancelElsewhere], &FATES);
}

#[test]
fn a_deadline() {
    every_interleaving(&[Action::PassDeadline], &FATES);
}

#[test]
fn a_crash() {
    every_interleaving(&[Action::Crash], &FATES);
}

#[test]
fn a_cancel_and_a_deadline() {
    let fates = [Sending::Lands, Sending::LandsUnheard, Sending::Reverts];
    every_interleaving(&[Action::CancelElsewhere, Action::PassDeadline], &fates);
}

#[test]
fn a_cancel_and_a_crash() {
    let fates = [Sending::Lands, Sending::Dropped, Sending::Refused];
    every_interleaving(&[Action::CancelElsewhere, Action::Crash], &fates);
}

#[test]
fn a_cancel_whose_process_dies() {
    every_interleaving(&[Action::CancelHere, Action::Crash], &[Sending::LandsUnheard, Sending::Reverts]);
}
