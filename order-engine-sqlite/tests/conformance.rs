//! The SQLite store passes the suite that every store must pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::OrderStore;
use order_engine_core::conformance::Harness;
use order_engine_core::testing::ManualClock;
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

/// A file in a folder of its own. Each handle is a store of its own, as another process has one.
struct Sqlite {
    clock: ManualClock,
    folder: TempDir,
}

impl Sqlite {
    fn new() -> Self {
        Self { clock: ManualClock::new(), folder: tempfile::tempdir().unwrap() }
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn store(&self) -> Arc<dyn OrderStore> {
        let options =
            SqliteOptions::new(self.folder.path().join("orders.db")).with_clock(Arc::new(self.clock.clone()));
        Arc::new(SqliteStore::open(options).await.unwrap())
    }

    async fn elapse(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

order_engine_core::conformance_suite!(Sqlite::new());
