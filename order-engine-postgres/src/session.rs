//! The operations that run in a database, and the sessions that they run in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::StoreError;
use order_engine_core::backend::PoolUse;
use order_engine_core::telemetry::chain;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, AssertSqlSafe, PgConnection};

use crate::connect::{BEGIN, Connections};
use crate::error::Error;
use crate::options::PostgresOptions;
use crate::sql::Sql;

/// How often an operation runs that another transaction keeps undoing.
const TRIES: usize = 5;
/// How long the parts of a batch wait for what another transaction holds. The whole batch has waited for it
/// already, and many of the parts may have to wait.
const LOCK_TIMEOUT_OF_PARTS: Duration = Duration::from_millis(2);
/// How often something locked is tried again where the engine cannot be asked to try again. With the pauses
/// in between, that is longer than any transaction of the engine takes.
pub(crate) const LOCKED_ROUNDS: u32 = 20;
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// An operation in the database. It may run again if its first run was undone.
#[async_trait]
pub(crate) trait Operation: Send + Sync {
    type Output: Send;

    /// Whether it takes several statements that must be one transaction.
    const IS_TRANSACTION: bool = false;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error>;
}

/// A connection, and the statements for it.
pub(crate) struct Session<'a> {
    pub(crate) connection: &'a mut PgConnection,
    pub(crate) sql: &'a Sql,
    /// Whether statements may be kept prepared: not behind a proxy.
    pub(crate) keeps_statements: bool,
    /// How long a write waits for what another transaction holds; without it, as long as the session
    /// does.
    pub(crate) lock_timeout: Option<Duration>,
}

impl Session<'_> {
    /// Runs a statement with the arguments that a function adds, and returns its rows.
    pub(crate) async fn fetch(
        &mut self,
        text: &Arc<str>,
        bind: impl FnOnce(&mut PgArguments) -> Result<(), BoxDynError>,
    ) -> Result<Vec<PgRow>, Error> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments);
        Ok(query.persistent(self.keeps_statements).fetch_all(&mut *self.connection).await?)
    }

    /// Runs a statement whose first parameter says how many milliseconds it waits for locks.
    pub(crate) async fn fetch_briefly(
        &mut self,
        text: &Arc<str>,
        bind: impl FnOnce(&mut PgArguments) -> Result<(), BoxDynError>,
    ) -> Result<Vec<PgRow>, Error> {
        // Zero would mean no limit.
        let lock_timeout = self.lock_timeout.map(|timeout| timeout.as_millis().max(1).to_string());
        self.fetch(text, |arguments| {
            arguments.add(lock_timeout)?;
            bind(arguments)
        })
        .await
    }
}

/// The sessions of a store, on connections of its own.
pub(crate) struct Sessions {
    connections: Connections,
    sql: Sql,
    options: PostgresOptions,
}

impl Sessions {
    pub(crate) fn new(connections: Connections, options: PostgresOptions) -> Self {
        Self { connections, sql: Sql::new(&options.schema), options }
    }

    pub(crate) fn sql(&self) -> &Sql {
        &self.sql
    }

    pub(crate) fn pool(&self) -> PoolUse {
        self.connections.pool()
    }

    pub(crate) fn options(&self) -> &PostgresOptions {
        &self.options
    }

    /// Returns a transaction of the host as a session. Its statements stay prepared there, unless connections
    /// are pooled; nothing else stays behind.
    pub(crate) fn of_the_host<'a>(&'a self, transaction: &'a mut PgConnection) -> Session<'a> {
        Session {
            connection: transaction,
            sql: &self.sql,
            keeps_statements: !self.options.transaction_pooling,
            lock_timeout: None,
        }
    }

