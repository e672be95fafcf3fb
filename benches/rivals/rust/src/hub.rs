//! The progress of orders, from the worker to the sockets of the same process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, Receiver, Sender};
use uuid::Uuid;

/// The last status of every order.
pub const CONFIRMED: &str = "confirmed";
/// More than the statuses of one order.
const CAPACITY: usize = 8;

/// The followers of each order that is not confirmed, and the number of those that are.
#[derive(Debug, Default)]
pub struct Hub {
    orders: Mutex<HashMap<Uuid, Sender<&'static str>>>,
    confirmed: AtomicUsize,
}

impl Hub {
    /// Returns the statuses of an order from now on.
    pub fn follow(&self, id: Uuid) -> Receiver<&'static str> {
        self.orders().entry(id).or_insert_with(|| broadcast::channel(CAPACITY).0).subscribe()
    }

    /// Forgets an order that nobody follows any more.
    pub fn leave(&self, id: Uuid, follower: Receiver<&'static str>) {
        drop(follower);
        let mut orders = self.orders();
        if orders.get(&id).is_some_and(|order| order.receiver_count() == 0) {
            orders.remove(&id);
        }
    }

    /// Tells the followers of an order its status, which is stored.
    pub fn publish(&self, id: Uuid, status: &'static str) {
        if let Some(order) = self.orders().get(&id) {
            // It fails if the last follower leaves meanwhile.
            let _ = order.send(status);
        }
        if status == CONFIRMED {
            self.confirmed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many orders were confirmed by this process.
    pub fn confirmed(&self) -> usize {
        self.confirmed.load(Ordering::Relaxed)
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<Uuid, Sender<&'static str>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
