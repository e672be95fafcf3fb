//! The PostgreSQL store passes the suite that every store must pass.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::Database;
use order_engine_core::conformance::{CorruptHarness, Corruption, Harness, ServerHarness};
use order_engine_core::{OrderId, OrderStore};
use order_engine_postgres::testing::PostgresServer;
use order_engine_postgres::{PostgresOptions, PostgresStore};

/// A schema of its own. Each handle is a store of its own, like that of another process.
struct Postgres {
    database: Database,
}

impl Postgres {
    fn new() -> Self {
        Self { database: Database::new() }
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn store(&self) -> Arc<dyn OrderStore> {
        self.database.open().await
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        self.database.open().await
    }

    async fn elapse(&self, duration: Duration) {
        // The clock is the server's, and cannot be advanced.
        tokio::time::sleep(duration).await;
    }
}

#[async_trait]
impl CorruptHarness for Postgres {
    async fn corrupt(&self, id: OrderId, corruption: Corruption) -> bool {
        let change = match corruption {
            Corruption::State => format!("@order_states SET state = '{{}}' WHERE order_id = '{id}'"),
            Corruption::StateVersion(version) => {
                format!("@order_states SET state_version = {version} WHERE order_id = '{id}'")
            }
            Corruption::Request => format!("@order_heads SET request = '{{}}' WHERE order_id = '{id}'"),
            Corruption::RequestVersion(version) => {
                format!("@order_heads SET request_version = {version} WHERE order_id = '{id}'")
            }
            // The column accepts nothing but a time.
            Corruption::CreatedAt => return false,
            Corruption::EventVersion { seq, version } => format!(
                "@order_writes SET payload_version = {version}
                WHERE order_id = '{id}' AND {seq} BETWEEN first_seq AND last_seq"
            ),
        };
        self.database.execute(&format!("UPDATE {change}")).await;
        true
    }
}

order_engine_core::conformance_suite!(Postgres::new());
order_engine_core::corruption_suite!(Postgres::new());

/// A server of its own, which the suite stops.
struct Server {
    server: PostgresServer,
}

impl Server {
    fn new() -> Self {
        Self { server: PostgresServer::start() }
    }
}

#[async_trait]
impl Harness for Server {
    async fn store(&self) -> Arc<dyn OrderStore> {
        let options = PostgresOptions::new(&self.server.url()).unwrap();
        let options = options.with_operation_timeout(Duration::from_secs(5));
        Arc::new(PostgresStore::open(options).await.unwrap())
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        self.stop_server().await;
        self.start_server().await;
        self.store().await
    }

    async fn elapse(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[async_trait]
impl ServerHarness for Server {
    async fn stop_server(&self) {
        self.server.kill();
    }

    async fn start_server(&self) {
        self.server.restart();
    }
}

order_engine_core::server_suite!(Server::new());

/// What is promised to survive a restart survives a loss of power, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_survives_a_loss_of_power() {
    let server = Server::new();
    order_engine_core::conformance::durability::orders_survive_a_restart(&server).await;
}
