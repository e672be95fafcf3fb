//! Fee bumps, cancels, foreign transactions and crashes on a chain with nonces, in every order.
//!
//! `cargo test -p order-engine-core --all-features --test interleavings_nonces -- --nocapture` prints the
//! number of schedules of each scenario. With `EVERY_INTERLEAVING=1`, best with `--release`, it tries the
//! large scenarios as well.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

#[path = "common/schedules.rs"]
mod schedules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use order_engine_core::testing::invariants::{check_executions, check_history};
use order_engine_core::testing::{NonceVenue, request};
use order_engine_core::{
    AccountId, DeathProof, EngineConfig, EventRecord, FeeBumpPolicy, Order, OrderEvent, OrderId, Purpose,
    SignedTx, TxId,
};
use schedules::{
    Answer, Process, Stage, World, assert_answer, assert_no_task_panicked, cancel,
    is_every_interleaving_tried, play, run_every_schedule,
};

/// The time by which the clock advances while every task waits for it: enough for an observation.
const TICK: Duration = Duration::from_millis(300);
/// After this time without a node that knows it a transaction is sent again: after two ticks.
const RESEND: Duration = Duration::from_millis(500);
/// A fee that no transaction pays: blocks stay empty.
const NO_FEE_IS_ENOUGH: u128 = u128::MAX;

/// An event that happens once, at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Another process gets a cancel of the first order.
    Cancel,
    /// The first order's process dies, and its leases expire before another one starts.
    Crash,
    /// A block takes the transaction that was sent first, of those with the wallet's next nonce.
    LandFirst,
    /// A block takes the one that was sent last, if there are several.
    LandLast,
    /// Somebody else uses the wallet's next nonce.
    UseElsewhere,
}

/// How a schedule begins, and what happens in it.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    /// How many orders there are, each in a process of its own.
    orders: usize,
    /// Whether the orders have been sent before the first choice.
    are_sent: bool,
    /// Whether blocks take transactions by themselves as time passes.
    is_mining: bool,
    /// How many of the newest blocks are not final.
    depth: usize,
    /// How often time may pass between two choices.
    ticks_max: usize,
    /// Whether the wallet's nonces are opaque values instead of numbers.
    is_opaque: bool,
    actions: &'static [Action],
}

/// Orders that share a wallet.
struct Wallet {
    scenario: Scenario,
    stage: Stage,
    venue: Arc<NonceVenue>,
    workers: Vec<Process>,
    elsewhere: Process,
    orders: Vec<OrderId>,
    answer: Answer,
    ticks: usize,
    /// How many of the sent transactions were looked up among the committed ones.
    checked: usize,
}

fn wallet() -> AccountId {
    "wallet".into()
}

impl Wallet {
    fn new(scenario: Scenario) -> Self {
        let venue = NonceVenue::new([wallet()]);
        let venue = Arc::new(if scenario.is_opaque { venue.with_opaque_values() } else { venue });
        venue.set_depth(scenario.depth);
        venue.set_least_fee(NO_FEE_IS_ENOUGH);
        let config = EngineConfig::default().with_resend_interval(RESEND);
        let fee_bumps = FeeBumpPolicy::default().with_after_heights(1).with_max_bumps(1);
        let stage = Stage::new(venue.clone(), config, fee_bumps);
        stage.gates.open_all();
        let elsewhere = stage.start();
        let orders: Vec<_> = (0..scenario.orders).map(|_| stage.submit(&elsewhere, request())).collect();
        if !scenario.are_sent {
            stage.gates.close();
        }
        let start = |order: &OrderId| {
            let worker = stage.start();
            stage.work(&worker, *order, TICK);
            worker
        };
        let workers = orders.iter().map(start).collect();
        if scenario.are_sent {
            stage.run();
            assert_eq!(venue.sent().len(), scenario.orders);
            stage.gates.close();
        }
        if scenario.is_mining {
            venue.set_least_fee(0);
        }
        let answer = Answer::default();
        Self { scenario, stage, venue, workers, elsewhere, orders, answer, ticks: 0, checked: 0 }
    }

    fn histories(&self) -> Vec<(Order, Vec<EventRecord>)> {
        self.orders.iter().map(|id| (self.stage.order(*id), self.stage.events(*id))).collect()
    }

