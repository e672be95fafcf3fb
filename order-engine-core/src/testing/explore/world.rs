//! The run itself: trouble, healing, and the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use super::clients::{Client, Tracked};
use super::gossip::Mailbox;
use super::hosts::Hosts;
use super::plan::{Action, Plan, PlannedOrder, draw_skew, draw_weather};
use super::verdicts::{Evidence, check_names};
use super::{Exploration, Hazard, Report, Site, Surroundings};
use crate::domain::event::EventRecord;
use crate::domain::ids::{OrderId, TxId};
use crate::domain::order::Order;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::query::OrderQuery;
use crate::ports::runtime::{Clock, Runtime};
use crate::testing::invariants::Violation;
use crate::testing::{
    ChaosConfig, Dice, Executor, ManualClock, RecordingSink, SimulatedProcess, SkewedClock, Trace,
};

/// How often it is looked whether everything has ended.
const LOOK: Duration = Duration::from_secs(2);
/// For how long a process that is tried alone may take for one order.
const ALONE: Duration = Duration::from_mins(5);

/// The tasks in which a process serves its clients.
const HANDLERS: [&str; 3] = ["request", "connection", "shutdown"];

/// What all parts of a run share.
pub(super) struct Shared {
    pub(super) exploration: Exploration,
    pub(super) world: ManualClock,
    pub(super) store_clock: SkewedClock,
    pub(super) executor: Executor,
    pub(super) trace: Trace,
    /// For whoever sits at a port.
    pub(super) dice: Dice,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) site: Box<dyn Site>,
    /// The store itself, without faults.
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) durable: RecordingSink,
    pub(super) best_effort: RecordingSink,
    pub(super) orders: Mutex<Vec<Tracked>>,
    state: Mutex<State>,
}

/// What befalls a process in the middle of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It dies, and is started again after a while.
    Dies,
    /// It is suspended, for longer than a lease lasts.
    Freezes,
}

#[derive(Default)]
struct State {
    signed: BTreeMap<TxId, OrderId>,
    /// The number of the last event of each order that was seen to be committed.
    committed: BTreeMap<OrderId, u64>,
    /// What is about to befall processes in the middle of something.
    fates: Vec<(usize, Fate)>,
    /// How often each befell one.
    faults: BTreeMap<&'static str, u64>,
    is_healed: bool,
    violations: Vec<Violation>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn violate(&self, violation: Violation) {
        self.trace.note(format_args!("VIOLATION {violation}"));
        self.state().violations.push(violation);
    }

    pub(super) fn note_signed(&self, tx: &TxId, order: OrderId) {
        self.state().signed.insert(tx.clone(), order);
    }

    pub(super) fn order_of(&self, tx: &TxId) -> Option<OrderId> {
        self.state().signed.get(tx).copied()
    }

    /// Notes that an order's events were committed up to this number; whether that was not known.
    pub(super) fn is_news(&self, order: OrderId, seq: u64) -> bool {
        let mut state = self.state();
        let known = state.committed.entry(order).or_default();
        let is_news = seq > *known;
        *known = seq.max(*known);
        is_news
    }

    /// Lets something befall a process as soon as nobody is running.
    pub(super) fn befall(&self, process: usize, fate: Fate, kind: &'static str) {
        let mut state = self.state();
        state.fates.push((process, fate));
        *state.faults.entry(kind).or_default() += 1;
    }

    pub(super) fn is_healed(&self) -> bool {
        self.state().is_healed
    }

    /// Whether something may go wrong now.
    pub(super) fn has(&self, hazard: Hazard) -> bool {
        self.exploration.has(hazard) && !self.is_healed()
    }

    fn tracked(&self) -> MutexGuard<'_, Vec<Tracked>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All orders of the store. It is asked directly, and answers at once.
    fn all_orders(&self) -> Vec<Order> {
        let query = OrderQuery { limit: u32::MAX, ..OrderQuery::default() };
        let listed = self.store.list(&query).now_or_never();
        listed.and_then(Result::ok).into_iter().flatten().filter_map(Result::ok).collect()
    }

