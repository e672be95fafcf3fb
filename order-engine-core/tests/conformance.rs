//! The memory store passes the suite that every store must pass.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use order_engine_core::conformance::{Harness, durability as promised};
use order_engine_core::testing::{Intercept, InterceptedStore, ManualClock};
use order_engine_core::{Durability, MemoryStore, OrderStore};

struct Memory {
    clock: ManualClock,
    store: MemoryStore,
}

impl Memory {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self { store: MemoryStore::with_clock(clock.clone()), clock }
    }
}

#[async_trait]
impl Harness for Memory {
    async fn store(&self) -> Arc<dyn OrderStore> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        Arc::new(MemoryStore::with_clock(self.clock.clone()))
    }

    async fn elapse(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

order_engine_core::conformance_suite!(Memory::new());

/// A store that keeps nothing over a restart, and says that it survives even a loss of power.
struct Forgetful;

#[derive(Debug)]
struct Nothing;

impl Intercept for Nothing {}

#[async_trait]
impl Harness for Forgetful {
    async fn store(&self) -> Arc<dyn OrderStore> {
        let store = InterceptedStore::new(Arc::new(MemoryStore::new()), Arc::new(Nothing));
        Arc::new(store.claiming(Durability::Full))
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        self.store().await
    }

    async fn elapse(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[tokio::test]
async fn a_store_that_forgets_fails_the_suite() {
    let cases: [BoxFuture<'static, ()>; 5] = [
        promised::orders_survive_a_restart(&Forgetful).boxed(),
        promised::what_a_worker_wrote_survives_a_restart(&Forgetful).boxed(),
        promised::the_outbox_survives_a_restart(&Forgetful).boxed(),
        promised::pauses_survive_a_restart(&Forgetful).boxed(),
        promised::feed_cursors_survive_a_restart(&Forgetful).boxed(),
    ];
    for case in cases {
        // A case that waits for what is gone has failed as well.
        let ended = tokio::time::timeout(Duration::from_secs(1), AssertUnwindSafe(case).catch_unwind()).await;
        assert!(!matches!(ended, Ok(Ok(()))), "a case passes");
    }
}
