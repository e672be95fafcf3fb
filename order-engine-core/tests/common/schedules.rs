//! Gates at the ports, and a search through every order in which they can be opened.
//!
//! A call that reads or changes the state of an order or of an account (in the store, on the chain) waits at a
//! gate. Opening the gates in every order tries every interleaving of these calls; the order of everything
//! else follows from the executor's seed. Quoting, preparing and observing change nothing that another task
//! sees. They only yield, so that the events before them are written meanwhile.
#![allow(dead_code, unreachable_pub)] // This is a module of the tests that include it; each uses a part.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::testing::{
    Call, Executor, Intercept, InterceptedStore, InterceptedVenue, ManualClock, ScriptedRouter,
    SeededEntropy, SimulatedProcess, yield_once,
};
use order_engine_core::{
    Cancellation, Candidate, Clock, DexRouter, Engine, EngineConfig, EventRecord, FailureCode, FeeBumpPolicy,
    MemoryStore, Order, OrderId, OrderRequest, OrderTask, QuoteRequest, Runtime, Spawner, Status, StepError,
    StoreError, Submission, Venue, VenueName,
};
use tokio::sync::oneshot;

/// The seed of the order in which the tasks run between two gates.
const SEED: u64 = 1;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A waiting call: its name, and the channel that lets it go on.
type Gate = (&'static str, oneshot::Sender<()>);

/// The gates at which calls wait.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    waiting: Arc<Mutex<Vec<Gate>>>,
    are_open: Arc<Mutex<bool>>,
}

impl Gates {
    /// Opens all gates, for later calls as well.
    pub fn open_all(&self) {
        *lock(&self.are_open) = true;
        lock(&self.waiting).clear();
    }

    /// Closes all gates for later calls.
    pub fn close(&self) {
        *lock(&self.are_open) = false;
    }

    /// Returns the names of the waiting calls, in the order in which they arrived.
    pub fn waiting(&self) -> Vec<&'static str> {
        let mut waiting = lock(&self.waiting);
        // A waiting call may have been dropped.
        waiting.retain(|(_, gate)| !gate.is_closed());
        waiting.iter().map(|(name, _)| *name).collect()
    }

    /// Opens the gate of one waiting call.
    pub fn open(&self, index: usize) {
        let (_, gate) = lock(&self.waiting).remove(index);
        let _ = gate.send(());
    }

    async fn pass(&self, name: &'static str) {
        if *lock(&self.are_open) {
            return;
        }
        let (gate, opened) = oneshot::channel();
        lock(&self.waiting).push((name, gate));
        // An error says that all gates were opened.
        let _ = opened.await;
    }
}

