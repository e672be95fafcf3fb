//! Stores on the tests' own Redis servers, and direct access to the servers.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.

pub mod service;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use order_engine_core::OrderStore;
use order_engine_redis::testing::{RedisServer, fresh_prefix, shared_url};
use order_engine_redis::{RedisOptions, RedisStore};
use redis::FromRedisValue;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An unused prefix on the shared server.
pub struct Scratch {
    pub options: RedisOptions,
}

impl Scratch {
    pub fn new() -> Self {
        Self { options: fresh_prefix() }
    }

    pub async fn open(&self) -> Arc<dyn OrderStore> {
        open(self.options.clone()).await
    }

    pub fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.options.key_prefix())
    }

    /// Runs a command on a key, which is its first argument.
    pub async fn run<T: FromRedisValue>(&self, command: &str, rest: &str, arguments: &[&str]) -> T {
        let key = self.key(rest);
        run_at(&shared_url(), &[&[command, &key], arguments].concat()).await
    }
}

pub async fn open(options: RedisOptions) -> Arc<dyn OrderStore> {
    Arc::new(RedisStore::open(options).await.unwrap())
}

/// Runs a command on a server.
pub async fn run<T: FromRedisValue>(server: &RedisServer, command: &[&str]) -> T {
    run_at(&server.url(), command).await
}

async fn run_at<T: FromRedisValue>(url: &str, command: &[&str]) -> T {
    let client = redis::Client::open(url).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let mut cmd = redis::cmd(command[0]);
    cmd.arg(&command[1..]);
    cmd.query_async(&mut connection).await.unwrap()
}

/// Returns the file to which a server appends its writes: the newest, if a rewrite left several.
pub fn append_only_file(server: &RedisServer) -> PathBuf {
    let files = std::fs::read_dir(server.folder().join("appendonlydir")).unwrap();
    let number = |path: &PathBuf| -> Option<u64> {
        path.file_name()?.to_str()?.strip_suffix(".incr.aof")?.rsplit('.').next()?.parse().ok()
    };
    let files = files.map(|file| file.unwrap().path()).filter(|path| number(path).is_some());
    files.max_by_key(number).expect("there is one")
}

/// Waits until a store works again.
pub async fn recovered(store: &Arc<dyn OrderStore>) {
    let working = async {
        while store.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, working).await.expect("the store recovers");
}
