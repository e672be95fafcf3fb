//! The Redis store passes the suite that every store must pass.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::Scratch;
use order_engine_core::OrderStore;
use order_engine_core::conformance::Harness;

/// An unused prefix on the server that all cases share. Each handle has its own connection, like another
/// process.
struct Redis {
    scratch: Scratch,
}

impl Redis {
    fn new() -> Self {
        Self { scratch: Scratch::new() }
    }
}

#[async_trait]
impl Harness for Redis {
    async fn store(&self) -> Arc<dyn OrderStore> {
        self.scratch.open().await
    }

    async fn elapse(&self, duration: Duration) {
        // The clock is the server's, which a test cannot steer.
        tokio::time::sleep(duration).await;
    }
}

order_engine_core::conformance_suite!(Redis::new());