    /// Returns the transaction that an action makes a block take, if there is one.
    fn to_land(&self, action: Action) -> Option<TxId> {
        let mut candidates = self.venue.candidates(&wallet());
        match action {
            Action::LandFirst => candidates.into_iter().next(),
            _ if candidates.len() > 1 => candidates.pop(),
            _ => None,
        }
    }

    /// Whether each order has sent a transaction.
    fn are_all_sent(&self) -> bool {
        let sent: BTreeSet<_> = self.venue.sent().into_iter().collect();
        sent.len() >= self.orders.len()
    }

    fn has(&self, action: Action) -> bool {
        self.scenario.actions.contains(&action)
    }
}

impl World for Wallet {
    type Action = Action;

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn is_possible(&self, action: Action) -> bool {
        match action {
            Action::LandFirst | Action::LandLast => self.to_land(action).is_some(),
            Action::Cancel | Action::Crash | Action::UseElsewhere => true,
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Cancel => cancel(&self.elsewhere, self.orders[0], &self.answer),
            Action::Crash => {
                self.stage.crash(&self.workers[0], TICK);
                self.workers[0] = self.stage.start();
                self.stage.work(&self.workers[0], self.orders[0], TICK);
            }
            Action::LandFirst | Action::LandLast => {
                let tx_id = self.to_land(action).expect("the action is possible");
                assert!(self.venue.land(&tx_id));
            }
            Action::UseElsewhere => self.venue.use_elsewhere(&wallet()),
        }
    }

    fn may_tick(&self) -> bool {
        self.ticks < self.scenario.ticks_max && !self.has_ended()
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.stage.clock.advance(TICK);
        self.venue.mine(1);
    }

    fn is_open(&self) -> bool {
        let is_unanswered = self.has(Action::Cancel) && self.answer.lock().unwrap().is_none();
        is_unanswered || (self.orders.len() > 1 && !self.are_all_sent() && !self.has_ended())
    }

    fn has_ended(&self) -> bool {
        self.orders.iter().all(|id| self.stage.is_terminal(*id))
    }

    /// Checks that everything that was sent by now is committed by now.
    fn check_step(&mut self) {
        let sent = self.venue.sent();
        if sent.len() == self.checked {
            return;
        }
        let histories = self.histories();
        let committed: BTreeSet<_> =
            histories.iter().flat_map(|(_, history)| signed(history)).map(|(_, _, tx)| &tx.id).collect();
        for tx_id in &sent[self.checked..] {
            assert!(committed.contains(tx_id), "{tx_id} was sent before it was committed: {histories:#?}");
        }
        self.checked = sent.len();
    }

    fn relax(&mut self) {
        self.venue.set_least_fee(0);
    }
}

impl Drop for Wallet {
    fn drop(&mut self) {
        // The tasks hold the engine, which holds the executor, which holds the tasks.
        for process in self.workers.iter().chain([&self.elsewhere]) {
            process.tasks.kill();
        }
    }
}

/// Returns what was signed: in which attempt, what for, and the transaction.
fn signed(history: &[EventRecord]) -> impl Iterator<Item = (u32, Purpose, &SignedTx)> {
    history.iter().filter_map(|record| match &record.event {
        OrderEvent::TransactionSigned { tx } => Some((record.attempt, Purpose::Original, &**tx)),
        OrderEvent::SiblingSigned { purpose, tx } => Some((record.attempt, *purpose, &**tx)),
        _ => None,
    })
}

/// How an attempt with a signed transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AttemptEnd {
    Confirmed(TxId),
    Cancelled(TxId),
    Superseded,
    Other(String),
}

/// Returns how the attempts ended that have signed transactions, as the history tells it.
fn told_ends(history: &[EventRecord]) -> BTreeMap<u32, AttemptEnd> {
    let end = |record: &EventRecord| {
        let end = match &record.event {
            OrderEvent::Confirmed { tx_id, .. } => AttemptEnd::Confirmed(tx_id.clone()),
            OrderEvent::TransactionDied { proof: DeathProof::Cancelled { tx_id }, .. } => {
                AttemptEnd::Cancelled(tx_id.clone())
            }
            OrderEvent::TransactionDied { proof: DeathProof::Superseded { .. }, .. } => {
                AttemptEnd::Superseded
            }
            OrderEvent::TransactionDied { proof, .. } => AttemptEnd::Other(format!("{proof:?}")),
            _ => return None,
        };
        Some((record.attempt, end))
    };
    history.iter().filter_map(end).collect()
}