#[async_trait]
impl Intercept for Gates {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        match call {
            Call::Append(_) => self.pass("append").await,
            Call::Load(_) => self.pass("load").await,
            Call::Submit(_) => self.pass("submit").await,
            Call::Accounts(_) => self.pass("accounts").await,
            Call::Prepare(_) | Call::Observe(_) | Call::Replace(_) | Call::CancelTransaction(_) => {
                yield_once().await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// A router that yields before it quotes, so that the events before the quote are written meanwhile.
#[derive(Debug)]
struct YieldingRouter(ScriptedRouter);

#[async_trait]
impl DexRouter for YieldingRouter {
    fn dexes(&self) -> Vec<String> {
        self.0.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        yield_once().await;
        self.0.quote(request).await
    }
}

/// A process with an engine.
pub struct Process {
    pub tasks: SimulatedProcess,
    pub engine: Engine,
}

/// What came of a cancel, once it is answered.
pub type Answer = Arc<Mutex<Option<Cancellation>>>;

/// What the processes of a schedule share: time, a store and a venue, both behind gates.
pub struct Stage {
    pub clock: ManualClock,
    pub gates: Gates,
    executor: Executor,
    store: MemoryStore,
    venue: Arc<dyn Venue>,
    config: EngineConfig,
    fee_bumps: FeeBumpPolicy,
    started: AtomicU64,
}

impl Stage {
    pub fn new(venue: Arc<dyn Venue>, config: EngineConfig, fee_bumps: FeeBumpPolicy) -> Self {
        let clock = ManualClock::new();
        Self {
            store: MemoryStore::with_clock(clock.clone()),
            clock,
            gates: Gates::default(),
            executor: Executor::seeded(SEED),
            venue,
            config,
            fee_bumps,
            started: AtomicU64::new(0),
        }
    }

    /// Starts a process.
    pub fn start(&self) -> Process {
        let tasks = self.executor.process();
        let seed = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let runtime = Runtime::tokio()
            .with_clock(self.clock.clone())
            .with_entropy(SeededEntropy::new(seed))
            .with_spawner(tasks.clone());
        let gate = Arc::new(self.gates.clone());
        let engine = Engine::builder()
            .store(Arc::new(InterceptedStore::new(Arc::new(self.store.clone()), gate.clone())))
            .router(Arc::new(YieldingRouter(ScriptedRouter::new())))
            .venue(Arc::new(InterceptedVenue::new(Arc::clone(&self.venue), gate)))
            .fee_bumps(VenueName::default(), self.fee_bumps)
            .config(self.config.clone())
            .runtime(runtime);
        let engine = self.block_on(engine.build()).unwrap();
        Process { tasks, engine }
    }

    /// Submits an order, and returns its id.
    pub fn submit(&self, process: &Process, request: OrderRequest) -> OrderId {
        let engine = process.engine.clone();
        match self.block_on(async move { engine.submit(request).await }) {
            Ok(Submission::Created(order)) => order.id,
            other => panic!("{other:?}"),
        }
    }

    /// Makes a process execute an order whenever it is due, and look for that at this interval.
    pub fn work(&self, process: &Process, id: OrderId, every: Duration) {
        let (engine, clock) = (process.engine.clone(), self.clock.clone());
        let task = async move {
            loop {
                // An error says that the lease was lost to a cancel.
                let _ = engine.execute(OrderTask::new(id)).await;
                clock.sleep(every).await;
            }
        };
        process.tasks.spawn("worker", Box::pin(task));
    }

    /// Kills a process. Its leases expire before another one begins.
    pub fn crash(&self, process: &Process, tick: Duration) {
        assert_no_task_panicked(process);
        process.tasks.kill();
        self.clock.advance(self.config.lease_duration + tick);
    }

    /// Runs until every task waits.
    pub fn run(&self) {
        assert!(self.executor.run_until_stalled(), "tasks wake each other for ever");
    }

    /// Runs a future that waits for no gate and no time.
    pub fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        self.executor.block_on(&self.clock, future).expect("the future ends")
    }

    /// Returns an order, past the gates.
    pub fn order(&self, id: OrderId) -> Order {
        let store = self.store.clone();
        self.block_on(async move { order_engine_core::OrderStore::load(&store, id).await }).unwrap().unwrap()
    }

    /// Returns an order's events, past the gates.
    pub fn events(&self, id: OrderId) -> Vec<EventRecord> {
        let store = self.store.clone();
        let events = async move { order_engine_core::OrderStore::events(&store, id, 0, u32::MAX).await };
        self.block_on(events).unwrap()
    }

    /// Whether an order has come to its end.
    pub fn is_terminal(&self, id: OrderId) -> bool {
        self.order(id).status().is_terminal()
    }
}

/// Asks a process to cancel an order.
pub fn cancel(process: &Process, id: OrderId, answer: &Answer) {
    let (engine, answer) = (process.engine.clone(), Arc::clone(answer));
    let task = async move {
        let result = engine.cancel(id).await;
        *lock(&answer) = result.expect("the store answers");
    };
    process.tasks.spawn("cancel", Box::pin(task));
}

/// Checks that no task ended with a panic, which the executor catches.
pub fn assert_no_task_panicked(process: &Process) {
    assert!(process.tasks.panicked().is_empty(), "{:?}", process.tasks.panicked());
}

/// Checks that what a cancel was answered agrees with how the order ended.
pub fn assert_answer(answer: &Answer, order: &Order, context: &dyn std::fmt::Display) {
    let code = order.state.failure().map(|failure| failure.code.clone());
    match lock(answer).as_ref() {
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

/// What a schedule is played in.
pub trait World {
    /// An event that happens once, at any time.
    type Action: Copy + Debug;

    fn stage(&self) -> &Stage;

    /// Whether an action would change anything now.
    fn is_possible(&self, action: Self::Action) -> bool {
        let _ = action;
        true
    }

    fn act(&mut self, action: Self::Action);

    /// Whether time may pass while no call waits.
    fn may_tick(&self) -> bool;

    fn tick(&mut self);

    /// Whether the order of the calls still matters after all actions have happened.
    fn is_open(&self) -> bool;

    /// Whether every order has come to its end.
    fn has_ended(&self) -> bool;

    /// Checks what holds after every step.
    fn check_step(&mut self) {}

    /// Changes what kept the orders from their end, after the last choice.
    fn relax(&mut self) {}
}

/// A step of a schedule.
#[derive(Clone, Copy, Debug)]
pub enum Move<A> {
    /// The waiting call with this index goes on.
    Open(usize),
    /// An action happens.
    Act(A),
    /// Time passes.
    Tick,
}

/// The steps of a schedule, each with the calls that waited before it.
pub type Steps<A> = Vec<(Move<A>, Vec<&'static str>)>;

/// Plays one schedule. In each step one of the waiting calls goes on, or an action happens, or time passes. After
/// the last action everything goes on to the end of the orders.
pub fn play<W: World>(choices: &mut Choices, world: &mut W, actions: &[W::Action]) -> Steps<W::Action> {
    let mut actions = actions.to_vec();
    let mut steps = Vec::new();
    loop {
        world.stage().run();
        world.check_step();
        if actions.is_empty() && !world.is_open() {
            break;
        }
        let waiting = world.stage().gates.waiting();
        let mut moves: Vec<Move<usize>> = (0..waiting.len()).map(Move::Open).collect();
        moves.extend((0..actions.len()).filter(|index| world.is_possible(actions[*index])).map(Move::Act));
        // Time passes only while no call waits.
        if waiting.is_empty() && world.may_tick() {
            moves.push(Move::Tick);
        }
        if moves.is_empty() {
            break;
        }
        let chosen = match moves[choices.choose(moves.len())] {
            Move::Open(gate) => {
                world.stage().gates.open(gate);
                Move::Open(gate)
            }
            Move::Act(index) => {
                let action = actions.remove(index);
                world.act(action);
                Move::Act(action)
            }
            Move::Tick => {
                world.tick();
                Move::Tick
            }
        };
        steps.push((chosen, waiting));
    }
    world.relax();
    world.stage().gates.open_all();
    for _ in 0..10_000 {
        world.stage().run();
        world.check_step();
        if world.has_ended() {
            break;
        }
        world.tick();
    }
    steps
}

/// The choices of a schedule. The first run takes the first alternative everywhere. Each further run changes
/// the last choice that has another alternative left.
#[derive(Debug, Default)]
pub struct Choices {
    /// The chosen alternatives, each with the number of alternatives.
    path: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// Returns the index of one of these alternatives.
    pub fn choose(&mut self, alternatives: usize) -> usize {
        assert!(alternatives > 0);
        if self.next == self.path.len() {
            self.path.push((0, alternatives));
        }
        let (chosen, expected) = self.path[self.next];
        assert_eq!(expected, alternatives, "the scenario is not deterministic");
        self.next += 1;
        chosen
    }

    /// Moves on to the next schedule. Returns whether there is one.
    fn advance(&mut self) -> bool {
        self.path.truncate(self.next);
        self.next = 0;
        while let Some((chosen, alternatives)) = self.path.pop() {
            if chosen + 1 < alternatives {
                self.path.push((chosen + 1, alternatives));
                return true;
            }
        }
        false
    }
}

/// Runs a scenario once for each schedule. Returns the number of schedules.
pub fn run_every_schedule(mut scenario: impl FnMut(&mut Choices)) -> usize {
    let mut choices = Choices::default();
    let mut schedules = 0;
    loop {
        scenario(&mut choices);
        schedules += 1;
        if !choices.advance() {
            return schedules;
        }
    }
}

/// Whether the large scenarios are to be tried as well.
pub fn is_every_interleaving_tried() -> bool {
    std::env::var_os("EVERY_INTERLEAVING").is_some()
}
