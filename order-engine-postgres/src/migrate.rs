//! The schema, built in.
//!
//! sqlx's migrator prepares its statements under names and locks a session, neither of which a proxy that
//! pools by transaction can bear; so the few lines are here.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::connect::BEGIN;
use crate::error::Error;
use crate::statement::qualified;

/// Each step with its number. A step that was released never changes.
const MIGRATIONS: [(i64, &str); 1] = [(1, include_str!("../migrations/0001_orders.sql"))];

/// The steps that a schema has seen.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS @migrations (
    version    bigint      NOT NULL PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

/// The lock under which one of several processes changes a schema: a number of this crate's own, and one
/// that is made of the schema's name.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1869899109, hashtext($1))";

/// These look into the catalogue: functions such as `to_regclass` would answer from a cache that does not
/// know yet what another process did while this one waited for the lock.
const TABLE_EXISTS: &str =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'migrations')";
const SCHEMA_EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";

/// Brings the schema up to date; refuses one that is newer than this program.
///
/// One that is up to date is only read: a role that may change no schema can open a store whose schema
/// somebody else has brought up to date. All changes happen in one transaction under a lock: of
/// several processes that start at once, one changes the schema, and the others find it changed.
pub(crate) async fn run(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    // Also what only reads is a transaction: a proxy may take another session for the next one.
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

/// The steps that the schema has not seen.
async fn missing(connection: &mut PgConnection, schema: &str) -> Result<Vec<(i64, &'static str)>, Error> {
    if !exists(connection, TABLE_EXISTS, schema).await? {
        return Ok(MIGRATIONS.to_vec());
    }
    let sql = qualified(schema, "SELECT version FROM @migrations");
    let rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await?;
    let applied: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let known = |version: i64| MIGRATIONS.iter().any(|(known, _)| *known == version);
    if let Some(version) = applied.iter().copied().find(|version| !known(*version)) {
        return Err(Error::NewerSchema { schema: schema.to_owned(), version });
    }
    Ok(MIGRATIONS.into_iter().filter(|(version, _)| !applied.contains(version)).collect())
}

async fn exists(connection: &mut PgConnection, sql: &'static str, name: &str) -> Result<bool, Error> {
    Ok(sqlx::query(sql).persistent(false).bind(name).fetch_one(connection).await?.try_get(0)?)
}

async fn execute(connection: &mut PgConnection, schema: &str, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(qualified(schema, sql))).execute(connection).await?;
    Ok(())
}
