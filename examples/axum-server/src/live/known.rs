//! A cache of the decimals of recent orders, which frames need and events do not have. They never change,
//! and a client that has just placed an order is likely to follow it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use order_engine_core::{Order, OrderId};

use crate::wire::quotes::Decimals;

/// How many orders the cache holds: those of the last seconds at full load, in a few megabytes.
const ORDERS_MAX: usize = 32 * 1_024;

/// The cache of recent orders.
#[derive(Debug, Default)]
pub(crate) struct KnownOrders(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    decimals: HashMap<OrderId, Decimals>,
    /// The orders of the cache, oldest first.
    by_age: VecDeque<OrderId>,
}

impl KnownOrders {
    /// Adds an order, and removes the oldest one if there are too many.
    pub(crate) fn insert(&self, order: &Order) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.decimals.insert(order.id, Decimals::of(&order.request)).is_none() {
            known.by_age.push_back(order.id);
        }
        if known.by_age.len() > ORDERS_MAX
            && let Some(oldest) = known.by_age.pop_front()
        {
            known.decimals.remove(&oldest);
        }
    }

    /// Returns the decimals of an order's tokens, if the cache has them.
    pub(crate) fn decimals(&self, id: OrderId) -> Option<Decimals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).decimals.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use order_engine_core::testing;

    #[test]
    fn the_oldest_orders_are_removed() {
        let known = KnownOrders::default();
        let order = |n: usize| {
            let id = OrderId::new(DateTime::UNIX_EPOCH, (n as u128) << 64);
            Order::accept(id, testing::request(), 1, DateTime::UNIX_EPOCH).0
        };
        let decimals = Decimals::of(&testing::request());
        for n in 0..=ORDERS_MAX {
            known.insert(&order(n));
            known.insert(&order(n));
        }
        assert_eq!(known.decimals(order(0).id), None);
        assert_eq!(known.decimals(order(1).id), Some(decimals));
        assert_eq!(known.decimals(order(ORDERS_MAX).id), Some(decimals));
    }
}
