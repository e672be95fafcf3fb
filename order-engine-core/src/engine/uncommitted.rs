//! What a store has written within a transaction of the host, and the news of it after the commit.

use std::sync::Arc;

use super::Engine;
use crate::domain::event::EventRecord;
use crate::domain::order::Order;
use crate::ports::order_store::write::{Append, Creation, NewOrder};

/// What came of a write within a transaction of the host: provisional until the host commits.
///
/// After the commit the host [announces](Self::announce) it. If the host does not, because its process ends or
/// its commit's reply is lost, nothing is lost either: workers and subscribers find at their next poll what
/// was committed.
#[derive(Clone, Debug)]
#[must_use = "announce it after the commit; otherwise workers find it only at their next poll"]
#[non_exhaustive]
pub struct Uncommitted<T> {
    /// What came of the write, if the host commits.
    pub outcome: T,
    engine: Engine,
    /// The orders as they are after the write, with their new events.
    written: Vec<(Arc<Order>, Vec<Arc<EventRecord>>)>,
}

impl<T> Uncommitted<T> {
    /// Returns an outcome of which there is nothing to announce yet. For authors of stores, and for hosts that run
    /// the statement of a store themselves.
    pub fn new(engine: &Engine, outcome: T) -> Self {
        Self { outcome, engine: engine.clone(), written: Vec::new() }
    }

    /// Returns what a creation comes to, with the order to announce if it is new. For authors of stores.
    pub fn of_creation(
        engine: &Engine,
        new: &NewOrder,
        creation: Creation,
        outcome: impl FnOnce(&NewOrder, Creation) -> T,
    ) -> Self {
        let is_created = creation == Creation::Created;
        let uncommitted = Self::new(engine, outcome(new, creation));
        if is_created { uncommitted.with_created(new) } else { uncommitted }
    }

    /// Adds an order that the transaction creates.
    pub fn with_created(mut self, new: &NewOrder) -> Self {
        self.written.push((Arc::clone(&new.order), vec![Arc::clone(&new.event)]));
        self
    }

    /// Adds events that the transaction appends.
    pub fn with_appended(mut self, append: &Append) -> Self {
        self.written.push((Arc::clone(&append.order), append.events.clone()));
        self
    }

    /// Announces what the host has committed, and returns the outcome: wakes the workers of this process, and
    /// publishes the events to its subscribers and sinks, a fan-out to other processes among them. Never
    /// waits.
    ///
    /// Call it only after the commit: what is announced is taken for committed.
    pub fn announce(self) -> T {
        let context = self.engine.context();
        for (order, events) in &self.written {
            context.committer.publish(events.iter().map(|event| (&**order, event)));
            context.wakers.wake_for(order);
        }
        self.outcome
    }
}
