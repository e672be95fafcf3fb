//! A schema of its own, and connections to it beside the store.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use order_engine_core::testing::Proxy;
use order_engine_core::{OrderStore, StoreError};
use order_engine_postgres::testing::{fresh_name, shared_url};
use order_engine_postgres::{PostgresOptions, PostgresStore};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

pub struct Database {
    pub schema: String,
}

impl Database {
    pub fn new() -> Self {
        Self { schema: fresh_name() }
    }

    pub fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&shared_url()).unwrap().with_schema(&*self.schema).unwrap()
    }

    /// Returns the address on which the server listens.
    pub fn address() -> SocketAddr {
        let connect: PgConnectOptions = shared_url().parse().unwrap();
        (connect.get_host(), connect.get_port()).to_socket_addrs().unwrap().next().unwrap()
    }

    /// Returns options for connections through a proxy.
    pub fn options_through(&self, proxy: &Proxy) -> PostgresOptions {
        let connect: PgConnectOptions = shared_url().parse().unwrap();
        let connect = connect.host("127.0.0.1").port(proxy.address().port());
        PostgresOptions::from(connect).with_schema(&*self.schema).unwrap()
    }

    pub async fn open(&self) -> Arc<dyn OrderStore> {
        Arc::new(self.store().await)
    }

    pub async fn store(&self) -> PostgresStore {
        PostgresStore::open(self.options()).await.unwrap()
    }

    pub async fn fails_to_open(&self) -> StoreError {
        PostgresStore::open(self.options()).await.unwrap_err()
    }

    /// Returns a connection beside the store.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&shared_url()).await.unwrap()
    }

    /// Runs SQL in which an `@` stands for the schema.
    pub async fn execute(&self, sql: &str) {
        execute(&mut self.connect().await, &self.qualified(sql)).await;
    }

    /// Returns the first value of the first row, as text.
    pub async fn text(&self, sql: &str) -> String {
        text(&mut self.connect().await, &self.qualified(sql)).await
    }

    pub fn qualified(&self, sql: &str) -> String {
        sql.replace('@', &format!("{}.", self.schema))
    }
}

pub async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// Returns the first value of the first row, as text; `-` for NULL.
pub async fn text(connection: &mut PgConnection, sql: &str) -> String {
    let rows = rows(connection, sql).await;
    let value: Option<String> = rows[0].try_get_unchecked(0).unwrap();
    value.unwrap_or_else(|| "-".to_owned())
}

pub async fn rows(connection: &mut PgConnection, sql: &str) -> Vec<PgRow> {
    // The results of raw statements are text.
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await.unwrap()
}
