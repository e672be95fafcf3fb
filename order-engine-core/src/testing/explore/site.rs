use std::sync::Arc;

use super::exploration::Exploration;
use crate::domain::ids::OrderId;
use crate::domain::order::OrderRequest;
use crate::ports::order_store::OrderStore;
use crate::ports::router::DexRouter;
use crate::ports::runtime::Runtime;
use crate::ports::venue::Venue;
use crate::testing::clock::ManualClock;
use crate::testing::dice::Dice;
use crate::testing::executor::Executor;
use crate::testing::skew::SkewedClock;

/// The store, the venue and the router that an engine is explored on.
///
/// All calls are made on one thread, on virtual time. A call that takes time sleeps on the clocks of the
/// [`Surroundings`].
pub trait Site: Send + Sync + 'static {
    /// Opens the store as a new process does. The store measures leases on [`Surroundings::store_clock`].
    fn open_store(&self) -> Arc<dyn OrderStore>;

    /// Returns the venue as this process reaches it.
    fn venue(&self, process: usize) -> Arc<dyn Venue>;

    /// Returns the router of this process.
    fn router(&self, process: usize) -> Arc<dyn DexRouter>;

    /// Returns the request for a random order. The run overwrites the user, the client order id and the
    /// deadline.
    fn request(&self, dice: &Dice) -> OrderRequest;

    /// Ends all faults of the venue itself.
    fn heal(&self);

    /// Returns how often an order was executed so far.
    fn executions(&self, order: OrderId) -> usize;
}

/// The clocks and the executor that a [`Site`] is opened with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Surroundings {
    /// The settings of the run.
    pub exploration: Exploration,
    /// The clock of the world, on which the venue runs.
    pub world: ManualClock,
    /// The clock of the store.
    pub store_clock: SkewedClock,
    /// The executor of all tasks.
    pub executor: Executor,
    /// The venue's surroundings: the clock of the world, random numbers of its own, and tasks that are never
    /// killed.
    pub runtime: Runtime,
}
