//! Orders within the host's transactions, for hosts that keep their own tables in the store's file.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::store::{AppendError, CreateError, Creation};
use order_engine_core::{
    Engine, NewOrder, OrderId, OrderRequest, Retry, RetryDraft, RetryError, Submission, SubmitError,
    Uncommitted,
};
use sqlx::SqliteConnection;

use crate::clock::Reached;
use crate::connect::check_host;
use crate::database::Database;
use crate::error::Error;
use crate::items::{AppendItem, NewItem};
use crate::rows;
use crate::session::{Operation, Pace, Session};
use crate::sql;
use crate::store::SqliteStore;
use crate::values::Arguments;

impl SqliteStore {
    /// Accepts an order within a transaction of the host, so that the order exists exactly if the host's own
    /// row about it does.
    ///
    /// The connection is one of the host's, to the file of the engine's store, within `BEGIN IMMEDIATE`. (A
    /// transaction that began as a reader fails as busy if another connection has written since.) What
    /// this returns is provisional until the host commits; after the commit the host
    /// [announces](Uncommitted::announce) it, and workers take it at once. Without that they find it at their
    /// next poll.
    ///
    /// SQLite has one writer at a time: until the host's transaction ends, all writes of the engine
    /// wait, for the busy time-out. Keep the transaction short.
    ///
    /// # Errors
    /// As [`Engine::submit`]; the transaction is then as it was before. The store is misconfigured if the
    /// connection's commits do not wait for the disk (`PRAGMA synchronous` is below `FULL`), because the order
    /// would not be as durable as the store promises.
    ///
    /// ```no_run
    /// # async fn transfer(
    /// #     engine: order_engine_core::Engine,
    /// #     store: order_engine_sqlite::SqliteStore,
    /// #     mut connection: sqlx::SqliteConnection,
    /// #     request: order_engine_core::OrderRequest,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use sqlx::Connection as _;
    ///
    /// let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    /// let submitted = store.submit_in(&engine, &mut transaction, request).await?;
    /// if let order_engine_core::Submission::Created(_) = submitted.outcome {
    ///     sqlx::query("UPDATE accounts SET balance = balance - 1 WHERE owner = 'alice'")
    ///         .execute(&mut *transaction)
    ///         .await?;
    /// }
    /// transaction.commit().await?;
    /// let submission = submitted.announce();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn submit_in(
        &self,
        engine: &Engine,
        transaction: &mut SqliteConnection,
        request: OrderRequest,
    ) -> Result<Uncommitted<Submission>, SubmitError> {
        let new = engine.draft(request)?;
        let creation = self.run_in(transaction, CreateOne(new.clone())).await.map_err(submit_error)??;
        Ok(Uncommitted::of_creation(engine, &new, creation, Submission::new))
    }

    /// Tries a failed order again as a new one, within a transaction of the host: in the one in which it debits
    /// its user for the new order. Returns nothing for an unknown order.
    ///
    /// A failed order has moved no money, and the host has given back what it had debited. So only
    /// [`Retry::Created`] needs a debit; every other outcome has changed nothing.
    ///
    /// An order in quarantine that has signed nothing is ended by the same transaction: either it is ended and
    /// the new order exists, or neither.
    ///
    /// Otherwise as [`submit_in`](Self::submit_in): provisional until the commit, and to be announced after it.
    ///
    /// # Errors
    /// As [`Engine::retry`], and as [`submit_in`](Self::submit_in).
    pub async fn retry_in(
        &self,
        engine: &Engine,
        transaction: &mut SqliteConnection,
        id: OrderId,
    ) -> Result<Option<Uncommitted<Retry>>, RetryError> {
        let retry = RetryOne { engine: engine.clone(), id };
        Ok(self.run_in(transaction, retry).await.map_err(submit_error)??)
    }

    /// Runs an operation in a transaction of the host: all of it or, if it fails, nothing.
    async fn run_in<O: Operation>(
        &self,
        connection: &mut SqliteConnection,
        operation: O,
    ) -> Result<O::Output, Error> {
        check_host(connection).await?;
        execute(connection, "SAVEPOINT order_engine").await?;
        let result = self.run_at_savepoint(connection, operation).await;
        if result.is_err() {
            // If this fails as well, SQLite has already undone the whole transaction.
            let _ = execute(connection, "ROLLBACK TO order_engine").await;
            let _ = execute(connection, "RELEASE order_engine").await;
            return result;
        }
        execute(connection, "RELEASE order_engine").await?;
        result
    }

    async fn run_at_savepoint<O: Operation>(
        &self,
        connection: &mut SqliteConnection,
        operation: O,
    ) -> Result<O::Output, Error> {
        let now = self.clock().now();
        let mut session = Session { database: Database::Host(connection), now, pace: Pace::AllAtOnce };
        let output = operation.run(&mut session).await?;
        Reached::new().note(&mut session.database, self.clock(), now).await?;
        Ok(output)
    }
}

/// Creates one order.
struct CreateOne(NewOrder);

#[async_trait]
impl Operation for CreateOne {
    type Output = Result<Creation, SubmitError>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let created = [NewItem::encode(&self.0)].run(session).await?.pop().ok_or(Error::Closed)?;
        Ok(created.map_err(|error| match error {
            CreateError::Rejected(rejected) => SubmitError::Rejected(rejected),
            error => submit_error(Error::NotCreated(error)),
        }))
    }
}

/// Tries an order again.
struct RetryOne {
    engine: Engine,
    id: OrderId,
}

#[async_trait]
impl Operation for RetryOne {
    type Output = Result<Option<Uncommitted<Retry>>, SubmitError>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let id = Arguments::default().with(self.id.to_string());
        let Some(origin) = session.database.row(sql::LOAD, id).await? else { return Ok(Ok(None)) };
        let origin = rows::order(&origin)??;
        let (ending, new) = match self.engine.draft_retry(Arc::new(origin)) {
            Ok(RetryDraft::Ready { ending, new }) => (ending, new),
            Ok(RetryDraft::NotFailed(origin)) => {
                return Ok(Ok(Some(Uncommitted::new(&self.engine, Retry::NotFailed(origin)))));
            }
            Err(error) => return Ok(Err(error)),
        };
        let creation = match CreateOne(new.clone()).run(session).await? {
            Ok(creation) => creation,
            Err(error) => return Ok(Err(error)),
        };
        let is_created = creation == Creation::Created;
        let mut retried = Uncommitted::new(&self.engine, Retry::new(&new, creation));
        if is_created {
            if let Some(ending) = ending {
                retried = retried.with_appended(&ending);
                // The order was read in this transaction, so no other write can have come first.
                let ended: Result<Vec<()>, AppendError> =
                    [AppendItem::encode(&ending)].run(session).await?.into_iter().collect();
                ended.map_err(Error::NotAppended)?;
            }
            retried = retried.with_created(&new);
        }
        Ok(Ok(Some(retried)))
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

fn submit_error(error: Error) -> SubmitError {
    SubmitError::Store(error.into())
}
