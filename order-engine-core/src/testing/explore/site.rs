use std::sync::Arc;

use super::Exploration;
use crate::domain::ids::OrderId;
use crate::domain::order::OrderRequest;
use crate::ports::order_store::OrderStore;
use crate::ports::router::DexRouter;
use crate::ports::runtime::Runtime;
use crate::ports::venue::Venue;
use crate::testing::{Dice, Executor, ManualClock, SkewedClock};

/// What the engine is explored on: a store, and a venue with its router.
///
/// All calls are made on one thread, on virtual time. What takes its time takes it on the clocks of the
/// [`Surroundings`].
pub trait Site: Send + Sync + 'static {
    /// The store, as a process that starts now opens it. It measures leases on
    /// [`Surroundings::store_clock`].
    fn open_store(&self) -> Arc<dyn OrderStore>;

    /// The venue, as this process reaches it.
    fn venue(&self, process: usize) -> Arc<dyn Venue>;

    /// The router of this process.
    fn router(&self, process: usize) -> Arc<dyn DexRouter>;

    /// An order that somebody may want. The name of the user and everything below it are overwritten.
    fn request(&self, dice: &Dice) -> OrderRequest;

    /// From now on nothing goes wrong on the venue's own side any more.
    fn heal(&self);

    /// How often an order was executed so far.
    fn executions(&self, order: OrderId) -> usize;
}

/// What a [`Site`] is opened with.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The run that it is for.
    pub exploration: Exploration,
    /// The time of the world, in which the venue lives.
    pub world: ManualClock,
    /// The time of the store.
    pub store_clock: SkewedClock,
    /// Runs everything.
    pub executor: Executor,
    /// For the venue: the time of the world, chance of its own, and tasks that nobody kills.
    pub runtime: Runtime,
}
