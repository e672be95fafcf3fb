//! The SQLite store passes the suite that every store must pass.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::Database;
use order_engine_core::conformance::{CorruptHarness, Corruption, Harness};
use order_engine_core::{OrderId, OrderStore};

/// A file in a folder of its own. Each handle is a store of its own, like that of another process.
struct Sqlite {
    database: Database,
}

impl Sqlite {
    fn new() -> Self {
        Self { database: Database::new() }
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn store(&self) -> Arc<dyn OrderStore> {
        self.database.open().await
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        self.database.open().await
    }

    async fn elapse(&self, duration: Duration) {
        self.database.clock.advance(duration);
    }
}

#[async_trait]
impl CorruptHarness for Sqlite {
    async fn corrupt(&self, id: OrderId, corruption: Corruption) -> bool {
        let change = match corruption {
            Corruption::State => format!("orders SET state = '{{}}' WHERE order_id = '{id}'"),
            Corruption::StateVersion(version) => {
                format!("orders SET state_version = {version} WHERE order_id = '{id}'")
            }
            Corruption::Request => format!("orders SET request = '{{}}' WHERE order_id = '{id}'"),
            Corruption::RequestVersion(version) => {
                format!("orders SET request_version = {version} WHERE order_id = '{id}'")
            }
            Corruption::CreatedAt => format!("orders SET created_at = 'soon' WHERE order_id = '{id}'"),
            Corruption::EventVersion { seq, version } => format!(
                "order_writes SET payload_version = {version}
                    WHERE order_id = '{id}' AND {seq} BETWEEN first_seq AND last_seq"
            ),
        };
        self.database.execute(&format!("UPDATE {change}")).await;
        true
    }
}

order_engine_core::conformance_suite!(Sqlite::new());
order_engine_core::corruption_suite!(Sqlite::new());
