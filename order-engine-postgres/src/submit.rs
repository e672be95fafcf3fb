//! Orders within the host's transactions.

use std::sync::Arc;

use order_engine_core::store::{CreateError, Creation};
use order_engine_core::{Engine, NewOrder, OrderRequest, StoreError, Submission, SubmitError, hints};
use sqlx::{Arguments, PgConnection};

use crate::error::Error;
use crate::fanout::{MAX_PAYLOAD_BYTES, channel};
use crate::session::{Operation, Session};
use crate::sql::NOTIFY;
use crate::store::PostgresStore;
use crate::write::Create;

/// The sender of a message that every engine hears, also the one that accepted the order.
const NO_SENDER: u128 = 0;

impl PostgresStore {
    /// Accepts an order within a transaction of the host, so that the order exists exactly if the host's own
    /// row about it does.
    ///
    /// The transaction must be one of the database that the engine's store is in. What this returns is
    /// provisional until the host commits: before that the order is invisible, and no worker takes it.
    /// Workers hear of it with the commit, or find it at their next poll if no
    /// [fan-out](crate::PostgresFanout) listens.
    ///
    /// If another transaction is about to use the same client order id, this waits for its end, for as
    /// long as the host's session lets a statement wait (`lock_timeout`, `statement_timeout`; without
    /// them, without limit). In turn, a repetition of this request elsewhere waits for the end of this
    /// transaction: [`Engine::submit`] for some seconds, after which it calls the store unavailable. No other
    /// request waits.
    ///
    /// The commit waits for the disk, also where the server's default is not to. Nothing else stays
    /// behind in the host's session.
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
    /// sqlx::query("UPDATE accounts SET reserved = reserved + 1 WHERE owner = 'alice'")
    ///     .execute(&mut *transaction)
    ///     .await?;
    /// let submission = store.submit_in(&engine, &mut transaction, request).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn submit_in(
        &self,
        engine: &Engine,
        transaction: &mut PgConnection,
        request: OrderRequest,
    ) -> Result<Submission, SubmitError> {
        let new = engine.draft(request)?;
        let creation = self.create_in(transaction, &new).await.map_err(|error| match error {
            Error::NotCreated(CreateError::Rejected(rejected)) => SubmitError::Rejected(rejected),
            error => SubmitError::Store(Arc::new(StoreError::from(error))),
        })?;
        Ok(Submission::new(&new, creation))
    }

    async fn create_in(&self, transaction: &mut PgConnection, new: &NewOrder) -> Result<Creation, Error> {
        let mut session = Session {
            connection: transaction,
            sql: self.sessions().sql(),
            // The session is the host's: nothing stays behind in it.
            keeps_statements: false,
            lock_timeout: None,
        };
        let creation = match Create(std::slice::from_ref(new)).run(&mut session).await?.pop() {
            Some(result) => result?,
            None => return Err(sqlx::Error::RowNotFound.into()),
        };
        if creation == Creation::Created {
            let messages = hints::pack(std::slice::from_ref(&new.event), NO_SENDER, MAX_PAYLOAD_BYTES);
            session
                .fetch(&NOTIFY.into(), |arguments| {
                    arguments.add(channel(&self.sessions().options().schema))?;
                    arguments.add(messages)
                })
                .await?;
        }
        Ok(creation)
    }
}
