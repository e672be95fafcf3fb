//! Bulkheads: one pair of tokens never takes all worker slots of a process, and neither does one venue of
//! several.
//!
//! While the orders of a pair pass, an order that finds no room keeps its slot and waits for the next one to
//! leave. A pair whose orders hang never gets there: its further orders go back to the store, so that orders of
//! other pairs have their turn. The same holds for a venue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::domain::order::OrderRequest;
use crate::execution::workers::Workers;
use crate::planted::planted;
use crate::ports::runtime::Runtime;

/// How long no order may have left while another waits for room. A step of a healthy venue is
/// quicker.
const PATIENCE: Duration = Duration::from_secs(1);

/// The tokens that are sold and bought.
pub(crate) type Pair = (String, String);

/// Returns the pair of a request.
pub(crate) fn pair_of(request: &OrderRequest) -> Pair {
    (request.input.mint.clone(), request.output.mint.clone())
}

/// Counts the orders that this process executes, by what they share.
#[derive(Debug)]
pub(crate) struct Bulkheads<K> {
    runtime: Runtime,
    workers: Arc<Workers>,
    loads: Mutex<BTreeMap<K, Load>>,
}

#[derive(Debug)]
struct Load {
    executing: usize,
    /// When an order last left.
    left_at: DateTime<Utc>,
    /// Notifies when an order leaves. It wakes in the order of waiting, as a watch channel does not.
    left: Arc<Notify>,
}

/// The permit to execute an order. The order leaves when the permit is dropped.
#[derive(Debug)]
pub(crate) struct BulkheadPermit<K: Ord> {
    bulkheads: Arc<Bulkheads<K>>,
    key: K,
}

/// No order left soon enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Congested;

impl<K: Ord + Clone> Bulkheads<K> {
    pub(crate) fn new(workers: Arc<Workers>, runtime: Runtime) -> Arc<Self> {
        Arc::new(Self { runtime, workers, loads: Mutex::default() })
    }

    /// Returns how many orders of one kind are executed at a time: three quarters of the slots of all workers
    /// of the process; a single slot is not divided. Without workers there are no slots to divide.
    fn capacity(&self) -> usize {
        match self.workers.slots() {
            0 => usize::MAX,
            slots => slots - slots / 4,
        }
    }

    /// Waits for room among the orders of a kind, as long as they pass.
    pub(crate) async fn enter(self: &Arc<Self>, key: K) -> Result<BulkheadPermit<K>, Congested> {
        loop {
            let (left, patience) = match self.try_enter(&key) {
                Ok(permit) => return Ok(permit),
                Err(wait) => wait.ok_or(Congested)?,
            };
            tokio::select! {
                biased;
                () = left => {}
                () = self.runtime.clock.sleep(patience) => {}
            }
        }
    }

    /// Enters if there is room. If there is none, the error says what to wait for, and how long: nothing, if no
    /// such order has left lately.
    fn try_enter(self: &Arc<Self>, key: &K) -> Result<BulkheadPermit<K>, Option<(OwnedNotified, Duration)>> {
        let now = self.runtime.now();
        let mut loads = self.loads();
        let load = loads.entry(key.clone()).or_insert_with(|| Load {
            executing: 0,
            left_at: now,
            left: Arc::default(),
        });
        if load.executing >= self.capacity() && !planted!(NoBulkhead) {
            let still = (now - load.left_at).to_std().unwrap_or_default();
            let patience = PATIENCE.checked_sub(still).filter(|patience| !patience.is_zero());
            return Err(patience.map(|patience| (Arc::clone(&load.left).notified_owned(), patience)));
        }
        load.executing += 1;
        Ok(BulkheadPermit { bulkheads: Arc::clone(self), key: key.clone() })
    }
}

impl<K: Ord> Bulkheads<K> {
    fn leave(&self, key: &K) {
        let now = self.runtime.now();
        let mut loads = self.loads();
        let Some(load) = loads.get_mut(key) else { return };
        load.executing -= 1;
        load.left_at = now;
        load.left.notify_waiters();
        // An order that waits for room makes a new entry.
        if load.executing == 0 {
            loads.remove(key);
        }
    }

    fn loads(&self) -> MutexGuard<'_, BTreeMap<K, Load>> {
        // Nothing in here panics while the lock is held.
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord> Drop for BulkheadPermit<K> {
    fn drop(&mut self) {
        self.bulkheads.leave(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::testing::ManualClock;

    fn bulkheads(slots: usize) -> (Arc<Bulkheads<Pair>>, ManualClock) {
        let clock = ManualClock::new();
        let runtime = Runtime::tokio().with_clock(clock.clone());
        let workers = Arc::new(Workers::default());
        // The worker runs for the whole test.
        std::mem::forget(workers.begin(slots));
        (Bulkheads::new(workers, runtime), clock)
    }

    fn pair(name: &str) -> Pair {
        (name.to_owned(), "USDC".to_owned())
    }

    fn enter(
        bulkheads: &Arc<Bulkheads<Pair>>,
        name: &str,
    ) -> Option<Result<BulkheadPermit<Pair>, Congested>> {
        bulkheads.enter(pair(name)).now_or_never()
    }

    #[test]
    fn a_pair_leaves_a_quarter_of_the_slots_to_others() {
        for (slots, capacity) in [(1, 1), (2, 2), (4, 3), (10, 8), (100, 75)] {
            let (bulkheads, _) = bulkheads(slots);
            let next = || enter(&bulkheads, "SOL").and_then(Result::ok);
            let taken: Vec<_> = std::iter::from_fn(next).take(2 * slots).collect();
            assert_eq!(taken.len(), capacity, "{slots} slots");
            assert!(enter(&bulkheads, "ETH").unwrap().is_ok());
        }
    }

    #[test]
    fn the_slots_are_those_of_all_workers_that_run() {
        let (bulkheads, _) = bulkheads(4);
        let second = bulkheads.workers.begin(4);
        assert_eq!(bulkheads.capacity(), 6);
        drop(second);
        assert_eq!(bulkheads.capacity(), 3);
        let runtime = Runtime::tokio();
        assert_eq!(
            Bulkheads::<Pair>::new(Arc::default(), runtime).capacity(),
            usize::MAX,
            "nothing to divide"
        );
    }

    #[test]
    fn an_order_waits_for_room_that_comes_soon() {
        let (bulkheads, clock) = bulkheads(1);
        let permit = enter(&bulkheads, "SOL").unwrap().unwrap();
        let mut next = std::pin::pin!(bulkheads.enter(pair("SOL")));
        assert!((&mut next).now_or_never().is_none());
        clock.advance(PATIENCE / 2);
        drop(permit);
        assert!(next.now_or_never().unwrap().is_ok());
        assert!(bulkheads.loads().is_empty(), "nothing is remembered of a pair without orders");
    }

    #[test]
    fn behind_orders_that_hang_no_order_waits() {
        let (bulkheads, clock) = bulkheads(1);
        let _hangs = enter(&bulkheads, "SOL").unwrap().unwrap();
        let mut next = std::pin::pin!(bulkheads.enter(pair("SOL")));
        assert!((&mut next).now_or_never().is_none());
        clock.advance(PATIENCE);
        assert_eq!(next.now_or_never().unwrap().unwrap_err(), Congested);
        assert_eq!(enter(&bulkheads, "SOL").unwrap().unwrap_err(), Congested);
    }
}
