//! The PostgreSQL store passes the suite that every store must pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::OrderStore;
use order_engine_core::conformance::Harness;
use order_engine_postgres::testing::fresh_schema;
use order_engine_postgres::{PostgresOptions, PostgresStore};

/// A schema of its own. Each handle is a store of its own, as another process has one.
struct Postgres {
    options: PostgresOptions,
}

impl Postgres {
    fn new() -> Self {
        Self { options: fresh_schema() }
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn store(&self) -> Arc<dyn OrderStore> {
        Arc::new(PostgresStore::open(self.options.clone()).await.unwrap())
    }

    async fn elapse(&self, duration: Duration) {
        // The clock is the server's, and goes by itself.
        tokio::time::sleep(duration).await;
    }
}

order_engine_core::conformance_suite!(Postgres::new());
