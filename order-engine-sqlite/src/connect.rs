//! Connections, each set up alike and checked by reading back.

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row, SqliteConnection};

use crate::error::Error;
use crate::options::SqliteOptions;

/// The prepared statements that a connection keeps: every statement in every batch size.
const STATEMENTS: usize = 256;

/// The page cache of a connection, in negative KiB: the due orders and the newest events fit.
const CACHE: &str = "-65536";

fn connect_options(options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&options.path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(options.busy_timeout)
        .statement_cache_capacity(STATEMENTS)
        .pragma("cache_size", CACHE)
        .disable_statement_logging()
}

/// The connection that writes.
pub(crate) async fn writer(options: &SqliteOptions) -> Result<SqliteConnection, Error> {
    let mut connect = connect_options(options).create_if_missing(true);
    if let Some(pages) = options.max_pages {
        connect = connect.pragma("max_page_count", pages.to_string());
    }
    let mut connection = connect.connect().await?;
    check(&mut connection, options).await?;
    Ok(connection)
}

/// The connections that read.
pub(crate) async fn readers(options: &SqliteOptions) -> Result<SqlitePool, Error> {
    let checked = options.clone();
    let pool = SqlitePoolOptions::new()
        .max_connections(options.readers)
        .acquire_timeout(options.operation_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let options = checked.clone();
            Box::pin(async move {
                check(connection, &options).await.map_err(|error| sqlx::Error::Configuration(Box::new(error)))
            })
        })
        .connect_with(connect_options(options).read_only(true))
        .await?;
    Ok(pool)
}

/// Reads back what was set: a setting that did not take effect must not go unnoticed.
async fn check(connection: &mut SqliteConnection, options: &SqliteOptions) -> Result<(), Error> {
    for (pragma, sql, wanted) in [
        ("journal_mode", "PRAGMA journal_mode", "wal".to_owned()),
        // 2 is FULL: every commit waits for the disk.
        ("synchronous", "PRAGMA synchronous", "2".to_owned()),
        ("busy_timeout", "PRAGMA busy_timeout", options.busy_timeout.as_millis().to_string()),
    ] {
        let row = sqlx::query(sql).fetch_one(&mut *connection).await?;
        let found = text(&row)?;
        if found != wanted {
            return Err(Error::Pragma { pragma, wanted, found });
        }
    }
    Ok(())
}

/// The value of a pragma, which is a text or a number.
fn text(row: &SqliteRow) -> Result<String, sqlx::Error> {
    row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|number| number.to_string()))
}
