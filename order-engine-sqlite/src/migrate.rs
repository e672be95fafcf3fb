//! The schema, built in.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr, SqliteConnection};

use crate::error::Error;

/// Named for the engine, because a host may keep its own tables, and its own migrations, in the file.
const TABLE: &str = "order_engine_migrations";

fn migrator() -> Migrator {
    let orders = Migration::new(
        1,
        Cow::Borrowed("orders"),
        MigrationType::Simple,
        include_str!("../migrations/0001_orders.sql").into_sql_str(),
        false,
    );
    let mut migrator = Migrator::with_migrations(vec![orders]);
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Brings the schema up to date; refuses one that is newer than this program.
pub(crate) async fn run(connection: &mut SqliteConnection) -> Result<(), Error> {
    let migrator = migrator();
    match migrator.run_direct(None, connection, false).await {
        // Another process may have brought the schema up to date between our look and our write;
        // a second look then finds nothing to do.
        Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) => {
            Ok(migrator.run_direct(None, connection, false).await?)
        }
        result => Ok(result?),
    }
}
