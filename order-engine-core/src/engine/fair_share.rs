//! Fair shares: the orders of a user who submits many at once let those of others go first.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::ids::UserId;

/// No order lets others go first for longer than this.
const HANDICAP_MAX: Duration = Duration::from_hours(1);
/// How many users are remembered before those are forgotten whose turn has come.
const USERS_MAX: usize = 10_000;

/// Spaces the turns of each user's orders: the first comes at once, each further one an interval later.
///
/// While workers are free, turns make no difference. When they are not, a user with a backlog gets one turn
/// in each interval, and everybody else goes before the rest of that backlog.
#[derive(Debug)]
pub(super) struct FairShare {
    interval: TimeDelta,
    /// When the turn of a user's next order comes.
    next_turns: Mutex<BTreeMap<UserId, DateTime<Utc>>>,
}

impl FairShare {
    /// An interval of zero lets every order's turn come at once.
    pub(super) fn new(interval: Duration) -> Self {
        let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX);
        Self { interval, next_turns: Mutex::default() }
    }

    fn next_turns(&self) -> MutexGuard<'_, BTreeMap<UserId, DateTime<Utc>>> {
        // Nothing in here panics while the lock is held.
        self.next_turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn of a user's next order. Returns how long after `now` it comes.
    pub(super) fn take_turn(&self, user: &UserId, now: DateTime<Utc>) -> Duration {
        if self.interval.is_zero() {
            return Duration::ZERO;
        }
        let mut next_turns = self.next_turns();
        if next_turns.len() >= USERS_MAX {
            next_turns.retain(|_, next| *next > now);
        }
        let turn = next_turns.get(user).copied().unwrap_or(now).max(now);
        let latest = now.checked_add_signed(TimeDelta::from_std(HANDICAP_MAX).unwrap_or_default());
        let turn = latest.map_or(turn, |latest| turn.min(latest));
        let next = turn.checked_add_signed(self.interval).unwrap_or(DateTime::<Utc>::MAX_UTC);
        next_turns.insert(user.clone(), next);
        (turn - now).to_std().unwrap_or_default()
    }

    /// Gives a turn back that no order came of: the request was known already.
    pub(super) fn give_back(&self, user: &UserId) {
        if let Some(next) = self.next_turns().get_mut(user) {
            *next = next.checked_sub_signed(self.interval).unwrap_or(*next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn each_further_order_of_a_user_comes_an_interval_later() {
        let (share, alice) = (FairShare::new(Duration::from_secs(1)), UserId::new("alice"));
        let turns: Vec<u64> = (0..4).map(|_| share.take_turn(&alice, at(100)).as_secs()).collect();
        assert_eq!(turns, [0, 1, 2, 3]);
        assert_eq!(share.take_turn(&UserId::new("bob"), at(100)), Duration::ZERO);
        share.give_back(&alice);
        assert_eq!(share.take_turn(&alice, at(102)), Duration::from_secs(1));
        assert_eq!(share.take_turn(&alice, at(200)), Duration::ZERO);
    }

    #[test]
    fn nobody_is_set_back_for_ever_or_remembered_for_ever() {
        let (share, alice) = (FairShare::new(Duration::from_mins(10)), UserId::new("alice"));
        let last = (0..20).map(|_| share.take_turn(&alice, at(0))).last();
        assert_eq!(last, Some(HANDICAP_MAX));
        for user in 0..USERS_MAX {
            share.take_turn(&UserId::new(user.to_string()), at(0));
        }
        share.take_turn(&alice, at(1_000_000));
        assert_eq!(share.next_turns().len(), 1);
        assert_eq!(FairShare::new(Duration::ZERO).take_turn(&alice, at(0)), Duration::ZERO);
    }
}
