//! A cancel, a deadline and a crash against every step of a worker, in every order.
//!
//! `cargo test -p order-engine-core --all-features --test interleavings -- --nocapture` prints the number of
//! schedules of each scenario. With `EVERY_INTERLEAVING=1`, best with `--release`, it tries the large
//! scenarios as well.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

#[path = "common/schedules.rs"]
mod schedules;

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::testing::{ScriptedVenue, Sending, request};
use order_engine_core::{
    Deadline, EngineConfig, EventRecord, FeeBumpPolicy, OrderEvent, OrderId, OrderState, Status,
};
use schedules::{
    Answer, Process, Stage, World, assert_answer, assert_no_task_panicked, cancel,
    is_every_interleaving_tried, play, run_every_schedule,
};

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

/// One order, which a worker executes on a chain that grows with time.
struct Lone {
    stage: Stage,
    venue: Arc<ScriptedVenue>,
    worker: Process,
    elsewhere: Process,
    order: OrderId,
    wants_cancel: bool,
    answer: Answer,
    /// Whether no signed transaction was committed when the deadline passed.
    is_too_late: bool,
}

impl Lone {
    fn new(fate: Sending, actions: &[Action]) -> Self {
        let venue = Arc::new(ScriptedVenue::new());
        venue.next_sendings([fate]);
        let stage = Stage::new(venue.clone(), EngineConfig::default(), FeeBumpPolicy::default());
        let elsewhere = stage.start();
        let mut request = request();
        let has_deadline = actions.contains(&Action::PassDeadline);
        request.deadline = has_deadline.then_some(Deadline::After(Duration::from_millis(TTL_MS)));
        stage.gates.open_all();
        let order = stage.submit(&elsewhere, request);
        stage.gates.close();
        let worker = stage.start();
        stage.work(&worker, order, TICK);
        let is_cancel = |action: &Action| matches!(action, Action::CancelHere | Action::CancelElsewhere);
        Self {
            stage,
            venue,
            worker,
            elsewhere,
            order,
            wants_cancel: actions.iter().any(is_cancel),
            answer: Answer::default(),
            is_too_late: false,
        }
    }
}

impl World for Lone {
    type Action = Action;

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn act(&mut self, action: Action) {
        let Self { stage, order, answer, .. } = self;
        match action {
            Action::CancelHere => cancel(&self.worker, *order, answer),
            Action::CancelElsewhere => cancel(&self.elsewhere, *order, answer),
            Action::PassDeadline => {
                let is_signed =
                    |record: &EventRecord| matches!(record.event, OrderEvent::TransactionSigned { .. });
                self.is_too_late = !stage.events(*order).iter().any(is_signed);
                stage.clock.advance(Duration::from_millis(TTL_MS));
            }
            Action::Crash => {
                stage.crash(&self.worker, TICK);
                self.worker = stage.start();
                stage.work(&self.worker, *order, TICK);
            }
        }
    }

    fn may_tick(&self) -> bool {
        !self.has_ended()
    }

    fn tick(&mut self) {
        self.stage.clock.advance(TICK);
        self.venue.grow(HEIGHTS_A_TICK);
    }

    fn is_open(&self) -> bool {
        self.wants_cancel && self.answer.lock().unwrap().is_none()
    }

    fn has_ended(&self) -> bool {
        self.stage.is_terminal(self.order)
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        // The tasks hold the engine, which holds the executor, which holds the tasks.
        self.worker.tasks.kill();
        self.elsewhere.tasks.kill();
    }
}

/// Checks what holds at the end of every schedule.
fn check(world: &Lone, steps: &dyn std::fmt::Debug) {
    assert_no_task_panicked(&world.worker);
    assert_no_task_panicked(&world.elsewhere);
    let (order, history) = (world.stage.order(world.order), world.stage.events(world.order));
    let executions = world.venue.executions(world.order);
    // The text is long, and only a failure needs it.
    let context = std::fmt::from_fn(|f| write!(f, "{steps:#?}\n{history:#?}"));
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
    assert_answer(&world.answer, &order, &context);
}

/// The fates of the first transaction.
const FATES: [Sending; 5] =
    [Sending::Lands, Sending::LandsUnheard, Sending::Dropped, Sending::Reverts, Sending::Refused];

/// Tries these actions in every order, with these fates of the transaction, or with every fate if the
/// environment variable `EVERY_INTERLEAVING` is set.
fn every_interleaving(actions: &[Action], fates: &[Sending]) {
    let fates = if is_every_interleaving_tried() { &FATES } else { fates };
    for fate in fates {
        let schedules = run_every_schedule(|choices| {
            let mut world = Lone::new(*fate, actions);
            let steps = play(choices, &mut world, actions);
            check(&world, &steps);
        });
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