    /// Runs an operation.
    pub(crate) async fn run<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        Ok(self.run_in_time(&operation, self.options.lock_timeout).await?)
    }

    /// Writes items together. If that fails for a reason that may concern a single item, writes them in ever
    /// smaller parts, so that the item harms no other. Items that are locked are tried again for some
    /// rounds, after all others are written. The function `failed` returns the result of an item that fails
    /// by itself.
    pub(crate) async fn run_in_parts<'a, I, O, R>(
        &self,
        items: &'a [I],
        rounds: u32,
        operation: impl Fn(&'a [I]) -> O + Send + Sync,
        failed: impl Fn(Error) -> Result<R, Error> + Send + Sync,
    ) -> Result<Vec<R>, StoreError>
    where
        I: Sync,
        O: Operation<Output = Vec<R>>,
        R: Send,
    {
        let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
        let mut lock_timeout = self.options.lock_timeout;
        let whole = 0..items.len();
        let (mut parts, mut locked, mut round) = (vec![whole], Vec::new(), 0);
        loop {
            while let Some(part) = parts.pop() {
                match self.run_in_time(&operation(&items[part.clone()]), lock_timeout).await {
                    Ok(written) => part.zip(written).for_each(|(item, result)| results[item] = Some(result)),
                    Err(error) if part.is_empty() || !error.may_come_of_one_item() => {
                        return Err(error.into());
                    }
                    Err(error) if part.len() > 1 => {
                        tracing::debug!(items = part.len(), error = %chain(&error), "a write failed; its items are tried in parts");
                        let middle = part.start.midpoint(part.end);
                        // The first half is tried first: nonces are reserved in the order of the items.
                        parts.extend([middle..part.end, part.start..middle]);
                    }
                    Err(error) if error.is_locked() && round < rounds => locked.push(part),
                    Err(error) => results[part.start] = Some(failed(error)?),
                }
                lock_timeout = lock_timeout.min(LOCK_TIMEOUT_OF_PARTS);
            }
            if locked.is_empty() {
                return Ok(results.into_iter().flatten().collect());
            }
            tokio::time::sleep(LOCKED_PAUSE).await;
            parts.append(&mut locked);
            round += 1;
        }
    }

    /// Runs an operation that locks out all writes. Each try waits only briefly for its lock, because all
    /// writes wait behind it meanwhile; between the tries they go on.
    pub(crate) async fn run_in_turns<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        let mut turns = 0;
        loop {
            match self.run_in_time(&operation, self.options.lock_timeout).await {
                Err(error) if error.is_locked() && turns < LOCKED_ROUNDS => turns += 1,
                result => return Ok(result?),
            }
            tokio::time::sleep(LOCKED_PAUSE).await;
        }
    }

    async fn run_in_time<O: Operation>(
        &self,
        operation: &O,
        lock_timeout: Duration,
    ) -> Result<O::Output, Error> {
        let run = self.run_until_done(operation, lock_timeout);
        tokio::time::timeout(self.options.operation_timeout, run).await.unwrap_or(Err(Error::TimedOut))
    }

    async fn run_until_done<O: Operation>(
        &self,
        operation: &O,
        lock_timeout: Duration,
    ) -> Result<O::Output, Error> {
        let mut tries = 0;
        loop {
            let mut used = self.connections.take().await?;
            tries += 1;
            let error = match self.run_on(&mut used.connection, operation, lock_timeout).await {
                Ok(output) => {
                    self.connections.put_back(used);
                    return Ok(output);
                }
                Err(error) => error,
            };
            if error.spares_connection() && self.roll_back::<O>(&mut used.connection).await.is_ok() {
                self.connections.put_back(used);
            }
            if !error.is_conflict() || tries >= TRIES {
                return Err(error);
            }
            tracing::debug!(error = %chain(&error), tries, "PostgreSQL undid an operation in favour of another transaction");
        }
    }

    async fn run_on<O: Operation>(
        &self,
        connection: &mut PgConnection,
        operation: &O,
        lock_timeout: Duration,
    ) -> Result<O::Output, Error> {
        let is_transaction = self.is_transaction::<O>();
        if is_transaction {
            sqlx::raw_sql(BEGIN).execute(&mut *connection).await?;
        }
        let mut session = Session {
            connection: &mut *connection,
            sql: &self.sql,
            keeps_statements: !self.options.transaction_pooling,
            lock_timeout: Some(lock_timeout),
        };
        let output = operation.run(&mut session).await?;
        if is_transaction {
            sqlx::raw_sql("COMMIT").execute(connection).await?;
        }
        Ok(output)
    }

    /// Returns whether an operation runs in a transaction. Behind a proxy each does, because the proxy keeps a
    /// session for one client only within a transaction.
    fn is_transaction<O: Operation>(&self) -> bool {
        O::IS_TRANSACTION || self.options.transaction_pooling
    }

    /// Makes a connection fit for the next operation after one was refused.
    async fn roll_back<O: Operation>(&self, connection: &mut PgConnection) -> Result<(), Error> {
        if self.is_transaction::<O>() {
            sqlx::raw_sql("ROLLBACK").execute(connection).await?;
        }
        Ok(())
    }
}