/// Returns how the attempts ended that have signed transactions, as the chain tells it: by who used their nonce.
fn true_ends(history: &[EventRecord], venue: &NonceVenue) -> BTreeMap<u32, AttemptEnd> {
    let (mut ends, used_by) = (BTreeMap::new(), venue.landed(&wallet()));
    for (attempt, purpose, tx) in signed(history) {
        let number = tx.validity.nonce().and_then(|nonce| venue.number_of(nonce));
        let end = match used_by.get(number.map_or(usize::MAX, |number| usize::try_from(number).unwrap())) {
            Some(Some(id)) if *id == tx.id && purpose.is_swap() => AttemptEnd::Confirmed(id.clone()),
            Some(Some(id)) if *id == tx.id => AttemptEnd::Cancelled(id.clone()),
            Some(Some(_)) => continue,
            Some(None) => AttemptEnd::Superseded,
            None => AttemptEnd::Other(format!("nobody used the nonce of {}", tx.id)),
        };
        ends.insert(attempt, end);
    }
    ends
}

/// Checks what holds at the end of every schedule.
fn check(world: &Wallet, steps: &dyn std::fmt::Debug) {
    for process in world.workers.iter().chain([&world.elsewhere]) {
        assert_no_task_panicked(process);
    }
    let histories = world.histories();
    let used_by = world.venue.landed(&wallet());
    // The text is long, and only a failure needs it.
    let context = std::fmt::from_fn(|f| write!(f, "{steps:#?}\n{used_by:?}\n{histories:#?}"));
    let mut owners = BTreeMap::new();
    let mut attempts = 0;
    for (order, history) in &histories {
        assert!(order.status().is_terminal(), "an order did not end: {context}");
        assert_eq!(check_history(order, history), [], "{context}");
        assert_eq!(check_executions(order, world.venue.executions(order.id)), [], "{context}");
        assert_eq!(
            told_ends(history),
            true_ends(history, &world.venue),
            "the chain says otherwise: {context}"
        );
        for (attempt, _, tx) in signed(history) {
            let owner = owners.entry(tx.validity.nonce()).or_insert((order.id, attempt));
            assert_eq!(*owner, (order.id, attempt), "a nonce was given out twice: {context}");
        }
        attempts += order.state.attempt();
    }
    assert_answer(&world.answer, &histories[0].0, &context);
    if !world.scenario.are_sent && world.orders.len() == 1 {
        // A nonce may have been prepared and given up.
        assert_next_order_lands(world, used_by.len(), &context);
    }
    // A nonce that another order took uses no attempt. One that somebody else used does, and so does a quote that
    // grew old while nobody had the order.
    let excuses =
        [Action::UseElsewhere, Action::Crash].into_iter().filter(|excuse| world.has(*excuse)).count();
    let attempts_max = world.orders.len() * (1 + excuses);
    assert!(attempts as usize <= attempts_max, "{attempts} attempts: {context}");
}

/// Checks that the next order of the wallet gets its next nonce, and is executed.
fn assert_next_order_lands(world: &Wallet, nonce: usize, context: &dyn std::fmt::Display) {
    let id = world.stage.submit(&world.elsewhere, request());
    world.stage.work(&world.elsewhere, id, TICK);
    for _ in 0..20 {
        world.stage.run();
        world.stage.clock.advance(TICK);
        world.venue.mine(1);
    }
    let history = world.stage.events(id);
    let nonces = signed(&history).filter_map(|(_, _, tx)| tx.validity.nonce());
    let numbers: Vec<_> = nonces.map(|nonce| world.venue.number_of(nonce)).collect();
    assert_eq!(numbers, [Some(nonce as u64)], "there is a gap: {history:#?}\n{context}");
    assert_eq!(world.venue.executions(id), 1, "the wallet is jammed: {history:#?}\n{context}");
}

