//! A cancel, a deadline and a crash against every step of a worker, in every order.
//!
//! `cargo test -p order-engine-core --all-features --test interleavings -- --nocapture` prints the number of
//! schedules of each scenario. With `EVERY_INTERLEAVING=1`, best with `--release`, it tries the large
//! scenarios as well.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

#[path = "common/schedules.rs"]
mod schedules;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use order_engine_core::testing::{
    Executor, InterceptedStore, InterceptedVenue, ManualClock, ScriptedRouter, ScriptedVenue, SeededEntropy,
    Sending, SimulatedProcess, request,
};
use order_engine_core::{
    Cancellation, Clock, Deadline, Engine, EngineConfig, EventRecord, FailureCode, MemoryStore, Order,
    OrderEvent, OrderId, OrderState, OrderTask, Runtime, Spawner, Status, Submission,
};
use schedules::{Choices, Gates, YieldingRouter, run_every_schedule};

/// The seed of the order in which the tasks run between two gates.
const SEED: u64 = 1;
/// The time from the order's submission to its deadline, in the scenarios with one.
const TTL_MS: u64 = 60_000;
/// The time by which the clock advances while every task waits for it.
const TICK: Duration = Duration::from_millis(250);
/// The heights that the chain grows meanwhile. Transactions expire after a few ticks.
const HEIGHTS_A_TICK: u64 = 40;

/// An event that happens once, at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The worker's own process gets a cancel.
    CancelHere,
    /// Another process gets a cancel.
    CancelElsewhere,
    /// The deadline passes.
    PassDeadline,
    /// The worker's process dies, and its lease expires before another one starts.
    Crash,
}

/// A process with an engine.
struct Process {
    tasks: SimulatedProcess,
    engine: Engine,
}

/// The state of a schedule.
struct World {
    clock: ManualClock,
    executor: Executor,
    store: MemoryStore,
    venue: Arc<ScriptedVenue>,
    gates: Gates,
    worker: Process,
    elsewhere: Process,
    order: OrderId,
    cancelled: Arc<Mutex<Option<Cancellation>>>,
    /// Whether no signed transaction was committed when the deadline passed.
    is_too_late: bool,
    seed: u64,
}

impl World {
    fn new(fate: Sending, has_deadline: bool) -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(clock.clone());
        let venue = Arc::new(ScriptedVenue::new());
        venue.next_sendings([fate]);
        let gates = Gates::default();
        let executor = Executor::seeded(SEED);
        let elsewhere = start(&clock, &executor, &store, &venue, &gates, 1);
        let mut request = request();
        request.deadline = has_deadline.then_some(Deadline::After(Duration::from_millis(TTL_MS)));
        let engine = elsewhere.engine.clone();
        let submitted = executor.block_on(&clock, async move { engine.submit(request).await });
        let Some(Ok(Submission::Created(order))) = submitted else { panic!("{submitted:?}") };
        let worker = start(&clock, &executor, &store, &venue, &gates, 2);
        let world = Self {
            clock,
            executor,
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

    /// Makes the worker's process execute the order whenever it is due.
    fn work(&self) {
        let (engine, clock, id) = (self.worker.engine.clone(), self.clock.clone(), self.order);
        let task = async move {
            loop {
                // An error says that the lease was lost to a cancel.
                let _ = engine.execute(OrderTask::new(id)).await;
                clock.sleep(TICK).await;
            }
        };
        self.worker.tasks.spawn("worker", Box::pin(task));
    }

    fn run(&self) {
        assert!(self.executor.run_until_stalled(), "tasks wake each other for ever");
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
                self.assert_no_task_panicked();
                self.worker.tasks.kill();
                self.seed += 1;
                self.worker =
                    start(&self.clock, &self.executor, &self.store, &self.venue, &self.gates, self.seed);
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
        process.tasks.spawn("cancel", Box::pin(task));
    }

    fn history(&self) -> (Order, Vec<EventRecord>) {
        let (engine, id) = (self.elsewhere.engine.clone(), self.order);
        let order = self.block_on(async move { engine.order(id).await });
        (order.unwrap().unwrap(), self.events())
    }

    /// Runs a future that waits for no gate and no time.
    fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        self.executor.block_on(&self.clock, future).expect("the future ends")
    }