    fn history(&self, id: OrderId) -> Vec<EventRecord> {
        let events = self.store.events(id, 0, u32::MAX).now_or_never();
        events.and_then(Result::ok).unwrap_or_default()
    }
}

/// A run under way.
pub(super) struct World {
    shared: Arc<Shared>,
    hosts: Arc<Hosts>,
    /// The clients, which nobody kills.
    clients: SimulatedProcess,
    dice: Dice,
    begun: DateTime<Utc>,
    agenda: BinaryHeap<Reverse<(DateTime<Utc>, Action)>>,
    planned: Vec<PlannedOrder>,
    /// Whether tasks woke each other for ever.
    is_stuck: bool,
}

impl World {
    pub(super) fn new<S: Site, E>(
        exploration: &Exploration,
        open: impl FnOnce(&Surroundings) -> Result<S, E>,
    ) -> Result<Self, E> {
        let dice = Dice::new(exploration.seed);
        let (world, executor) = (ManualClock::new(), Executor::seeded(dice.roll()));
        let store_clock = SkewedClock::new(&world, draw_skew(exploration, &dice));
        let runtime = Runtime {
            clock: Arc::new(world.clone()),
            entropy: Arc::new(dice.fork(1)),
            spawner: Arc::new(executor.process()),
        };
        let surroundings = Surroundings {
            exploration: exploration.clone(),
            world: world.clone(),
            store_clock: store_clock.clone(),
            executor: executor.clone(),
            runtime,
        };
        let site = Box::new(open(&surroundings)?);
        let shared = Arc::new(Shared {
            exploration: exploration.clone(),
            trace: Trace::new(&world, exploration.keeps_trace),
            dice: dice.fork(6),
            mailboxes: (0..exploration.processes).map(|_| Mailbox::default()).collect(),
            store: site.open_store(),
            site,
            durable: RecordingSink::durable("ledger"),
            best_effort: RecordingSink::best_effort("sockets"),
            orders: Mutex::default(),
            state: Mutex::default(),
            world: world.clone(),
            store_clock,
            executor: executor.clone(),
        });
        let plan = Plan::draw(exploration, &dice.fork(2));
        let begun = world.now();
        Ok(Self {
            hosts: Hosts::new(&shared, &dice.fork(3)),
            clients: executor.process(),
            agenda: plan.actions.into_iter().map(|(at, action)| Reverse((begun + at, action))).collect(),
            planned: plan.orders,
            begun,
            dice,
            shared,
            is_stuck: false,
        })
    }

    pub(super) fn run(mut self) -> Report {
        let exploration = self.shared.exploration.clone();
        for plan in self.planned.clone() {
            self.client(4).begin(plan);
        }
        self.run_to(self.begun + exploration.trouble);
        self.heal();
        let limit = self.shared.world.now() + exploration.healing;
        while !self.is_stuck && !self.is_over() && self.shared.world.now() < limit {
            self.run_to(self.shared.world.now() + LOOK);
        }
        if exploration.has(Hazard::Alone) && self.is_over() {
            for process in 0..exploration.processes {
                self.try_alone(process);
            }
        }
        self.run_to((self.begun + exploration.at_least).max(self.shared.world.now()));
        self.report()
    }

    /// A client of one more order.
    fn client(&self, purpose: u64) -> Client {
        let order = {
            let mut orders = self.shared.tracked();
            orders.push(Tracked::default());
            orders.len() - 1
        };
        Client {
            hosts: Arc::clone(&self.hosts),
            shared: Arc::clone(&self.shared),
            tasks: self.clients.clone(),
            dice: Arc::new(self.dice.fork(purpose << 32 | order as u64)),
            order,
        }
    }

