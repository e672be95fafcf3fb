//! The state that all parts of a run share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;

use super::exploration::Exploration;
use super::hazard::Hazard;
use super::mailbox::Mailbox;
use super::site::{Site, Surroundings};
use super::tracked::Tracked;
use crate::domain::event::EventRecord;
use crate::domain::ids::{OrderId, TxId};
use crate::domain::order::Order;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::query::OrderQuery;
use crate::testing::clock::ManualClock;
use crate::testing::dice::Dice;
use crate::testing::executor::Executor;
use crate::testing::invariants::Violation;
use crate::testing::sink::RecordingSink;
use crate::testing::skew::SkewedClock;
use crate::testing::trace::Trace;

/// The state that all parts of a run share.
pub(super) struct Shared {
    pub(super) exploration: Exploration,
    pub(super) world: ManualClock,
    pub(super) store_clock: SkewedClock,
    pub(super) executor: Executor,
    pub(super) trace: Trace,
    /// The dice of the interceptors at the ports.
    pub(super) dice: Dice,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) site: Box<dyn Site>,
    /// The store itself, without faults.
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) durable: RecordingSink,
    pub(super) best_effort: RecordingSink,
    tracked: Mutex<Vec<Tracked>>,
    state: Mutex<State>,
}

/// A fault of a process in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessFault {
    /// The process dies, and is started again after a while.
    Crash,
    /// The process is suspended for longer than a lease lasts.
    Suspension,
}

#[derive(Default)]
struct State {
    signed: BTreeMap<TxId, OrderId>,
    /// The number of the last event of each order that was seen to be committed.
    committed: BTreeMap<OrderId, u64>,
    /// The faults that are still to happen to processes.
    pending_faults: Vec<(usize, ProcessFault)>,
    /// The number of faults of each kind.
    fault_counts: BTreeMap<&'static str, u64>,
    is_healed: bool,
    violations: Vec<Violation>,
}

impl Shared {
    pub(super) fn new(surroundings: Surroundings, site: Box<dyn Site>, dice: Dice) -> Self {
        let Surroundings { exploration, world, store_clock, executor, .. } = surroundings;
        Self {
            trace: Trace::new(&world, exploration.keeps_trace),
            dice,
            mailboxes: (0..exploration.processes).map(|_| Mailbox::default()).collect(),
            store: site.open_store(),
            site,
            durable: RecordingSink::durable("ledger"),
            best_effort: RecordingSink::best_effort("sockets"),
            tracked: Mutex::default(),
            state: Mutex::default(),
            exploration,
            world,
            store_clock,
            executor,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the orders as their clients know them.
    pub(super) fn tracked(&self) -> MutexGuard<'_, Vec<Tracked>> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a guarantee that was broken.
    pub(super) fn violate(&self, violation: Violation) {
        self.trace.note(format_args!("VIOLATION {violation}"));
        self.state().violations.push(violation);
    }

    /// Returns the guarantees that were broken so far.
    pub(super) fn violations(&self) -> Vec<Violation> {
        self.state().violations.clone()
    }

    pub(super) fn record_signed(&self, tx: &TxId, order: OrderId) {
        self.state().signed.insert(tx.clone(), order);
    }

    /// Returns the order for which a transaction was signed.
    pub(super) fn order_of(&self, tx: &TxId) -> Option<OrderId> {
        self.state().signed.get(tx).copied()
    }

    /// Records that an order's events up to this number were committed. Returns whether that was unknown.
    pub(super) fn record_committed(&self, order: OrderId, seq: u64) -> bool {
        let mut state = self.state();
        let known = state.committed.entry(order).or_default();
        let is_new = seq > *known;
        *known = seq.max(*known);
        is_new
    }

    /// Makes a fault happen to a process as soon as no task runs.
    pub(super) fn inject(&self, process: usize, fault: ProcessFault, kind: &'static str) {
        let mut state = self.state();
        state.pending_faults.push((process, fault));
        *state.fault_counts.entry(kind).or_default() += 1;
    }

    /// Returns the faults that are to happen to processes now.
    pub(super) fn take_pending_faults(&self) -> Vec<(usize, ProcessFault)> {
        std::mem::take(&mut self.state().pending_faults)
    }

    /// Returns the number of injected faults of each kind.
    pub(super) fn fault_counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().fault_counts.clone()
    }

    /// Ends all faults.
    pub(super) fn heal(&self) {
        self.state().is_healed = true;
        self.site.heal();
    }

    pub(super) fn is_healed(&self) -> bool {
        self.state().is_healed
    }

    /// Returns whether a hazard may occur now.
    pub(super) fn has(&self, hazard: Hazard) -> bool {
        self.exploration.has(hazard) && !self.is_healed()
    }

    /// Returns all orders of the store, which is called without faults and answers at once.
    pub(super) fn all_orders(&self) -> Vec<Order> {
        let query = OrderQuery::new(u32::MAX);
        let listed = self.store.list(&query).now_or_never();
        listed.and_then(Result::ok).into_iter().flatten().filter_map(Result::ok).collect()
    }

    /// Returns at most `limit` events of an order after the event numbered `after`, from the store without
    /// faults; `None` if it fails.
    pub(super) fn events(&self, id: OrderId, after: u64, limit: u32) -> Option<Vec<EventRecord>> {
        self.store.events(id, after, limit).now_or_never()?.ok()
    }
}
