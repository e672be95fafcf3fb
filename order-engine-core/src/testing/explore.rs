//! A deterministic simulation of a whole engine with faults, from a seed: several processes over one store
//! and one venue, on clocks that differ, with orders, cancels and subscribers. Then the faults end, and every
//! guarantee is checked.
//!
//! [`explore`] runs one seed. It takes milliseconds for minutes of virtual time, needs no runtime, and is the
//! same every time. It runs on a [`Site`]: a host implements one with its own store, venue and router.
//!
//! ```
//! use std::sync::Arc;
//!
//! use order_engine_core::testing::explore::{Exploration, Site, explore};
//! use order_engine_core::testing::{Dice, ScriptedRouter, ScriptedVenue, request};
//! use order_engine_core::{DexRouter, MemoryStore, OrderId, OrderRequest, OrderStore, Venue};
//!
//! /// A host uses its own venue here.
//! struct Scripted {
//!     store: MemoryStore,
//!     venue: Arc<ScriptedVenue>,
//! }
//!
//! impl Site for Scripted {
//!     fn open_store(&self) -> Arc<dyn OrderStore> {
//!         Arc::new(self.store.clone())
//!     }
//!     fn venue(&self, _process: usize) -> Arc<dyn Venue> {
//!         self.venue.clone()
//!     }
//!     fn router(&self, _process: usize) -> Arc<dyn DexRouter> {
//!         Arc::new(ScriptedRouter::new())
//!     }
//!     fn request(&self, _: &Dice) -> OrderRequest {
//!         request()
//!     }
//!     fn heal(&self) {
//!         // A cancelled transaction that was never sent is proved dead once the chain has passed it.
//!         self.venue.grow(1_000);
//!     }
//!     fn executions(&self, order: OrderId) -> usize {
//!         self.venue.executions(order)
//!     }
//! }
//!
//! for seed in 0..2 {
//!     let report = explore(&Exploration::new(seed), |surroundings| {
//!         let store = MemoryStore::with_clock(Arc::new(surroundings.store_clock.clone()));
//!         Ok::<_, std::convert::Infallible>(Scripted { store, venue: Arc::default() })
//!     })?;
//!     assert_eq!(report.violations, []);
//! }
//! # Ok::<(), std::convert::Infallible>(())
//! ```

mod checks;
mod clients;
mod exploration;
mod hazard;
mod hosts;
mod lossy_fanout;
mod mailbox;
mod monitor;
mod plan;
mod report;
mod shared;
mod site;
mod tracked;
mod world;

pub use exploration::Exploration;
pub use hazard::{Hazard, UnknownHazard};
pub use report::Report;
pub use site::{Site, Surroundings};

use world::World;

/// Runs one seed to its end, and returns its results.
///
/// It calls `open` once, for the site of the run.
///
/// # Errors
/// If the site cannot be opened.
pub fn explore<S: Site, E>(
    exploration: &Exploration,
    open: impl FnOnce(&Surroundings) -> Result<S, E>,
) -> Result<Report, E> {
    Ok(World::new(exploration, open)?.run())
}