    /// Runs until a time, and does what is to be done until then.
    fn run_to(&mut self, end: DateTime<Utc>) {
        while !self.is_stuck {
            if !self.shared.executor.run_until_stalled() {
                self.is_stuck = true;
                self.shared.violate(Violation::new("time passes", "tasks wake each other for ever"));
                return;
            }
            self.seal_fates();
            let now = self.shared.world.now();
            if let Some(action) = self.due(now) {
                self.act(action);
                continue;
            }
            let next = self.agenda.peek().map_or(end, |Reverse((at, _))| (*at).min(end));
            if !self.shared.world.advance_to_next(next) && next == end {
                return;
            }
        }
    }

    fn due(&mut self, now: DateTime<Utc>) -> Option<Action> {
        self.agenda.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.agenda.pop().map(|Reverse((_, action))| action)
    }

    /// Lets befall processes what was to befall them.
    fn seal_fates(&mut self) {
        let fates = std::mem::take(&mut self.shared.state().fates);
        let now = self.shared.world.now();
        for (process, fate) in fates {
            let (action, after, back_in_ms) = match fate {
                Fate::Dies => (Action::Kill(process), Action::Start(process), self.dice.between(1, 5_000)),
                Fate::Freezes => {
                    let stops_clock = self.dice.happens(500_000);
                    let action = Action::Suspend(process, stops_clock);
                    (action, Action::Resume(process), self.dice.between(20_000, 70_000))
                }
            };
            self.act(action);
            self.agenda.push(Reverse((now + Duration::from_millis(back_in_ms), after)));
        }
    }

    fn act(&self, action: Action) {
        self.shared.trace.note(format_args!("{action:?}"));
        match action {
            Action::Start(process) => self.hosts.start(process),
            Action::Kill(process) => self.hosts.kill(process),
            Action::Suspend(process, stops_clock) => self.hosts.suspend(process, stops_clock),
            Action::Resume(process) => self.hosts.resume(process),
            Action::ShutDown(process) => self.hosts.shut_down(process),
            Action::ChangeWeather(process) => {
                let weather = draw_weather(&self.shared.exploration, &self.dice);
                self.hosts.chaos(process).set(weather);
            }
            Action::SetStoreDown(is_down) => {
                for process in self.processes() {
                    self.hosts.chaos(process).set_store_down(is_down);
                }
            }
        }
    }

    fn processes(&self) -> std::ops::Range<usize> {
        0..self.shared.exploration.processes
    }

    /// From now on nothing goes wrong any more.
    fn heal(&mut self) {
        self.shared.trace.note(format_args!("the world heals"));
        self.agenda.clear();
        self.shared.state().is_healed = true;
        self.shared.site.heal();
        for process in self.processes() {
            self.hosts.chaos(process).set(ChaosConfig::default());
            self.hosts.chaos(process).set_store_down(false);
            self.hosts.resume(process);
            // One that shuts down never comes back by itself.
            if self.hosts.is_leaving(process) {
                self.hosts.kill(process);
            }
            self.hosts.start(process);
        }
    }

    /// Whether everything has come to its end.
    fn is_over(&self) -> bool {
        let orders = self.shared.all_orders();
        let rests = |order: &Order| order.status().is_terminal() || order.state.quarantine().is_some();
        if !orders.iter().all(rests) {
            return false;
        }
        let ended = |id: OrderId| orders.iter().any(|order| order.id == id && order.status().is_terminal());
        let is_done = |tracked: &Tracked| {
            let mut followers = tracked.followers.iter();
            tracked.busy == 0
                && (!tracked.id.is_some_and(ended)
                    || followers
                        .all(|followed| followed.lock().unwrap_or_else(PoisonError::into_inner).has_ended))
        };
        if !self.shared.tracked().iter().all(is_done) {
            return false;
        }
        let mut told: BTreeMap<OrderId, u64> = BTreeMap::new();
        for event in self.shared.durable.events() {
            let last = told.entry(event.order_id).or_default();
            *last = event.seq.max(*last);
        }
        orders.iter().all(|order| told.get(&order.id) == Some(&order.seq))
    }

