//! A cache of what never changes of recent orders: the decimals, which frames need and events do not have, and the owner. A client
//! that has just placed an order is likely to follow it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use order_engine_core::{Order, OrderId, UserId};

use crate::wire::quotes::Decimals;

/// How many orders the cache holds: those of the last seconds at full load, in a few megabytes.
const ORDERS_MAX: usize = 32 * 1_024;

/// The cache of recent orders.
#[derive(Debug, Default)]
pub(crate) struct KnownOrders(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    orders: HashMap<OrderId, KnownOrder>,
    /// The orders of the cache, oldest first.
    by_age: VecDeque<OrderId>,
}

/// What never changes of an order.
#[derive(Debug)]
struct KnownOrder {
    decimals: Decimals,
    owner: UserId,
}

impl KnownOrders {
    /// Adds an order, and removes the oldest one if there are too many.
    pub(crate) fn insert(&self, order: &Order) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let request = &order.request;
        let new = KnownOrder { decimals: Decimals::of(request), owner: request.user_id.clone() };
        if known.orders.insert(order.id, new).is_none() {
            known.by_age.push_back(order.id);
        }
        if known.by_age.len() > ORDERS_MAX
            && let Some(oldest) = known.by_age.pop_front()
        {
            known.orders.remove(&oldest);
        }
    }

    /// Returns the decimals of an order's tokens, if the cache has them.
    pub(crate) fn decimals(&self, id: OrderId) -> Option<Decimals> {
        self.get(id, |known| known.decimals)
    }

    /// Returns whose an order is, if the cache knows.
    pub(crate) fn owner(&self, id: OrderId) -> Option<UserId> {
        self.get(id, |known| known.owner.clone())
    }

    fn get<T>(&self, id: OrderId, what: impl FnOnce(&KnownOrder) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).orders.get(&id).map(what)
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
