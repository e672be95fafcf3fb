//! The Redis store passes the suite that every store must pass.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::OrderStore;
use order_engine_core::conformance::Harness;
use order_engine_redis::{RedisOptions, RedisStore};

/// A prefix of its own on the server that all cases share. Each handle has a connection of its own, as
/// another process has one.
struct Redis {
    options: RedisOptions,
}

impl Redis {
    fn new() -> Self {
        Self { options: common::shared() }
    }
}

#[async_trait]
impl Harness for Redis {
    async fn store(&self) -> Arc<dyn OrderStore> {
        Arc::new(RedisStore::open(self.options.clone()).await.unwrap())
    }

    async fn elapse(&self, duration: Duration) {
        // The clock is the server's, which nobody can steer.
        tokio::time::sleep(duration).await;
    }
}

order_engine_core::conformance_suite!(Redis::new());