/// Tries a scenario in every order, or its larger form if the large ones are to be tried: with numbers as nonces, and with
/// opaque values unless several orders are to have sent with the wallet, of which those let only one.
fn every_interleaving(scenario: Scenario, large: Scenario) {
    let scenario = if is_every_interleaving_tried() { large } else { scenario };
    every_schedule(scenario);
    if scenario.orders == 1 || !scenario.are_sent {
        every_schedule(Scenario { is_opaque: true, ..scenario });
    }
}

fn every_schedule(scenario: Scenario) {
    let schedules = run_every_schedule(|choices| {
        let mut world = Wallet::new(scenario);
        let steps = play(choices, &mut world, scenario.actions);
        check(&world, &steps);
    });
    println!("{scenario:?}: {schedules} schedules");
    assert!(schedules >= 5, "the orders pass the gates");
}

/// An order that was sent, and that no block takes by itself: its fee is raised at the first tick.
const STUCK: Scenario = Scenario {
    orders: 1,
    are_sent: true,
    is_mining: false,
    depth: 0,
    ticks_max: 1,
    is_opaque: false,
    actions: &[],
};
/// An order that is not sent yet, on a chain that takes it in the next block.
const FRESH: Scenario = Scenario { are_sent: false, is_mining: true, ticks_max: 3, ..STUCK };

#[test]
fn a_fee_bump_and_a_cancel() {
    let scenario = Scenario { ticks_max: 3, actions: &[Action::Cancel], ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 5, ..scenario });
}

#[test]
fn a_fee_bump_and_a_cancel_while_the_first_lands() {
    let scenario = Scenario { actions: &[Action::Cancel, Action::LandFirst], ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 3, depth: 1, ..scenario });
}

#[test]
fn a_fee_bump_and_a_cancel_while_the_last_lands() {
    let scenario = Scenario { actions: &[Action::Cancel, Action::LandLast], ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 3, depth: 1, ..scenario });
}

#[test]
fn a_cancel_after_the_signing_and_a_crash() {
    let scenario = Scenario { actions: &[Action::Cancel, Action::Crash], ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 2, ..scenario });
}

#[test]
fn a_cancel_after_the_signing_a_landing_and_a_crash() {
    let actions = &[Action::Cancel, Action::LandFirst, Action::Crash];
    let scenario = Scenario { ticks_max: 0, actions, ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 1, ..scenario });
}

#[test]
fn a_fee_bump_a_landing_and_a_crash() {
    let scenario = Scenario { ticks_max: 2, actions: &[Action::LandFirst, Action::Crash], ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 4, depth: 1, ..scenario });
}

#[test]
fn a_cancel_at_any_time() {
    let scenario = Scenario { actions: &[Action::Cancel], ..FRESH };
    every_interleaving(
        scenario,
        Scenario { ticks_max: 1, actions: &[Action::Cancel, Action::Crash], ..FRESH },
    );
}

#[test]
fn two_orders_of_two_processes() {
    let scenario = Scenario { orders: 2, ..FRESH };
    every_interleaving(scenario, Scenario { actions: &[Action::UseElsewhere], ..scenario });
}

#[test]
fn a_cancel_before_another_order_of_the_wallet() {
    let scenario = Scenario { orders: 2, actions: &[Action::Cancel], ..STUCK };
    every_interleaving(scenario, Scenario { depth: 1, ..scenario });
}

#[test]
fn a_foreign_transaction_before_two_orders() {
    let scenario = Scenario { orders: 2, actions: &[Action::UseElsewhere, Action::LandFirst], ..STUCK };
    every_interleaving(scenario, Scenario { depth: 1, ..scenario });
}

#[test]
fn a_foreign_transaction_and_a_crash() {
    let scenario = Scenario { actions: &[Action::UseElsewhere, Action::Crash], ..FRESH };
    every_interleaving(scenario, Scenario { ticks_max: 6, depth: 1, ..scenario });
}

#[test]
fn a_foreign_transaction_a_fee_bump_and_a_crash() {
    let scenario = Scenario { ticks_max: 2, actions: &[Action::UseElsewhere, Action::Crash], ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 4, depth: 1, ..scenario });
}

#[test]
fn a_foreign_transaction_and_a_cancel() {
    let scenario = Scenario { actions: &[Action::UseElsewhere, Action::Cancel], ..STUCK };
    every_interleaving(scenario, Scenario { ticks_max: 2, depth: 1, ..scenario });
}