    /// Lets one process execute an order while the others are held up: all of it must still work.
    fn try_alone(&mut self, process: usize) {
        self.shared.trace.note(format_args!("p{process} is tried alone"));
        for other in self.processes().filter(|other| *other != process) {
            self.hosts.suspend(other, false);
        }
        self.hosts.ask_only(Some(process));
        let probe = PlannedOrder { is_named: true, ..PlannedOrder::default() };
        self.client(5).begin(probe);
        let limit = self.shared.world.now() + ALONE;
        while !self.is_stuck && !self.is_over() && self.shared.world.now() < limit {
            self.run_to(self.shared.world.now() + LOOK);
        }
        if !self.is_over() {
            let found = format!("p{process} does not finish an order");
            self.shared.violate(Violation::new("each process works in the end", found));
        }
        self.hosts.ask_only(None);
        for other in self.processes() {
            self.hosts.resume(other);
        }
    }

    fn report(self) -> Report {
        let shared = &self.shared;
        let orders = shared.all_orders();
        for violation in check_names(shared, &orders) {
            shared.violate(violation);
        }
        let mut ends: BTreeMap<&'static str, u64> = BTreeMap::new();
        for order in &orders {
            let end =
                if order.state.quarantine().is_some() { "quarantined" } else { order.status().as_str() };
            *ends.entry(end).or_default() += 1;
            let history = shared.history(order.id);
            let found = {
                let tracked = shared.tracked();
                let tracked = tracked.iter().find(|tracked| tracked.id == Some(order.id));
                Evidence { order, history: &history, tracked }.check(shared)
            };
            for violation in found {
                shared.violate(violation);
            }
        }
        self.check_tasks();
        self.check_health();
        let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
        faults.clone_from(&shared.state().faults);
        for process in self.processes() {
            for (kind, count) in self.hosts.chaos(process).counts() {
                *faults.entry(kind).or_default() += count;
            }
        }
        Report {
            seed: shared.exploration.seed,
            simulated: (shared.world.now() - self.begun).to_std().unwrap_or_default(),
            faults,
            ends,
            violations: shared.state().violations.clone(),
            hash: shared.trace.hash(),
            trace: shared.trace.lines(),
        }
    }

    /// Every engine says that it is well.
    fn check_health(&self) {
        for process in self.processes() {
            let Some(engine) = self.hosts.engine(process) else {
                let found = format!("p{process} never started again");
                self.shared.violate(Violation::new("each process works in the end", found));
                continue;
            };
            let asked = async move { engine.health().await };
            let Some(health) = self.shared.executor.block_on(&self.shared.world, asked) else { continue };
            let is_resting = health.panicked.iter().any(|part| part.is_resting);
            let is_idle = health.store.as_ref().is_ok_and(|backlog| {
                let lanes = backlog.execute.orders + backlog.observe.orders;
                lanes + backlog.sinks.iter().map(|sink| sink.orders).sum::<u64>() == 0
            });
            if !is_idle || health.is_stopping || is_resting {
                let found = format!("p{process}: {health:?}");
                self.shared.violate(Violation::new("each process is well in the end", found));
            }
        }
    }

    /// No task of an engine, and none of the clients, ended by a panic.
    fn check_tasks(&self) {
        let exploration = &self.shared.exploration;
        let hosts = self.processes().map(|process| self.hosts.process(process));
        let of_hosts = hosts.filter(|_| exploration.has(Hazard::Tasks));
        for process in of_hosts.chain([self.clients.clone()]) {
            // A host's own handler that calls a store may end by the store's panic.
            let of_engine = |(name, _): &(&str, u64)| !HANDLERS.contains(name);
            for (name, count) in process.panicked().into_iter().filter(of_engine) {
                let found = format!("'{name}', {count} times");
                self.shared.violate(Violation::new("no task ends by a panic", found));
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold engines, which hold the executor, which holds the tasks.
        self.clients.kill();
        for process in self.processes() {
            self.hosts.kill(process);
        }
    }
}
