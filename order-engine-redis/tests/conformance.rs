//! The Redis store passes the suite that every store must pass.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Scratch, open};
use order_engine_core::codec::PAYLOAD_VERSION;
use order_engine_core::conformance::{
    CorruptHarness, Corruption, Harness, ServerHarness, durability as cases,
};
use order_engine_core::{OrderId, OrderStore};
use order_engine_redis::testing::{DURABLE, RedisServer};

/// An unused prefix on the server that all cases share. Each handle has its own connection, like another
/// process.
struct Redis {
    scratch: Scratch,
}

impl Redis {
    fn new() -> Self {
        Self { scratch: Scratch::new() }
    }

    async fn set(&self, id: OrderId, field: &str, value: &str) {
        let _: u32 = self.scratch.run("HSET", &format!("order:{id}"), &[field, value]).await;
    }

    /// Changes the version before the JSON of a payload.
    async fn set_version(&self, id: OrderId, field: &str, version: u32) {
        let payload: String = self.scratch.run("HGET", &format!("order:{id}"), &[field]).await;
        let (_, json) = payload.split_once(' ').unwrap();
        self.set(id, field, &format!("{version} {json}")).await;
    }
}

#[async_trait]
impl Harness for Redis {
    async fn store(&self) -> Arc<dyn OrderStore> {
        self.scratch.open().await
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        // The cases share the server, which is therefore not restarted; `Server` is.
        self.scratch.open().await
    }

    async fn elapse(&self, duration: Duration) {
        // The clock is the server's, which a test cannot steer.
        tokio::time::sleep(duration).await;
    }
}

#[async_trait]
impl CorruptHarness for Redis {
    async fn corrupt(&self, id: OrderId, corruption: Corruption) -> bool {
        match corruption {
            Corruption::State => self.set(id, "state", &format!("{PAYLOAD_VERSION} {{}}")).await,
            Corruption::StateVersion(version) => self.set_version(id, "state", version).await,
            Corruption::Request => self.set(id, "request", "\u{fffd}").await,
            Corruption::RequestVersion(version) => self.set_version(id, "request", version).await,
            Corruption::CreatedAt => self.set(id, "created_at", "soon").await,
            Corruption::EventVersion { seq, version } => {
                let index = (seq - 1).to_string();
                let event = format!(r#"{{"version":{version},"words":"from the future"}}"#);
                let () = self.scratch.run("LSET", &format!("events:{id}"), &[&index, &event]).await;
            }
        }
        true
    }
}

/// A server of a case's own, whose writes survive.
struct Server {
    server: RedisServer,
}

impl Server {
    fn new() -> Self {
        Self { server: RedisServer::start(&DURABLE) }
    }
}

#[async_trait]
impl Harness for Server {
    async fn store(&self) -> Arc<dyn OrderStore> {
        open(self.server.options()).await
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        self.server.kill();
        self.server.restart();
        open(self.server.options()).await
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

order_engine_core::conformance_suite!(Redis::new());
order_engine_core::corruption_suite!(Redis::new());
order_engine_core::server_suite!(Server::new());

/// What survives a restart, also of the server itself.
#[tokio::test]
async fn what_was_written_survives_a_killed_server() {
    cases::orders_survive_a_restart(&Server::new()).await;
    cases::what_a_worker_wrote_survives_a_restart(&Server::new()).await;
    cases::the_outbox_survives_a_restart(&Server::new()).await;
    cases::pauses_survive_a_restart(&Server::new()).await;
    cases::feed_cursors_survive_a_restart(&Server::new()).await;
}
