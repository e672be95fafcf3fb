//! Wakes the claimers of this process.

use tokio::sync::watch;

use crate::domain::order::Order;
use crate::domain::state::step::Lane;

/// Wakes the claimer of a lane when an order of the lane may have become due.
#[derive(Debug)]
pub(crate) struct LaneWakers {
    execute: watch::Sender<()>,
    observe: watch::Sender<()>,
}

impl LaneWakers {
    pub(crate) fn new() -> Self {
        Self { execute: watch::Sender::new(()), observe: watch::Sender::new(()) }
    }

    /// Wakes the claimer of a lane.
    pub(crate) fn wake(&self, lane: Lane) {
        self.of(lane).send_replace(());
    }

    /// Wakes the claimers of all lanes.
    pub(crate) fn wake_all(&self) {
        self.wake(Lane::Execute);
        self.wake(Lane::Observe);
    }

    /// Wakes the claimer of the lane that an order is in, if it is in one.
    pub(crate) fn wake_for(&self, order: &Order) {
        if let Some(lane) = order.state.lane() {
            self.wake(lane);
        }
    }

    /// Returns a channel that changes whenever an order of the lane may have become due.
    pub(crate) fn subscribe(&self, lane: Lane) -> watch::Receiver<()> {
        self.of(lane).subscribe()
    }

    const fn of(&self, lane: Lane) -> &watch::Sender<()> {
        match lane {
            Lane::Execute => &self.execute,
            Lane::Observe => &self.observe,
        }
    }
}