    /// Checks that no task ended with a panic, which the executor catches.
    fn assert_no_task_panicked(&self) {
        for process in [&self.worker, &self.elsewhere] {
            assert!(process.tasks.panicked().is_empty(), "{:?}", process.tasks.panicked());
        }
    }
}

fn start(
    clock: &ManualClock,
    executor: &Executor,
    store: &MemoryStore,
    venue: &Arc<ScriptedVenue>,
    gates: &Gates,
    seed: u64,
) -> Process {
    let tasks = executor.process();
    let runtime = Runtime::tokio()
        .with_clock(clock.clone())
        .with_entropy(SeededEntropy::new(seed))
        .with_spawner(tasks.clone());
    let gate = Arc::new(gates.clone());
    let engine = Engine::builder()
        .store(Arc::new(InterceptedStore::new(Arc::new(store.clone()), gate.clone())))
        .router(Arc::new(YieldingRouter(Arc::new(ScriptedRouter::new()))))
        .venue(Arc::new(InterceptedVenue::new(venue.clone(), gate)))
        .runtime(runtime);
    let engine = executor.block_on(clock, engine.build()).expect("the engine is built").unwrap();
    Process { tasks, engine }
}

/// An alternative for the next step of a schedule.
#[derive(Clone, Copy, Debug)]
enum Move {
    Open(usize),
    Act(usize),
    Tick,
}

/// Runs one schedule. In each step one of the waiting calls goes on, or an action happens.
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
        // Time passes only while no call waits, and only until the order has ended.
        if waiting.is_empty() && !world.is_terminal() {
            moves.push(Move::Tick);
        }
        if moves.is_empty() {
            // The process that got the cancel is dead, and the order has ended.
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
    world.assert_no_task_panicked();
    check(&world, &trace);
}

impl Drop for World {
    fn drop(&mut self) {
        // The tasks hold the engine, which holds the executor, which holds the tasks.
        self.worker.tasks.kill();
        self.elsewhere.tasks.kill();
    }
}

impl World {
    /// Returns the order's events, which are read without a gate.
    fn events(&self) -> Vec<EventRecord> {
        let (engine, id) = (self.elsewhere.engine.clone(), self.order);
        self.block_on(async move { engine.events(id, 0, u32::MAX).await }).unwrap()
    }

    fn is_terminal(&self) -> bool {
        self.events().last().is_some_and(|record| record.status.is_terminal())
    }
}

/// Checks what holds at the end of every schedule.
fn check(world: &World, trace: &dyn std::fmt::Debug) {
    let (order, history) = world.history();
    let executions = world.venue.executions(world.order);
    // The text is long, and only a failure needs it.
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
    if let Some(cancel) = position(|event| *event == OrderEvent::CancelRequested) {
        let is_rebuilt = |record: &EventRecord| {
            matches!(record.event, OrderEvent::RoutingStarted { .. } | OrderEvent::TransactionSigned { .. })
        };
        assert!(!history[cancel..].iter().any(is_rebuilt), "it was built again after a cancel: {context}");
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

/// The fates of the first transaction.
const FATES: [Sending; 5] =
    [Sending::Lands, Sending::LandsUnheard, Sending::Dropped, Sending::Reverts, Sending::Refused];

/// Tries these actions in every order, with these fates of the transaction, or with every fate if the
/// environment variable `EVERY_INTERLEAVING` is set.
fn every_interleaving(actions: &[Action], fates: &[Sending]) {
    let fates = if std::env::var_os("EVERY_INTERLEAVING").is_some() { &FATES } else { fates };
    for fate in fates {
        let schedules = run_every_schedule(|choices| play(choices, *fate, actions));
        println!("{actions:?}, the transaction {fate:?}: {schedules} schedules");
        assert!(schedules >= 5, "the order passes the gates");
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
