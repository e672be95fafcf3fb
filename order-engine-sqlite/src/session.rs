//! A transaction that is being written, and the operations that write in it.
//!
//! Every call of sqlx's SQLite driver is a hop to another thread, so a batch takes few of them: one
//! statement writes a list of rows. Lists are cut into pieces of fixed sizes, so that few different
//! statements are prepared and kept.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::ItemRejected;
use order_engine_core::telemetry::chain;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};

use crate::error::Error;
use crate::sql::ListStatement;

/// The sizes of pieces, largest first. Each is half of the one before, so a list is cut into few pieces.
const PIECE_SIZES: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// An operation that writes. It may run again in another transaction if the first one was rolled back.
#[async_trait]
pub(crate) trait Operation: Send + Sync + 'static {
    type Output: Send + Sync + 'static;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error>;
}

/// The connection of an open transaction, and what its operations share.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) connection: &'a mut SqliteConnection,
    pub(crate) statements: &'a mut Statements,
    /// The store's time at the beginning of the transaction.
    pub(crate) now: DateTime<Utc>,
    pub(crate) pace: Pace,
}

/// How the items of an operation are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// With few statements. If SQLite refuses one item, it refuses all of them.
    AllAtOnce,
    /// Each in a savepoint of its own, after such a refusal.
    OneByOne,
}

impl Session<'_> {
    /// Runs a statement over all rows, and returns what it returns. The function binds a row.
    pub(crate) async fn run<R: Sync>(
        &mut self,
        statement: &ListStatement,
        mut rows: &[R],
        bind: impl Fn(&R, &mut SqliteArguments) -> Result<(), BoxDynError> + Send,
    ) -> Result<Vec<SqliteRow>, Error> {
        let mut returned = Vec::new();
        while !rows.is_empty() {
            let size = PIECE_SIZES.into_iter().find(|size| *size <= rows.len()).unwrap_or(1);
            let (piece, rest) = rows.split_at(size);
            rows = rest;
            let mut arguments = SqliteArguments::default();
            for row in piece {
                bind(row, &mut arguments).map_err(sqlx::Error::Encode)?;
            }
            let text = self.statements.text(statement, size);
            debug_assert_eq!(arguments.len(), size * statement.width(), "{text}");
            let query = sqlx::query_with(AssertSqlSafe(text), arguments);
            returned.extend(query.fetch_all(&mut *self.connection).await?);
        }
        Ok(returned)
    }

    /// Writes each item in a savepoint of its own, so that one that SQLite refuses harms no other.
    pub(crate) async fn one_by_one<I, O, T, E>(
        &mut self,
        items: &[I],
        operation: impl Fn(&I) -> O + Send + Sync,
    ) -> Result<Vec<Result<T, E>>, Error>
    where
        I: Sync,
        O: Operation<Output = Vec<Result<T, E>>>,
        T: Send,
        E: From<ItemRejected> + Send,
    {
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            self.execute("SAVEPOINT item").await?;
            let mut session = Session {
                connection: self.connection,
                statements: self.statements,
                now: self.now,
                pace: Pace::AllAtOnce,
            };
            match operation(item).run(&mut session).await {
                Ok(result) => results.extend(result),
                Err(error) if error.may_come_of_one_item() => {
                    self.execute("ROLLBACK TO item").await?;
                    results.push(Err(ItemRejected { message: chain(&error).to_string() }.into()));
                }
                Err(error) => return Err(error),
            }
            self.execute("RELEASE item").await?;
        }
        Ok(results)
    }

    pub(crate) async fn execute(&mut self, sql: &'static str) -> Result<(), Error> {
        sqlx::query(sql).execute(&mut *self.connection).await?;
        Ok(())
    }
}

/// The texts of the list statements in their sizes, each made once.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    texts: HashMap<(ListStatement, usize), Arc<str>>,
}

impl Statements {
    fn text(&mut self, statement: &ListStatement, size: usize) -> Arc<str> {
        let make = || Arc::from(statement.text(size));
        Arc::clone(self.texts.entry((*statement, size)).or_insert_with(make))
    }
}
