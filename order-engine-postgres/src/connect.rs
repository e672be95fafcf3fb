//! Connections.
//!
//! sqlx's own pool sends a query after every use of a connection and waits for its answer without limit, so
//! a server that falls silent would block the whole pool. This pool keeps the connections whose last use
//! succeeded, checks them after a pause, and drops the others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use order_engine_core::backend::PoolUse;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::Error;
use crate::options::PostgresOptions;

/// For how long after its last use a connection is assumed to be alive.
const FRESH: Duration = Duration::from_secs(1);
/// How long a connection may take to answer that it is alive.
const PING: Duration = Duration::from_secs(2);
/// After this time an unused connection is closed.
const IDLE: Duration = Duration::from_mins(5);

/// The settings of a session. Each statement looks rows up by keys and is planned once: statistics from the
/// time when a table was nearly empty must not lead to a plan that walks through millions of rows later.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
    SET default_transaction_isolation = 'read committed';";

/// Begins a transaction in which each statement sees what was committed before it, whatever the server's
/// default is: a write that has waited for a lock must see what the former holder of the lock did.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The connections of a store. They have its password.
pub(crate) struct Connections {
    options: PgConnectOptions,
    /// What each new connection runs first; nothing behind a proxy, where clients share sessions.
    session: Option<String>,
    permits: Arc<Semaphore>,
    max: usize,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection in use. It is kept only if it is [put back](Connections::put_back). If it is dropped, it
/// is closed, because it may be in the middle of something.
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
            max: options.connections as usize,
            idle: Mutex::default(),
        }
    }

    /// Returns a connection that was alive a moment ago.
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

    /// Keeps a connection whose last use succeeded.
    pub(crate) fn put_back(&self, used: InUse) {
        let now = Instant::now();
        let mut idle = self.idle();
        // The connection used last is taken first, so the first ones in the list have been idle for longest.
        let expired = idle.iter().take_while(|idle| now - idle.since > IDLE).count();
        idle.drain(..expired);
        idle.push(Idle { connection: used.connection, since: now });
    }

    pub(crate) fn pool(&self) -> PoolUse {
        PoolUse::new(self.max.saturating_sub(self.permits.available_permits()), self.idle().len(), self.max)
    }

    fn pop(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // Nothing in here panics while the lock is held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresOptions {
    /// Returns how connections to the database are opened, for what a host keeps there beside the orders. They have the
    /// password.
    pub fn connect_options(&self) -> PgConnectOptions {
        connect_options(self)
    }
}

/// Returns the options with which every connection of this crate is opened.
pub(crate) fn connect_options(options: &PostgresOptions) -> PgConnectOptions {
    let mut connect = options.connect.clone().disable_statement_logging();
    if options.transaction_pooling {
        // A statement would stay prepared in a session that another client uses next.
        connect = connect.statement_cache_capacity(0);
    }
    match connect.get_application_name() {
        Some(_) => connect,
        None => connect.application_name("order-engine"),
    }
}
