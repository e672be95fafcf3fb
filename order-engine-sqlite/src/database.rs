//! A connection that writes: the store's own, or one of the host's.
//!
//! The store's own connection calls SQLite on the thread that writes. The driver of the hosts' connections has
//! a thread for each, so there every statement is a hop to it and back.

use std::sync::Arc;

use sqlx::SqliteConnection;

use crate::error::Error;
use crate::values::{Arguments, Row};

/// A connection that writes.
#[derive(Debug)]
pub(crate) enum Database<'a> {
    Own(&'a mut rusqlite::Connection),
    Host(&'a mut SqliteConnection),
}

impl Database<'_> {
    /// Runs a statement and returns its rows.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        arguments: Arguments<'_>,
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Own(connection) => own_rows(connection, sql, &arguments),
            Self::Host(connection) => {
                let query = sqlx::query_with(sql, arguments.into_sqlx()?);
                Ok(query.fetch_all(&mut **connection).await?.iter().map(Row::from).collect())
            }
        }
    }

    /// Runs a statement that returns one row at most.
    pub(crate) async fn row(
        &mut self,
        sql: &'static str,
        arguments: Arguments<'_>,
    ) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, arguments).await?.pop())
    }

    /// Runs a statement that returns one row.
    pub(crate) async fn one_row(
        &mut self,
        sql: &'static str,
        arguments: Arguments<'_>,
    ) -> Result<Row, Error> {
        self.row(sql, arguments).await?.ok_or(Error::Sqlx(sqlx::Error::RowNotFound))
    }

    /// Runs a statement and returns how many rows it has changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        arguments: Arguments<'_>,
    ) -> Result<u64, Error> {
        match self {
            Self::Own(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                statement.execute(rusqlite::params_from_iter(arguments.values()))?;
                Ok(connection.changes())
            }
            Self::Host(connection) => host_execute(connection, sql, arguments).await,
        }
    }

    /// Runs a statement with each of the arguments, and returns with which of them it changed a row.
    pub(crate) async fn execute_each(
        &mut self,
        sql: &'static str,
        each: Vec<Arguments<'_>>,
    ) -> Result<Vec<bool>, Error> {
        match self {
            Self::Own(connection) => own_execute_each(connection, sql, &each),
            Self::Host(connection) => {
                let mut changed = Vec::with_capacity(each.len());
                for arguments in each {
                    changed.push(host_execute(connection, sql, arguments).await? > 0);
                }
                Ok(changed)
            }
        }
    }
}

async fn host_execute(
    connection: &mut SqliteConnection,
    sql: &'static str,
    arguments: Arguments<'_>,
) -> Result<u64, Error> {
    let query = sqlx::query_with(sql, arguments.into_sqlx()?);
    Ok(query.execute(connection).await?.rows_affected())
}

fn own_execute_each(
    connection: &rusqlite::Connection,
    sql: &'static str,
    each: &[Arguments<'_>],
) -> Result<Vec<bool>, Error> {
    if each.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(sql)?;
    let mut execute = |arguments: &Arguments<'_>| {
        statement.execute(rusqlite::params_from_iter(arguments.values()))?;
        Ok(connection.changes() > 0)
    };
    each.iter().map(&mut execute).collect()
}

fn own_rows(
    connection: &rusqlite::Connection,
    sql: &'static str,
    arguments: &Arguments<'_>,
) -> Result<Vec<Row>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut found = statement.query(rusqlite::params_from_iter(arguments.values()))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let value = |index| row.get_ref(index).map(Into::into);
        let values = (0..columns.len()).map(value).collect::<Result<_, _>>()?;
        rows.push(Row { columns: Arc::clone(&columns), values });
    }
    Ok(rows)
}
