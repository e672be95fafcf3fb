//! Orders within the host's transactions.

use std::slice;
use std::sync::Arc;

use order_engine_core::store::{AppendError, CreateError, Creation};
use order_engine_core::{
    ChangeError, Engine, NewOrder, OrderId, OrderRequest, Retry, RetryDraft, RetryError, Submission,
    SubmitError, Uncommitted,
};
use sqlx::{Executor as _, PgConnection};

use crate::error::Error;
use crate::read::Load;
use crate::session::{Operation as _, Session};
use crate::store::PostgresStore;
use crate::write::{Append, create_in};

impl PostgresStore {
    /// Accepts an order within a transaction of the host, so that the order exists exactly if the host's own
    /// row about it does.
    ///
    /// The transaction must be one of the database that the engine's store is in. What this returns is
    /// provisional until the host commits: before that the order is invisible, and no worker takes it. After
    /// the commit the host [announces](Uncommitted::announce) it, and workers take it at once; without that
    /// they find it at their next poll.
    ///
    /// If another transaction is about to use the same client order id, this waits for its end, for as
    /// long as the host's session lets a statement wait (`lock_timeout`, `statement_timeout`; without
    /// them, without limit). In turn, a repetition of this request elsewhere waits for the end of this
    /// transaction: [`Engine::submit`] for some seconds, after which it calls the store unavailable. No other
    /// request waits, and the commits of several such transactions do not wait for each other.
    ///
    /// The commit waits for the disk, also where the server's default is not to. What stays behind in the
    /// host's session is the prepared statement; not even that with
    /// [`with_transaction_pooling`](crate::PostgresOptions::with_transaction_pooling).
    ///
    /// # Errors
    /// As [`Engine::submit`]. After [`SubmitError::Store`] PostgreSQL refuses every further statement of the
    /// transaction; roll it back. At the levels REPEATABLE READ and SERIALIZABLE this may be a
    /// serialization failure ([`sqlstate`](crate::sqlstate) `40001`), for instance because a durable sink
    /// was registered that the transaction's snapshot does not know; repeat the transaction.
    ///
    /// ```no_run
    /// # async fn transfer(
    /// #     engine: order_engine_core::Engine,
    /// #     store: order_engine_postgres::PostgresStore,
    /// #     pool: sqlx::PgPool,
    /// #     request: order_engine_core::OrderRequest,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut transaction = pool.begin().await?;
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
        transaction: &mut PgConnection,
        request: OrderRequest,
    ) -> Result<Uncommitted<Submission>, SubmitError> {
        let new = engine.draft(request)?;
        let mut session = self.sessions().of_the_host(transaction);
        let creation = create(&mut session, &new).await?;
        Ok(Uncommitted::of_creation(engine, &new, creation, Submission::new))
    }

    /// Tries a failed order again as a new one, within a transaction of the host: in the one in which it debits
    /// its user for the new order. Returns nothing for an unknown order.
    ///
    /// A failed order has moved no money, and the host has given back what it had debited. So only
    /// [`Retry::Created`] needs a debit; every other outcome has changed nothing.
    ///
    /// An order in quarantine that has signed nothing is ended by the same transaction: either it is ended and
    /// the new order exists, or neither. Until the transaction ends it holds the order, and
    /// whoever changes the order meanwhile (a cancel, say) waits for it.
    ///
    /// Otherwise as [`submit_in`](Self::submit_in): provisional until the commit, and to be announced after it.
    ///
    /// # Errors
    /// As [`Engine::retry`], and as [`submit_in`](Self::submit_in). Ending an order in quarantine fails
    /// outside of a transaction.
    pub async fn retry_in(
        &self,
        engine: &Engine,
        transaction: &mut PgConnection,
        id: OrderId,
    ) -> Result<Option<Uncommitted<Retry>>, RetryError> {
        let mut session = self.sessions().of_the_host(transaction);
        loop {
            let Some(origin) = Load(id).run(&mut session).await.map_err(submit_error)? else {
                return Ok(None);
            };
            let (ending, new) = match engine.draft_retry(Arc::new(origin))? {
                RetryDraft::NotFailed(origin) => {
                    return Ok(Some(Uncommitted::new(engine, Retry::NotFailed(origin))));
                }
                RetryDraft::Ready { ending, new } => (ending, new),
            };
            let Some(ending) = ending else {
                let creation = create(&mut session, &new).await?;
                return Ok(Some(Uncommitted::of_creation(engine, &new, creation, Retry::new)));
            };
            if let Some(retried) = end_and_create(engine, &mut session, &ending, &new).await? {
                return Ok(Some(retried));
            }
        }
    }
}

/// Ends an order and creates its retry, both or neither. Returns nothing if another write came first.
async fn end_and_create(
    engine: &Engine,
    session: &mut Session<'_>,
    ending: &order_engine_core::store::Append,
    new: &NewOrder,
) -> Result<Option<Uncommitted<Retry>>, RetryError> {
    // Outside of a transaction this fails: the two writes must be one.
    execute(session, "SAVEPOINT order_engine").await?;
    let written = Append(slice::from_ref(ending)).run(session).await.map_err(submit_error)?;
    let creation = match written.into_iter().next() {
        Some(Ok(())) => Some(create(session, new).await?),
        Some(Err(AppendError::Rejected(rejected))) => return Err(ChangeError::Rejected(rejected).into()),
        Some(Err(_)) | None => None,
    };
    let is_created = creation == Some(Creation::Created);
    if !is_created {
        execute(session, "ROLLBACK TO SAVEPOINT order_engine").await?;
    }
    execute(session, "RELEASE SAVEPOINT order_engine").await?;
    let retried = creation.map(|creation| Uncommitted::of_creation(engine, new, creation, Retry::new));
    Ok(retried.map(|retried| if is_created { retried.with_appended(ending) } else { retried }))
}

async fn create(session: &mut Session<'_>, new: &NewOrder) -> Result<Creation, SubmitError> {
    let written = create_in(session, new).await.map_err(submit_error)?;
    written.map_err(|error| match error {
        CreateError::Rejected(rejected) => SubmitError::Rejected(rejected),
        error => submit_error(Error::NotCreated(error)),
    })
}

async fn execute(session: &mut Session<'_>, sql: &'static str) -> Result<(), SubmitError> {
    session.connection.execute(sqlx::raw_sql(sql)).await.map_err(|error| submit_error(error.into()))?;
    Ok(())
}

fn submit_error(error: Error) -> SubmitError {
    SubmitError::Store(error.into())
}
