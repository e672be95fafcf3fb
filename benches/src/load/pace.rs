//! The times at which orders are submitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;

use crate::args::Arrivals;

/// More than the number of clients.
const CLIENTS_MAX: usize = 1 << 24;

/// The schedule by which all clients submit their orders.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    next: AtomicUsize,
    orders: usize,
    /// In open loop, the times at which orders are due, and a permit for each order that is due now.
    due: Option<(Vec<Duration>, Semaphore)>,
}

impl Pace {
    /// Returns a closed loop of this many orders, each of which is due as soon as a client is free.
    pub(crate) fn closed(orders: usize) -> Self {
        Self::new(orders, None)
    }

    /// Returns an open loop of orders that are due at these times from now on.
    ///
    /// It uses a thread of its own, because the runtime's timers have a resolution of a millisecond, which is
    /// as long as the latencies.
    pub(crate) fn open(due: Vec<Duration>) -> Self {
        let pace = Self::new(due.len(), Some((due, Semaphore::new(0))));
        let shared = Arc::downgrade(&pace.shared);
        std::thread::spawn(move || {
            let mut turn = 0;
            // The schedule is gone if the run was aborted.
            while let Some(wait) = shared.upgrade().and_then(|shared| shared.wait_for(turn)) {
                std::thread::sleep(wait);
                if let Some((_, permits)) = shared.upgrade().as_deref().and_then(|shared| shared.due.as_ref())
                {
                    permits.add_permits(1);
                }
                turn += 1;
            }
            // The clients that still wait learn that all orders are submitted.
            if let Some((_, permits)) = shared.upgrade().as_deref().and_then(|shared| shared.due.as_ref()) {
                permits.add_permits(CLIENTS_MAX);
            }
        });
        pace
    }

    fn new(orders: usize, due: Option<(Vec<Duration>, Semaphore)>) -> Self {
        Self { shared: Arc::new(Shared { begun: Instant::now(), next: AtomicUsize::new(0), orders, due }) }
    }

    /// Returns the time of the first order.
    pub(crate) fn begun(&self) -> Instant {
        self.shared.begun
    }

    /// Returns whether this is an open loop.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.due.is_some()
    }

    /// Waits for the next order, and returns the time at which it is due, even if it is late because all
    /// clients were busy. Returns `None` after the last order.
    pub(crate) async fn next(&self) -> Option<Instant> {
        if let Some((_, permits)) = &self.shared.due {
            permits.acquire().await.ok()?.forget();
        }
        let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
        match &self.shared.due {
            None => (turn < self.shared.orders).then(Instant::now),
            Some((due, _)) => Some(self.shared.begun + *due.get(turn)?),
        }
    }
}

impl Shared {
    /// Returns the time until an order is due, or `None` after the last order.
    fn wait_for(&self, turn: usize) -> Option<Duration> {
        let (due, _) = self.due.as_ref()?;
        Some(due.get(turn)?.saturating_sub(self.begun.elapsed()))
    }
}

/// Returns the times at which orders arrive at this rate.
pub(crate) fn arrivals(kind: Arrivals, per_second: f64, seconds: u32, seed: u64) -> Vec<Duration> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut gap_s = || match kind {
        Arrivals::Even => 1.0 / per_second,
        // The gaps of a Poisson process are distributed exponentially.
        Arrivals::Poisson => -(1.0 - random.random::<f64>()).ln() / per_second,
    };
    let mut at_s = 0.0;
    std::iter::from_fn(|| {
        at_s += gap_s();
        (at_s < f64::from(seconds)).then(|| Duration::from_secs_f64(at_s))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_at_the_rate_and_the_same_for_a_seed() {
        let even = arrivals(Arrivals::Even, 1_000.0, 2, 0);
        assert!((1_999..=2_000).contains(&even.len()), "{}", even.len());
        let random = arrivals(Arrivals::Poisson, 1_000.0, 2, 7);
        // Five standard deviations of a Poisson distribution around 2 000; the seed is fixed.
        assert!((1_776..=2_224).contains(&random.len()), "{}", random.len());
        assert!(random.is_sorted());
        assert_eq!(random, arrivals(Arrivals::Poisson, 1_000.0, 2, 7));
        assert_ne!(random, arrivals(Arrivals::Poisson, 1_000.0, 2, 8));
    }

    #[tokio::test]
    async fn every_order_is_due_once_and_counts_from_its_own_time() {
        let due: Vec<_> = (0..20).map(Duration::from_micros).collect();
        let pace = Pace::open(due.clone());
        for offset in due {
            assert_eq!(pace.next().await, Some(pace.begun() + offset));
        }
        assert_eq!(pace.next().await, None);
    }
}
