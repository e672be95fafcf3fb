//! Caps on transactions in flight: how many orders of a user, and on a venue, may be between the building of
//! a transaction and its outcome in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{UserId, VenueName};
use crate::domain::order::Order;
use crate::execution::holds::Hold;

/// Counts the orders in flight, where a cap is set.
#[derive(Debug)]
pub(crate) struct InFlight {
    user_max: Option<usize>,
    venue_max: Option<usize>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    users: BTreeMap<UserId, usize>,
    venues: BTreeMap<VenueName, usize>,
}

/// Counts an order as in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightPermit {
    in_flight: Arc<InFlight>,
    user: UserId,
    venue: VenueName,
}

impl InFlight {
    pub(crate) fn new(user_max: Option<usize>, venue_max: Option<usize>) -> Arc<Self> {
        Arc::new(Self { user_max, venue_max, counts: Mutex::default() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing in here panics while the lock is held.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    const fn is_uncapped(&self) -> bool {
        self.user_max.is_none() && self.venue_max.is_none()
    }

    /// Counts an order on a venue if there is room. Returns nothing without a cap.
    pub(crate) fn enter(
        self: &Arc<Self>,
        order: &Order,
        venue: &VenueName,
    ) -> Result<Option<InFlightPermit>, Hold> {
        if self.is_uncapped() {
            return Ok(None);
        }
        let mut counts = self.counts();
        self.check_user_in(&counts, order)?;
        self.check_venue_in(&counts, venue)?;
        Ok(Some(self.count(&mut counts, order, venue)))
    }

    /// Checks that there is room for another order of the same user.
    pub(crate) fn check_user(&self, order: &Order) -> Result<(), Hold> {
        if self.user_max.is_some() { self.check_user_in(&self.counts(), order) } else { Ok(()) }
    }

    fn check_user_in(&self, counts: &Counts, order: &Order) -> Result<(), Hold> {
        let user = &order.request.user_id;
        if is_full(self.user_max, counts.users.get(user)) { Err(Hold::User(user.clone())) } else { Ok(()) }
    }

    /// Checks that there is room for another order on a venue.
    pub(crate) fn check_venue(&self, venue: &VenueName) -> Result<(), Hold> {
        if self.venue_max.is_some() { self.check_venue_in(&self.counts(), venue) } else { Ok(()) }
    }

    fn check_venue_in(&self, counts: &Counts, venue: &VenueName) -> Result<(), Hold> {
        if is_full(self.venue_max, counts.venues.get(venue)) {
            Err(Hold::Venue(venue.clone()))
        } else {
            Ok(())
        }
    }

    /// Counts an order whose transaction may have been sent already: there is no question of room any more.
    pub(crate) fn enter_anyway(self: &Arc<Self>, order: &Order, venue: &VenueName) -> Option<InFlightPermit> {
        if self.is_uncapped() {
            return None;
        }
        Some(self.count(&mut self.counts(), order, venue))
    }

    fn count(self: &Arc<Self>, counts: &mut Counts, order: &Order, venue: &VenueName) -> InFlightPermit {
        let (user, venue) = (order.request.user_id.clone(), venue.clone());
        *counts.users.entry(user.clone()).or_default() += 1;
        *counts.venues.entry(venue.clone()).or_default() += 1;
        InFlightPermit { in_flight: Arc::clone(self), user, venue }
    }
}

fn is_full(max: Option<usize>, count: Option<&usize>) -> bool {
    max.is_some_and(|max| count.copied().unwrap_or_default() >= max)
}

fn leave<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        let counts = &mut *self.in_flight.counts();
        leave(&mut counts.users, &self.user);
        leave(&mut counts.venues, &self.venue);
    }
}
