use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// The items that are or will be due, by groups (a lane, a sink), in the order in which claims take them. The
/// cost of a claim depends on how much it takes, not on how much is stored.
#[derive(Debug)]
pub(super) struct Queue<G, T> {
    items: BTreeMap<DueKey<G>, T>,
    ticket: u64,
}

/// A place in a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DueKey<G> {
    pub(super) group: G,
    pub(super) due_at: DateTime<Utc>,
    /// Items that are due at one moment are taken in the order in which they were scheduled.
    ticket: u64,
}

impl<G, T> Default for Queue<G, T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), ticket: 0 }
    }
}

impl<G: Ord + Clone, T: Copy> Queue<G, T> {
    /// Moves an item to another place; an item without one leaves the queue.
    pub(super) fn set(&mut self, place: &mut Option<DueKey<G>>, item: T, to: Option<(G, DateTime<Utc>)>) {
        if let Some(key) = place.take() {
            self.items.remove(&key);
        }
        let Some((group, due_at)) = to else { return };
        self.ticket += 1;
        let key = DueKey { group, due_at, ticket: self.ticket };
        self.items.insert(key.clone(), item);
        *place = Some(key);
    }

    pub(super) fn due(&self, group: &G, now: DateTime<Utc>) -> impl Iterator<Item = T> {
        self.group(group).take_while(move |(key, _)| key.due_at <= now).map(|(_, item)| *item)
    }

    /// Returns when the first item of a group is or was due.
    pub(super) fn first(&self, group: &G) -> Option<DateTime<Utc>> {
        self.group(group).next().map(|(key, _)| key.due_at)
    }

    pub(super) fn group(&self, group: &G) -> impl Iterator<Item = (&DueKey<G>, &T)> {
        let key = |due_at, ticket| DueKey { group: group.clone(), due_at, ticket };
        self.items.range(key(DateTime::<Utc>::MIN_UTC, 0)..=key(DateTime::<Utc>::MAX_UTC, u64::MAX))
    }
}
