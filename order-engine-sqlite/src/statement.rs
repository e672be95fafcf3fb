//! Statements over many rows.
//!
//! Every call of sqlx's SQLite driver is a hop to another thread, so a batch is written with few
//! of them: a statement takes a list of rows. Lists are cut into pieces of fixed sizes, so that
//! few different statements are prepared, and kept.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};

use crate::error::Error;

/// The sizes of pieces, largest first: no list is cut into more pieces than its length has bits, but for
/// the longest.
const SIZES: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// A statement with a list of rows in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListStatement {
    pub(crate) before: &'static str,
    /// How many values a row has.
    pub(crate) columns: usize,
    pub(crate) after: &'static str,
}

impl ListStatement {
    /// The statement for so many rows.
    pub(crate) fn text(&self, size: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        let rows = vec![row.as_str(); size].join(", ");
        format!("{} VALUES {rows} {}", self.before, self.after)
    }
}

/// A row of a list.
pub(crate) trait ListRow {
    /// Adds the row's values, in the statement's order.
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError>;
}

/// The texts of the statements in their sizes, made once.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    texts: HashMap<(ListStatement, usize), Arc<str>>,
}

impl Statements {
    /// Runs a statement over all rows and gives what it returns.
    pub(crate) async fn run<R: ListRow + Sync>(
        &mut self,
        connection: &mut SqliteConnection,
        statement: &ListStatement,
        mut rows: &[R],
    ) -> Result<Vec<SqliteRow>, Error> {
        let mut returned = Vec::new();
        while !rows.is_empty() {
            let size = SIZES.into_iter().find(|size| *size <= rows.len()).unwrap_or(1);
            let (piece, rest) = rows.split_at(size);
            rows = rest;
            let mut arguments = SqliteArguments::default();
            for row in piece {
                row.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
            }
            debug_assert_eq!(arguments.len(), size * statement.columns, "{}", statement.before);
            let text = self.text(statement, size);
            returned
                .extend(sqlx::query_with(AssertSqlSafe(text), arguments).fetch_all(&mut *connection).await?);
        }
        Ok(returned)
    }

    fn text(&mut self, statement: &ListStatement, size: usize) -> Arc<str> {
        let make = || Arc::from(statement.text(size));
        Arc::clone(self.texts.entry((*statement, size)).or_insert_with(make))
    }
}
