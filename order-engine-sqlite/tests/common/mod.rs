//! A database in a folder of its own, and connections to it beside the store.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.

use std::path::PathBuf;
use std::sync::Arc;

use order_engine_core::testing::ManualClock;
use order_engine_core::{OrderStore, StoreError};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};
use tempfile::TempDir;

pub struct Database {
    pub folder: TempDir,
    pub clock: ManualClock,
}

impl Database {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: ManualClock::new() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("orders.db")
    }

    pub fn options(&self) -> SqliteOptions {
        SqliteOptions::new(self.path()).with_clock(Arc::new(self.clock.clone()))
    }

    pub async fn open(&self) -> Arc<dyn OrderStore> {
        Arc::new(SqliteStore::open(self.options()).await.unwrap())
    }

    pub async fn fails_to_open(&self) -> StoreError {
        SqliteStore::open(self.options()).await.unwrap_err()
    }

    /// Returns a connection beside the store.
    pub async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).create_if_missing(true).connect().await.unwrap()
    }

    pub async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connect().await).await.unwrap();
    }

    /// Returns all rows as text, `-` for NULL.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let found =
            sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.connect().await).await.unwrap();
        found.iter().map(|row| (0..row.len()).map(|column| shown(row, column)).collect()).collect()
    }

    /// Returns how many transactions the log has: the last frame of each has the size of the database after it,
    /// and the others have 0.
    pub fn commits(&self) -> usize {
        const LOG_HEADER: usize = 32;
        const FRAME_HEADER: usize = 24;
        let log = std::fs::read(self.folder.path().join("orders.db-wal")).unwrap();
        let page_size = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
        log[LOG_HEADER..].chunks_exact(FRAME_HEADER + page_size).filter(|frame| frame[4..8] != [0; 4]).count()
    }

    /// Returns the first value of the first row, as text.
    pub async fn text(&self, sql: &str) -> String {
        text(&mut self.connect().await, sql).await
    }
}

pub async fn text(connection: &mut SqliteConnection, sql: &str) -> String {
    shown(&sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap(), 0)
}

fn shown(row: &SqliteRow, column: usize) -> String {
    let text = row.try_get_unchecked::<Option<String>, _>(column).unwrap();
    text.unwrap_or_else(|| "-".to_owned())
}

/// Expected rows.
pub fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
}
