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

    /// Changes one of the three parts of a field.
    async fn set_part(&self, id: OrderId, field: &str, part: usize, value: &str) {
        let stored: String = self.scratch.run("HGET", &format!("order:{id}"), &[field]).await;
        let mut parts: Vec<&str> = stored.splitn(3, ' ').collect();
        parts[part] = value;
        self.set(id, field, &parts.join(" ")).await;
    }

    /// Changes the version before the JSON of a payload that stands behind some parts.
    async fn set_version(&self, id: OrderId, field: &str, parts: usize, version: u32) {
        let stored: String = self.scratch.run("HGET", &format!("order:{id}"), &[field]).await;
        let mut parts: Vec<&str> = stored.splitn(parts + 2, ' ').collect();
        let (at, version) = (parts.len() - 2, version.to_string());
        parts[at] = &version;
        self.set(id, field, &parts.join(" ")).await;
    }

    /// Makes the write that has an event one of another version.
    async fn set_write_version(&self, id: OrderId, seq: u64, version: u32) {
        for first_seq in (1..=seq).rev() {
            let field = format!("e{first_seq}");
            let found: u32 = self.scratch.run("HEXISTS", &format!("order:{id}"), &[&field]).await;
            if found == 1 {
                self.set_part(id, &field, 1, &version.to_string()).await;
                return self.set_part(id, &field, 2, r#"{"words":"from the future"}"#).await;
            }
        }
        panic!("no write has event {seq}");
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
            Corruption::StateVersion(version) => self.set_version(id, "state", 0, version).await,
            Corruption::Request => self.set_part(id, "head", 2, "\u{fffd}").await,
            Corruption::RequestVersion(version) => self.set_version(id, "head", 2, version).await,
            Corruption::CreatedAt => self.set_part(id, "head", 0, "soon").await,
            Corruption::EventVersion { seq, version } => self.set_write_version(id, seq, version).await,
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
