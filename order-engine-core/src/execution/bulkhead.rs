//! Bulkheads: one pair of tokens never takes all worker slots of a process.
//!
//! While a pair's orders pass quickly, one that finds no room waits a moment for the next place. A pair
//! whose orders hang has no next place; its further orders go back to the store, so that the orders of
//! others behind them have their turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::domain::order::OrderRequest;
use crate::planted::planted;
use crate::ports::runtime::Runtime;

/// How long an order waits for a place of its pair. A step of a healthy venue is quicker.
const PATIENCE: Duration = Duration::from_millis(250);
/// How soon an order that found no place is due again.
pub(crate) const CONGESTED_RETRY: Duration = Duration::from_secs(1);

/// What is sold and what is bought.
pub(crate) type Pair = (String, String);

/// The pair of a request.
pub(crate) fn pair_of(request: &OrderRequest) -> Pair {
    (request.input.mint.clone(), request.output.mint.clone())
}

/// The places of a process, by pair.
#[derive(Debug)]
pub(crate) struct Bulkheads {
    runtime: Runtime,
    /// How many orders of one pair are executed at a time.
    places: usize,
    pairs: Mutex<BTreeMap<Pair, Places>>,
}

#[derive(Debug)]
struct Places {
    taken: usize,
    /// When an order last left one.
    left_at: DateTime<Utc>,
    /// Tells when an order leaves one. It wakes in the order of waiting, as a watch channel does not.
    left: Arc<Notify>,
}

/// A place that an order takes.
#[derive(Debug)]
pub(crate) struct Place {
    bulkheads: Arc<Bulkheads>,
    pair: Pair,
}

/// No place became free soon enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Congested;

impl Bulkheads {
    /// Three quarters of the slots are for one pair; with a single slot there is nothing to divide.
    pub(crate) fn new(worker_slots: usize, runtime: Runtime) -> Arc<Self> {
        let places = worker_slots.saturating_sub(worker_slots / 4).max(1);
        Arc::new(Self { runtime, places, pairs: Mutex::default() })
    }

    /// Takes a place of a pair.
    pub(crate) async fn enter(self: &Arc<Self>, pair: Pair) -> Result<Place, Congested> {
        let give_up_at = self.runtime.now() + PATIENCE;
        loop {
            let left = match self.try_enter(&pair) {
                Ok(place) => return Ok(place),
                Err(left) => left.ok_or(Congested)?,
            };
            let wait = (give_up_at - self.runtime.now()).to_std().unwrap_or_default();
            if wait.is_zero() {
                return Err(Congested);
            }
            tokio::select! {
                biased;
                () = left => {}
                () = self.runtime.clock.sleep(wait) => {}
            }
        }
    }

    /// Takes a place, or says what to wait for; for nothing, if none became free lately.
    fn try_enter(self: &Arc<Self>, pair: &Pair) -> Result<Place, Option<OwnedNotified>> {
        let now = self.runtime.now();
        let mut pairs = self.pairs();
        let places = pairs.entry(pair.clone()).or_insert_with(|| Places {
            taken: 0,
            left_at: now,
            left: Arc::default(),
        });
        if places.taken >= self.places && !planted!(NoBulkhead) {
            let is_moving = now - places.left_at < TimeDelta::from_std(PATIENCE).unwrap_or_default();
            return Err(is_moving.then(|| Arc::clone(&places.left).notified_owned()));
        }
        places.taken += 1;
        Ok(Place { bulkheads: Arc::clone(self), pair: pair.clone() })
    }

    fn leave(&self, pair: &Pair) {
        let now = self.runtime.now();
        let mut pairs = self.pairs();
        let Some(places) = pairs.get_mut(pair) else { return };
        places.taken -= 1;
        places.left_at = now;
        places.left.notify_waiters();
        // Whoever waits for a place finds a new entry.
        if places.taken == 0 {
            pairs.remove(pair);
        }
    }

    fn pairs(&self) -> MutexGuard<'_, BTreeMap<Pair, Places>> {
        // Nothing in here panics while the lock is held.
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bulkheads.leave(&self.pair);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::testing::ManualClock;

    fn bulkheads(slots: usize) -> (Arc<Bulkheads>, ManualClock) {
        let clock = ManualClock::new();
        let runtime = Runtime { clock: Arc::new(clock.clone()), ..Runtime::tokio() };
        (Bulkheads::new(slots, runtime), clock)
    }

    fn pair(name: &str) -> Pair {
        (name.to_owned(), "USDC".to_owned())
    }

    fn enter(bulkheads: &Arc<Bulkheads>, name: &str) -> Option<Result<Place, Congested>> {
        bulkheads.enter(pair(name)).now_or_never()
    }

    #[test]
    fn a_pair_leaves_a_quarter_of_the_slots_to_others() {
        for (slots, places) in [(1, 1), (2, 2), (4, 3), (10, 8), (100, 75)] {
            let (bulkheads, _) = bulkheads(slots);
            let next = || enter(&bulkheads, "SOL").and_then(Result::ok);
            let taken: Vec<_> = std::iter::from_fn(next).take(2 * slots).collect();
            assert_eq!(taken.len(), places, "{slots} slots");
            assert!(enter(&bulkheads, "ETH").unwrap().is_ok());
        }
    }

    #[test]
    fn an_order_waits_for_a_place_that_becomes_free_soon() {
        let (bulkheads, clock) = bulkheads(1);
        let place = enter(&bulkheads, "SOL").unwrap().unwrap();
        let mut next = std::pin::pin!(bulkheads.enter(pair("SOL")));
        assert!((&mut next).now_or_never().is_none());
        clock.advance(PATIENCE / 2);
        drop(place);
        assert!(next.now_or_never().unwrap().is_ok());
        assert!(bulkheads.pairs().is_empty(), "nothing is remembered of a pair without orders");
    }

    #[test]
    fn behind_orders_that_hang_nobody_waits_twice() {
        let (bulkheads, clock) = bulkheads(1);
        let _hangs = enter(&bulkheads, "SOL").unwrap().unwrap();
        let mut next = std::pin::pin!(bulkheads.enter(pair("SOL")));
        assert!((&mut next).now_or_never().is_none());
        clock.advance(PATIENCE);
        assert_eq!(next.now_or_never().unwrap().unwrap_err(), Congested);
        assert_eq!(enter(&bulkheads, "SOL").unwrap().unwrap_err(), Congested);
    }
}
