//! The memory store passes the suite that every store must pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::conformance::Harness;
use order_engine_core::testing::ManualClock;
use order_engine_core::{MemoryStore, OrderStore};

struct Memory {
    clock: ManualClock,
    store: MemoryStore,
}

impl Memory {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self { store: MemoryStore::with_clock(Arc::new(clock.clone())), clock }
    }
}

#[async_trait]
impl Harness for Memory {
    async fn store(&self) -> Arc<dyn OrderStore> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        Arc::new(MemoryStore::with_clock(Arc::new(self.clock.clone())))
    }

    async fn elapse(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

order_engine_core::conformance_suite!(Memory::new());
