//! The schema, built in.
//!
//! sqlx's migrator keeps statements prepared and locks a session. Neither works behind a proxy that pools
//! connections by transaction, so the few lines are here.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::connect::BEGIN;
use crate::error::Error;
use crate::sql::text::qualified;

/// The migrations with their versions. One that was released never changes.
const MIGRATIONS: [(i64, &str); 1] = [(1, include_str!("../migrations/0001_orders.sql"))];

/// The table of the applied migrations.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS @migrations (
    version    bigint      NOT NULL PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

/// The lock under which one of several processes changes a schema: a number that only this crate uses, and a
/// hash of the schema's name.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1869899109, hashtext($1))";

/// These read the catalogue: functions such as `to_regclass` answer from a cache, which does not know yet what
/// another process did while this one waited for the lock.
const TABLE_EXISTS: &str =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'migrations')";
const SCHEMA_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";

/// Nothing is written unless the feed would stand still.
pub(crate) const CONTINUE_FEED: &str = "UPDATE @feed SET xid_offset = last.position - here.xid + 1
    FROM (SELECT coalesce(max(position), 0) AS position FROM @order_writes) AS last,
        (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xid) AS here
    WHERE last.position >= here.xid + xid_offset";

/// Brings the schema up to date; refuses one that is newer than this program.
///
/// A schema that is up to date is only read, so a role that may not change it can open the store. All
/// changes happen in one transaction under a lock: of several processes that start at once, one changes
/// the schema, and the others find it changed.
pub(crate) async fn migrate(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    // Reads are a transaction as well: a proxy may use another session for the next statement otherwise.
    let mut transaction = connection.begin_with(BEGIN).await?;
    if missing(&mut transaction, schema).await?.is_empty() {
        return Ok(transaction.rollback().await?);
    }
    sqlx::query(LOCK).persistent(false).bind(schema).execute(&mut *transaction).await?;
    let migrations = missing(&mut transaction, schema).await?;
    if !exists(&mut transaction, SCHEMA_EXISTS, schema).await? {
        execute(&mut transaction, schema, &format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    execute(&mut transaction, schema, TABLE).await?;
    for (version, sql) in migrations {
        execute(&mut transaction, schema, sql).await?;
        execute(&mut transaction, schema, &format!("INSERT INTO @migrations (version) VALUES ({version})"))
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// Lets the feed go on where it ended, if the tables come from a database whose transactions had larger numbers.
pub(crate) async fn continue_feed(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    execute(connection, schema, CONTINUE_FEED).await
}

/// Returns the migrations that were not applied yet.
async fn missing(connection: &mut PgConnection, schema: &str) -> Result<Vec<(i64, &'static str)>, Error> {
    if !exists(connection, TABLE_EXISTS, schema).await? {
        return Ok(MIGRATIONS.to_vec());
    }
    let sql = qualified(schema, "SELECT version FROM @migrations");
    let applied: Vec<i64> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await?;
    let known = |version: i64| MIGRATIONS.iter().any(|(known, _)| *known == version);
    if let Some(version) = applied.iter().copied().find(|version| !known(*version)) {
        return Err(Error::NewerSchema { schema: schema.to_owned(), version });
    }
    Ok(MIGRATIONS.into_iter().filter(|(version, _)| !applied.contains(version)).collect())
}

async fn exists(connection: &mut PgConnection, sql: &'static str, name: &str) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(sql).persistent(false).bind(name).fetch_one(connection).await?)
}

async fn execute(connection: &mut PgConnection, schema: &str, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(qualified(schema, sql))).execute(connection).await?;
    Ok(())
}
