//! The suite that every store must pass: each case is named after the promise that it checks.
//!
//! A backend implements [`Harness`] and calls [`conformance_suite!`](crate::conformance_suite) in
//! its `tests/conformance.rs`; the feature is enabled among the dev-dependencies only, and the
//! backend needs tokio with `macros` and `rt-multi-thread` there.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use async_trait::async_trait;
//! use order_engine_core::conformance::Harness;
//! use order_engine_core::testing::ManualClock;
//! use order_engine_core::{MemoryStore, OrderStore};
//!
//! struct Memory {
//!     clock: ManualClock,
//!     store: MemoryStore,
//! }
//!
//! impl Memory {
//!     fn new() -> Self {
//!         let clock = ManualClock::new();
//!         Self { store: MemoryStore::with_clock(Arc::new(clock.clone())), clock }
//!     }
//! }
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     async fn store(&self) -> Arc<dyn OrderStore> {
//!         Arc::new(self.store.clone())
//!     }
//!
//!     async fn elapse(&self, duration: Duration) {
//!         self.clock.advance(duration);
//!     }
//! }
//!
//! order_engine_core::conformance_suite!(Memory::new());
//! # fn main() {}
//! ```
// A case fails by panicking, and its name says under what circumstances; `# Panics` on each would
// say nothing more.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::ports::order_store::OrderStore;

pub mod admin;
pub mod appending;
pub mod batches;
mod cases;
pub mod claiming;
pub mod clock;
pub mod creating;
pub mod fixtures;
pub mod guards;
pub mod leasing;
pub mod listing;
pub mod outbox;
pub mod payloads;
pub mod races;
pub mod reading;
pub mod waiting;

/// What the suite needs of a backend. Each case gets a harness of its own.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the harness's data, which is empty at first.
    ///
    /// Every call gives another handle on the same data, as another process would have one.
    async fn store(&self) -> Arc<dyn OrderStore>;

    /// Lets at least this much time pass on the store's clock.
    ///
    /// A steered clock is moved. Where a server has its own clock, this waits: the suite lets
    /// fractions of a second elapse, and what must not run out lasts an hour.
    async fn elapse(&self, duration: Duration);
}

cases::suite!(
    /// Makes one `#[tokio::test]` of each case, for the harness that an expression gives.
    conformance_suite:
    admin,
    appending,
    batches,
    claiming,
    clock,
    creating,
    guards,
    leasing,
    listing,
    outbox,
    payloads,
    races,
    reading,
    waiting,
);
