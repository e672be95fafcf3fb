//! Connections.
//!
//! sqlx's own pool sends a query after every use of a connection and waits for its answer without
//! limit, so that a server that falls silent would take the whole pool with it. This one keeps what
//! was used without a failure, looks at it again after a pause, and drops the rest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::Error;
use crate::options::PostgresOptions;

/// A connection that was used so lately is taken to be alive.
const FRESH: Duration = Duration::from_secs(1);
/// How long a connection may take to answer that it is alive.
const PING: Duration = Duration::from_secs(2);
/// A connection that nobody needs is closed after this time.
const IDLE: Duration = Duration::from_mins(5);

/// How the planner is to think on these connections, and what a statement is to see. Each statement is a look-up by keys, and is planned
/// once: statistics of the hour when a table was nearly empty must not choose a plan that walks
/// through millions of rows later.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
    SET default_transaction_isolation = 'read committed';";

/// A transaction in which each statement sees what was committed before it, whatever the default is: a
/// write that has waited for a lock must know what its former holder did.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The connections of a store.
#[derive(Debug)]
pub(crate) struct Connections {
    options: PgConnectOptions,
    /// What each new connection is told; nothing behind a proxy, where a session is nobody's own.
    session: Option<String>,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection in use. It is kept only if it is given [back](Connections::put_back); dropped, it is
/// closed, because nobody knows what it is in the middle of.
#[derive(Debug)]
pub(crate) struct InUse {
    pub(crate) connection: PgConnection,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(options: &PostgresOptions) -> Self {
        let timeout_ms = options.operation_timeout.as_millis();
        Self {
            options: connect_options(options),
            session: (!options.transaction_pooling)
                .then(|| format!("{SESSION} SET statement_timeout = {timeout_ms}")),
            permits: Arc::new(Semaphore::new(options.connections as usize)),
            idle: Mutex::default(),
        }
    }

    /// A connection that was alive a moment ago.
    pub(crate) async fn take(&self) -> Result<InUse, Error> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(mut idle) = self.pop() {
            let is_alive = idle.since.elapsed() < FRESH
                || matches!(tokio::time::timeout(PING, idle.connection.ping()).await, Ok(Ok(())));
            if is_alive {
                return Ok(InUse { connection: idle.connection, _permit: permit });
            }
        }
        let mut connection = self.options.connect().await?;
        if let Some(session) = &self.session {
            sqlx::raw_sql(AssertSqlSafe(session.clone())).execute(&mut connection).await?;
        }
        Ok(InUse { connection, _permit: permit })
    }

    /// Keeps a connection whose last use went well.
    pub(crate) fn put_back(&self, used: InUse) {
        let now = Instant::now();
        let mut idle = self.idle();
        // The one used last is taken first, so those in front have been idle for longest.
        let unneeded = idle.iter().take_while(|idle| now - idle.since > IDLE).count();
        idle.drain(..unneeded);
        idle.push(Idle { connection: used.connection, since: now });
    }

    fn pop(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // Nothing in here panics while the lock is held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every connection of this crate is opened with.
pub(crate) fn connect_options(options: &PostgresOptions) -> PgConnectOptions {
    let mut connect = options.connect.clone().disable_statement_logging();
    if options.transaction_pooling {
        // A statement that is kept prepared would be kept in somebody else's session.
        connect = connect.statement_cache_capacity(0);
    }
    match connect.get_application_name() {
        Some(_) => connect,
        None => connect.application_name("order-engine"),
    }
}
