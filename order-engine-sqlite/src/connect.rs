//! Connections. All are set up alike, and the settings are read back.

use std::time::Duration;

use rusqlite::OpenFlags;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::time::Instant;

use crate::database::Database;
use crate::error::Error;
use crate::options::SqliteOptions;
use crate::values::Arguments;

/// How many prepared statements a connection keeps: all of them.
const STATEMENTS: usize = 128;

/// The size of the pages of a new file, in bytes. A row of an order or of its events has up to three kilobytes, so a
/// smaller page holds one, and most of a larger page is written for the sake of one.
const PAGE_SIZE: u32 = 8_192;

/// The size of a connection's page cache, as the pragma has it: KiB, negated. The due orders and the newest
/// events fit into it.
const CACHE_SIZE: &str = "-65536";

fn connect_options(options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&options.path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // On macOS a plain sync does not reach the disk; elsewhere this changes nothing.
        .pragma("fullfsync", "ON")
        .busy_timeout(options.busy_timeout)
        .statement_cache_capacity(STATEMENTS)
        .pragma("cache_size", CACHE_SIZE)
        .disable_statement_logging()
}

/// How long a new file is left to the others that open it.
const NEW_FILE_PAUSE: Duration = Duration::from_millis(5);

/// Returns a connection that prepares the file, which is created if it is missing.
///
/// Of several that turn a new file to a write-ahead log at once, each reads it and waits for the others to stop.
/// SQLite ends that by refusing some of them at once, whatever the busy timeout is, so these try again.
pub(crate) async fn first(options: &SqliteOptions) -> Result<SqliteConnection, Error> {
    let give_up = Instant::now() + options.busy_timeout;
    loop {
        match try_first(options).await {
            Err(error) if error.is_busy() && Instant::now() < give_up => {
                tokio::time::sleep(NEW_FILE_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

async fn try_first(options: &SqliteOptions) -> Result<SqliteConnection, Error> {
    let mut connect = connect_options(options).create_if_missing(true).page_size(PAGE_SIZE);
    if let Some(pages) = options.max_pages {
        connect = connect.pragma("max_page_count", pages.to_string());
    }
    let mut connection = connect.connect().await?;
    check(&mut Database::Host(&mut connection), options).await?;
    Ok(connection)
}

/// Returns a connection that writes, to a file that was opened before. If the file is gone this fails: an
/// empty one in its place would only hide the loss.
pub(crate) async fn writer(options: &SqliteOptions) -> Result<rusqlite::Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = rusqlite::Connection::open_with_flags(&options.path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(options.busy_timeout)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    for (pragma, value) in [("synchronous", "FULL"), ("fullfsync", "ON"), ("cache_size", CACHE_SIZE)] {
        connection.pragma_update(None, pragma, value)?;
    }
    if let Some(pages) = options.max_pages {
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    check(&mut Database::Own(&mut connection), options).await?;
    Ok(connection)
}

/// Returns the connections that read.
pub(crate) async fn readers(options: &SqliteOptions) -> Result<SqlitePool, Error> {
    let checked = options.clone();
    let pool = SqlitePoolOptions::new()
        .max_connections(options.readers)
        .acquire_timeout(options.operation_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let options = checked.clone();
            Box::pin(async move {
                check(&mut Database::Host(connection), &options)
                    .await
                    .map_err(|error| sqlx::Error::Configuration(Box::new(error)))
            })
        })
        .connect_with(connect_options(options).read_only(true))
        .await?;
    Ok(pool)
}

/// Reads the settings back, and fails if one of them did not take effect.
async fn check(database: &mut Database<'_>, options: &SqliteOptions) -> Result<(), Error> {
    for (pragma, sql, wanted) in [
        ("journal_mode", "PRAGMA journal_mode", "wal".to_owned()),
        // 2 is FULL: every commit waits for the disk.
        ("synchronous", "PRAGMA synchronous", "2".to_owned()),
        ("fullfsync", "PRAGMA fullfsync", "1".to_owned()),
        ("busy_timeout", "PRAGMA busy_timeout", options.busy_timeout.as_millis().to_string()),
    ] {
        let found = value(database, sql).await?;
        if found != wanted {
            return Err(Error::Pragma { pragma, wanted, found });
        }
    }
    Ok(())
}

/// Fails if the commits of a host's connection do not wait for the disk. Within a transaction this cannot be
/// changed.
pub(crate) async fn check_host(connection: &mut SqliteConnection) -> Result<(), Error> {
    // 2 is FULL, and 3 is EXTRA.
    let mut settings = vec![("synchronous", "PRAGMA synchronous", &["2", "3"][..])];
    if cfg!(target_os = "macos") {
        settings.push(("fullfsync", "PRAGMA fullfsync", &["1"]));
    }
    let database = &mut Database::Host(connection);
    for (pragma, sql, wanted) in settings {
        let found = value(database, sql).await?;
        if !wanted.contains(&&*found) {
            return Err(Error::HostPragma { pragma, wanted: wanted[0], found });
        }
    }
    Ok(())
}

/// Returns the value of a pragma, which is a text or a number in the only column.
async fn value(database: &mut Database<'_>, sql: &'static str) -> Result<String, Error> {
    let row = database.one_row(sql, Arguments::default()).await?;
    let number = || row.only::<i64>().map(|number| number.to_string());
    Ok(row.only::<&str>().map(str::to_owned).or_else(|_| number())?)
}

#[cfg(test)]
mod tests {
    use order_engine_core::{StoreError, StoreErrorKind};

    use order_engine_core::telemetry::chain;

    use super::*;

    fn options(folder: &tempfile::TempDir) -> SqliteOptions {
        SqliteOptions::new(folder.path().join("orders.db")).with_readers(3)
    }

    async fn is_durable(database: &mut Database<'_>) -> bool {
        value(database, "PRAGMA journal_mode").await.unwrap() == "wal"
            && value(database, "PRAGMA synchronous").await.unwrap() == "2"
            && value(database, "PRAGMA fullfsync").await.unwrap() == "1"
            && value(database, "PRAGMA busy_timeout").await.unwrap() == "5000"
    }

    #[tokio::test]
    async fn every_connection_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let mut first = first(&options).await.unwrap();
        assert!(is_durable(&mut Database::Host(&mut first)).await);
        assert!(is_durable(&mut Database::Own(&mut writer(&options).await.unwrap())).await);
        let pool = readers(&options).await.unwrap();
        // Held all at once, so that each is another connection.
        let mut all = Vec::new();
        for _ in 0..options.readers {
            all.push(pool.acquire().await.unwrap());
        }
        for reader in &mut all {
            assert!(is_durable(&mut Database::Host(reader)).await);
        }
    }

    #[tokio::test]
    async fn a_new_file_has_large_pages() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        first(&options).await.unwrap();
        let mut writer = writer(&options).await.unwrap();
        assert_eq!(value(&mut Database::Own(&mut writer), "PRAGMA page_size").await.unwrap(), "8192");
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let _first = first(&options).await.unwrap();
        let pool = readers(&options).await.unwrap();
        assert!(sqlx::query("CREATE TABLE mine (id INTEGER)").execute(&pool).await.is_err());
    }

    #[tokio::test]
    async fn a_setting_that_did_not_take_effect_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let _first = first(&options).await.unwrap();
        for (spoil, named) in [
            ("PRAGMA synchronous = NORMAL", "synchronous = 1"),
            ("PRAGMA journal_mode = DELETE", "journal_mode = delete"),
        ] {
            let mut connection = writer(&options).await.unwrap();
            let mut database = Database::Own(&mut connection);
            database.rows(spoil, Arguments::default()).await.unwrap();
            let error = StoreError::from(check(&mut database, &options).await.unwrap_err());
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
            assert!(chain(&error).to_string().contains(named), "{error}");
        }
    }

    #[tokio::test]
    async fn a_lost_file_is_not_replaced_by_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = StoreError::from(writer(&options(&folder)).await.unwrap_err());
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
