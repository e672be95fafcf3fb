//! The schema, built in.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, SqlSafeStr, SqliteConnection};

use crate::error::Error;

/// The table of the applied migrations. It is named for the engine, because a host may keep its own tables
/// and its own migrations in the file.
const TABLE: &str = "order_engine_migrations";

fn migrator() -> Migrator {
    let orders = include_str!("../migrations/0001_orders.sql");
    let mut migrator = Migrator::with_migrations(vec![migration(1, "orders", orders)]);
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

fn migration(version: i64, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
}

/// Brings the schema up to date; refuses one that is newer than this program.
///
/// All of it happens in one transaction that holds the write lock from its beginning: of several
/// processes that open a file at once, one changes the schema, and the others find it changed.
pub(crate) async fn migrate(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrator().run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}
