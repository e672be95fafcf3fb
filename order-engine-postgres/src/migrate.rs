//! The schema, built in.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqlSafeStr};

use crate::error::Error;
use crate::statement::qualified;

const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "orders", include_str!("../migrations/0001_orders.sql"))];

/// The lock under which one of several processes changes a schema: a number of this crate's own, and one
/// that is made of the schema's name.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1869899109, hashtext($1))";

fn migrator(schema: &str) -> Migrator {
    let migration = |(version, name, sql): (i64, &'static str, &str)| {
        let sql = AssertSqlSafe(qualified(schema, sql)).into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    };
    let mut migrator = Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect());
    migrator.dangerous_set_table_name(table(schema));
    migrator.set_locking(false);
    migrator
}

fn table(schema: &str) -> String {
    format!("\"{schema}\".migrations")
}

/// Brings the schema up to date; refuses one that is newer than this program.
///
/// One that is up to date is only read: a role that may change no schema can open a store whose schema
/// somebody else has brought up to date. All changes happen in one transaction under a lock: of
/// several processes that start at once, one changes the schema, and the others find it changed.
pub(crate) async fn run(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    if is_current(connection, schema).await? {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    sqlx::query(LOCK).persistent(false).bind(schema).execute(&mut *transaction).await?;
    if !exists(&mut transaction, "SELECT to_regnamespace($1) IS NOT NULL", schema).await? {
        let create = AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\""));
        sqlx::raw_sql(create).execute(&mut *transaction).await?;
    }
    migrator(schema).run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

/// Whether the schema has every migration of this program and no other.
async fn is_current(connection: &mut PgConnection, schema: &str) -> Result<bool, Error> {
    // Within one transaction, because a proxy may take another server's session for the next one.
    let mut transaction = connection.begin().await?;
    if !exists(&mut transaction, "SELECT to_regclass($1) IS NOT NULL", &table(schema)).await? {
        return Ok(false);
    }
    let versions = AssertSqlSafe(format!("SELECT version FROM {} WHERE success", table(schema)));
    let rows = sqlx::query(versions).persistent(false).fetch_all(&mut *transaction).await?;
    let applied: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let newest = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    match applied.iter().copied().max() {
        Some(version) if version > newest => Err(Error::NewerSchema { schema: schema.to_owned(), version }),
        _ => Ok(MIGRATIONS.iter().all(|(version, ..)| applied.contains(version))),
    }
}

async fn exists(connection: &mut PgConnection, sql: &'static str, name: &str) -> Result<bool, Error> {
    Ok(sqlx::query(sql).persistent(false).bind(name).fetch_one(connection).await?.try_get(0)?)
}
