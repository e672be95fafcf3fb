//! A transaction that is being written, and the operations that write in it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::ItemRejected;
use order_engine_core::telemetry::chain;

use crate::database::Database;
use crate::error::Error;
use crate::values::Arguments;

/// An operation that writes. It may run again in another transaction if the first one was rolled back.
#[async_trait]
pub(crate) trait Operation: Send + Sync {
    type Output: Send + Sync + 'static;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error>;
}

#[async_trait]
impl<I: Send + Sync> Operation for Vec<I>
where
    [I]: Operation,
{
    type Output = <[I] as Operation>::Output;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        self.as_slice().run(session).await
    }
}

/// The connection of an open transaction, and what its operations share.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) database: Database<'a>,
    /// The store's time at the beginning of the transaction.
    pub(crate) now: DateTime<Utc>,
    pub(crate) pace: Pace,
}

/// How the items of an operation are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One after the other. If SQLite refuses one item, it refuses all of them.
    AllAtOnce,
    /// Each in a savepoint of its own, after such a refusal.
    OneByOne,
}

impl Session<'_> {
    /// Runs a statement with the values of each item, and returns for which of them it changed a row.
    pub(crate) async fn run(
        &mut self,
        statement: &'static str,
        items: Vec<Arguments<'_>>,
    ) -> Result<Vec<bool>, Error> {
        self.database.execute_each(statement, items).await
    }

    /// Writes each item in a savepoint of its own, so that one that SQLite refuses harms no other.
    pub(crate) async fn one_by_one<I, T, E>(&mut self, items: &[I]) -> Result<Vec<Result<T, E>>, Error>
    where
        I: Sync,
        [I]: Operation<Output = Vec<Result<T, E>>>,
        T: Send,
        E: From<ItemRejected> + Send,
    {
        let pace = std::mem::replace(&mut self.pace, Pace::AllAtOnce);
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            self.execute("SAVEPOINT item").await?;
            match std::slice::from_ref(item).run(self).await {
                Ok(result) => results.extend(result),
                Err(error) if error.may_come_of_one_item() => {
                    self.execute("ROLLBACK TO item").await?;
                    results.push(Err(ItemRejected { message: chain(&error).to_string() }.into()));
                }
                Err(error) => return Err(error),
            }
            self.execute("RELEASE item").await?;
        }
        self.pace = pace;
        Ok(results)
    }

    /// Runs a statement without arguments.
    pub(crate) async fn execute(&mut self, sql: &'static str) -> Result<(), Error> {
        self.database.execute(sql, Arguments::default()).await?;
        Ok(())
    }
}
