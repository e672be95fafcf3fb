//! The suite that every store must pass. Each case is named after the guarantee that it checks.
//!
//! A backend implements [`Harness`] and calls [`conformance_suite!`](crate::conformance_suite) in its
//! `tests/conformance.rs`. It enables the feature `conformance` among its dev-dependencies only, and needs
//! tokio with `macros` and `rt-multi-thread` there. A backend whose stored data other programs can change
//! also implements [`CorruptHarness`] and calls [`corruption_suite!`](crate::corruption_suite), and one whose
//! data a server keeps implements [`ServerHarness`] and calls [`server_suite!`](crate::server_suite).
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
//!         Self { store: MemoryStore::with_clock(clock.clone()), clock }
//!     }
//! }
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     async fn store(&self) -> Arc<dyn OrderStore> {
//!         Arc::new(self.store.clone())
//!     }
//!
//!     async fn reopen(&self) -> Arc<dyn OrderStore> {
//!         Arc::new(MemoryStore::with_clock(self.clock.clone()))
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
// A case panics if its guarantee is broken. A section `# Panics` on each would say nothing more.
#![allow(clippy::missing_panics_doc)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::OrderId;
use crate::ports::order_store::OrderStore;

pub mod admin;
pub mod appending;
pub mod batches;
mod cases;
pub mod claiming;
pub mod clock;
pub mod controls;
pub mod corruption;
pub mod creating;
pub mod durability;
pub mod feed;
pub mod fixtures;
pub mod guards;
pub mod leasing;
pub mod listing;
pub mod nonces;
pub mod outbox;
pub mod payloads;
pub mod races;
pub mod reading;
pub mod server;
pub mod turns;
pub mod waiting;

/// A backend as the suite uses it. Each case has a harness of its own.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Returns a new handle on the harness's data, as another process would open it. The data is empty at
    /// first.
    async fn store(&self) -> Arc<dyn OrderStore>;

    /// Opens the data again after every process that used it has died: a new handle, after a restart of the
    /// server that keeps the data, if there is one and the harness can restart it. Handles from before are not
    /// used any more. A store that lives with its process begins empty.
    async fn reopen(&self) -> Arc<dyn OrderStore>;

    /// Lets at least this much time pass on the store's clock: moves a manual clock, or waits for a server's.
    ///
    /// The suite asks for fractions of a second only, and leases that must not expire last an hour.
    async fn elapse(&self, duration: Duration);
}

/// A [`Harness`] of a backend whose data a server keeps, which the suite may stop.
#[async_trait]
pub trait ServerHarness: Harness {
    /// Stops the server as a crash does, and returns when it answers nobody any more.
    async fn stop_server(&self);

    /// Starts the server on the same data and the same address, and returns when it answers.
    async fn start_server(&self);
}

/// A [`Harness`] of a backend whose stored data other programs can change.
#[async_trait]
pub trait CorruptHarness: Harness {
    /// Changes the stored data of an order. Returns `false` if the backend cannot store such data.
    async fn corrupt(&self, id: OrderId, corruption: Corruption) -> bool;
}

/// A change to the stored data of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// The state is replaced by data that is no state.
    State,
    /// The state is marked with another payload version.
    StateVersion(u32),
    /// The request is replaced by data that is no request.
    Request,
    /// The request is marked with another payload version.
    RequestVersion(u32),
    /// The time of the creation is replaced by data that is no time.
    CreatedAt,
    /// An event is marked with another payload version, and maybe the others of its write.
    EventVersion {
        /// The number of the event.
        seq: u64,
        /// The payload version.
        version: u32,
    },
}

cases::suite!(
    /// Makes one `#[tokio::test]` of each case. The argument is an expression that returns a new
    /// [`Harness`](crate::conformance::Harness).
    conformance_suite:
    admin,
    appending,
    batches,
    claiming,
    clock,
    controls,
    creating,
    durability,
    feed,
    guards,
    leasing,
    listing,
    nonces,
    outbox,
    payloads,
    races,
    reading,
    turns,
    waiting,
);

cases::suite!(
    /// Makes one `#[tokio::test]` of each case about a server that is stopped. The argument is an expression
    /// that returns a new [`ServerHarness`](crate::conformance::ServerHarness).
    server_suite: server,
);

cases::suite!(
    /// Makes one `#[tokio::test]` of each case about data that cannot be decoded. The argument is an
    /// expression that returns a new [`CorruptHarness`](crate::conformance::CorruptHarness).
    corruption_suite: corruption,
);
