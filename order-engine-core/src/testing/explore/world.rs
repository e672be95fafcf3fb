//! The run itself: the time of faults, the time without them, and the checks at the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::checks::{Evidence, check_names};
use super::clients::Client;
use super::exploration::Exploration;
use super::hazard::Hazard;
use super::hosts::Hosts;
use super::plan::{Action, Plan, PlannedOrder, draw_faults, draw_skew};
use super::report::Report;
use super::shared::{ProcessFault, Shared};
use super::site::{Site, Surroundings};
use super::tracked::Tracked;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::ports::runtime::{Clock, Runtime};
use crate::testing::chaos::ChaosConfig;
use crate::testing::clock::ManualClock;
use crate::testing::dice::Dice;
use crate::testing::executor::{Executor, SimulatedProcess};
use crate::testing::invariants::Violation;
use crate::testing::skew::SkewedClock;

/// The time between two checks whether everything has ended.
const POLL: Duration = Duration::from_secs(2);
/// The longest time that a process may take for one order while it is tested alone.
const ALONE_LIMIT: Duration = Duration::from_mins(5);

/// The names of the tasks in which a process serves its clients.
const HANDLERS: [&str; 3] = ["request", "connection", "shutdown"];

/// A run under way.
pub(super) struct World {
    shared: Arc<Shared>,
    hosts: Arc<Hosts>,
    /// The tasks of the clients, which are never killed.
    clients: SimulatedProcess,
    dice: Dice,
    begun: DateTime<Utc>,
    agenda: BinaryHeap<Reverse<(DateTime<Utc>, Action)>>,
    planned: Vec<PlannedOrder>,
    /// Whether tasks wake each other for ever.
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
            store_clock,
            executor: executor.clone(),
            runtime,
        };
        let site = Box::new(open(&surroundings)?);
        let shared = Arc::new(Shared::new(surroundings, site, dice.fork(6)));
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
            self.run_to(self.shared.world.now() + POLL);
        }
        if exploration.has(Hazard::Alone) && self.is_over() {
            for process in 0..exploration.processes {
                self.test_alone(process);
            }
        }
        self.run_to((self.begun + exploration.at_least).max(self.shared.world.now()));
        self.report()
    }

    /// Returns a client of one more order.
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

    /// Runs until a time, with all actions that are planned until then.
    fn run_to(&mut self, end: DateTime<Utc>) {
        while !self.is_stuck {
            if !self.shared.executor.run_until_stalled() {
                self.is_stuck = true;
                self.shared.violate(Violation::new("time passes", "tasks wake each other for ever"));
                return;
            }
            self.apply_pending_faults();
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

    /// Applies the faults that were injected in the middle of calls, and plans the recovery from each.
    fn apply_pending_faults(&mut self) {
        let now = self.shared.world.now();
        for (process, fault) in self.shared.take_pending_faults() {
            let (action, recovery, after_ms) = match fault {
                ProcessFault::Crash => {
                    (Action::Kill(process), Action::Start(process), self.dice.between(1, 5_000))
                }
                ProcessFault::Suspension => {
                    let stops_clock = self.dice.happens(500_000);
                    let action = Action::Suspend(process, stops_clock);
                    (action, Action::Resume(process), self.dice.between(20_000, 70_000))
                }
            };
            self.act(action);
            self.agenda.push(Reverse((now + Duration::from_millis(after_ms), recovery)));
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
            Action::ChangeFaults(process) => {
                let faults = draw_faults(&self.shared.exploration, &self.dice);
                self.hosts.chaos(process).set(faults);
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

    /// Ends all faults.
    fn heal(&mut self) {
        self.shared.trace.note(format_args!("the world heals"));
        self.agenda.clear();
        self.shared.heal();
        for process in self.processes() {
            self.hosts.chaos(process).set(ChaosConfig::default());
            self.hosts.chaos(process).set_store_down(false);
            self.hosts.resume(process);
            // A process that was shut down does not start again by itself.
            if self.hosts.is_leaving(process) {
                self.hosts.kill(process);
            }
            self.hosts.start(process);
        }
    }

    /// Returns whether every order has ended, and every sink and subscriber has received its events.
    fn is_over(&self) -> bool {
        let orders = self.shared.all_orders();
        let is_at_rest = |order: &Order| order.status().is_terminal() || order.state.quarantine().is_some();
        if !orders.iter().all(is_at_rest) {
            return false;
        }
        let ended = |id: OrderId| orders.iter().any(|order| order.id == id && order.status().is_terminal());
        let is_done = |tracked: &Tracked| {
            tracked.busy == 0
                && (!tracked.id.is_some_and(ended)
                    || tracked.followers.iter().all(|follower| follower.state().has_ended))
        };
        if !self.shared.tracked().iter().all(is_done) {
            return false;
        }
        let mut delivered: BTreeMap<OrderId, u64> = BTreeMap::new();
        for event in self.shared.durable.events() {
            let last = delivered.entry(event.order_id).or_default();
            *last = event.seq.max(*last);
        }
        orders.iter().all(|order| delivered.get(&order.id) == Some(&order.seq))
    }

    /// Lets one process execute an order while the others are suspended: every part of it must still work.
    fn test_alone(&mut self, process: usize) {
        self.shared.trace.note(format_args!("p{process} is tried alone"));
        for other in self.processes().filter(|other| *other != process) {
            self.hosts.suspend(other, false);
        }
        self.hosts.ask_only(Some(process));
        let probe = PlannedOrder { is_named: true, ..PlannedOrder::default() };
        self.client(5).begin(probe);
        let limit = self.shared.world.now() + ALONE_LIMIT;
        while !self.is_stuck && !self.is_over() && self.shared.world.now() < limit {
            self.run_to(self.shared.world.now() + POLL);
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
            let history = shared.events(order.id, 0, u32::MAX).unwrap_or_default();
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
        let mut faults = shared.fault_counts();
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
            violations: shared.violations(),
            hash: shared.trace.hash(),
            trace: shared.trace.lines(),
        }
    }

    /// Checks that every engine reports that it is healthy and idle.
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

    /// Checks that no task of an engine or of a client has ended with a panic.
    fn check_tasks(&self) {
        let exploration = &self.shared.exploration;
        let hosts = self.processes().map(|process| self.hosts.process(process));
        let of_hosts = hosts.filter(|_| exploration.has(Hazard::Tasks));
        for process in of_hosts.chain([self.clients.clone()]) {
            // A handler of the host that calls the store may end with the store's panic.
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
