//! What the clients of a run learn of their orders.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::engine::cancel::Cancellation;

/// An order as its clients know it.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Its id, after a submission was answered.
    pub(super) id: Option<OrderId>,
    /// The answers to its cancels.
    pub(super) cancelled: Vec<Cancellation>,
    pub(super) followers: Vec<Arc<Follower>>,
    /// The number of clients that still submit or cancel it.
    pub(super) busy: usize,
}

/// A subscriber of an order.
#[derive(Debug)]
pub(super) struct Follower {
    /// The number of the event after which it began.
    pub(super) after: u64,
    state: Mutex<Followed>,
}

/// What a subscriber has received.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) events: Vec<Arc<EventRecord>>,
    pub(super) has_ended: bool,
}

impl Follower {
    pub(super) fn new(after: u64) -> Self {
        Self { after, state: Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Followed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of the last event that it has received.
    pub(super) fn cursor(&self) -> u64 {
        self.after + self.state().events.len() as u64
    }
}
