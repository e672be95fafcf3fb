//! The fan-out between processes, by NOTIFY and LISTEN.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::fanout::{Broker, BrokerFanout, MessageStream};
use order_engine_core::{Runtime, StatusSink, StatusSource, StoreError, StoreErrorKind};
use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};

use crate::connect::{Connections, connect_options};
use crate::error::Error;
use crate::options::{OptionsError, PostgresOptions};
use crate::sql::fanout::NOTIFY_NOW;

/// The largest message: PostgreSQL takes payloads shorter than 8,000 bytes.
const MAX_PAYLOAD_BYTES: usize = 7_999;

/// How long the listening connection may take to be made, and to answer a ping.
const ANSWER: Duration = Duration::from_secs(5);

/// Publishes what this process commits to the other processes, and hears what they commit: a fan-out beside
/// any store. Beside a [`PostgresStore`](crate::PostgresStore), give both the same options.
///
/// Cheap to clone. Clones, sinks and sources share two connections, one that publishes and one that listens,
/// which end with the last of them.
///
/// It publishes after the commit and not within the transactions that write orders: a NOTIFY takes a lock of
/// the whole database at the commit, so that each commit would wait for the disk writes of all others.
#[derive(Clone, Debug)]
pub struct PostgresFanout(BrokerFanout);

impl PostgresFanout {
    /// Makes a fan-out that connects when it is first used.
    ///
    /// # Errors
    /// If the connections are pooled by transaction, so that none of them can listen.
    pub fn new(options: PostgresOptions) -> Result<Self, OptionsError> {
        Ok(Self(BrokerFanout::new(Arc::new(PostgresBroker::new(options)?), Runtime::tokio())))
    }

    /// Connects and begins to listen: the source has everything that others publish after this.
    ///
    /// # Errors
    /// If the connections are pooled by transaction, or the server cannot be reached.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let broker = PostgresBroker::new(options)
            .map_err(|error| StoreError::of(StoreErrorKind::Misconfigured, error))?;
        Ok(Self(BrokerFanout::open(Arc::new(broker), Runtime::tokio()).await?))
    }

    /// Returns the best-effort sink that publishes this engine's events.
    pub fn sink(&self) -> Arc<dyn StatusSink> {
        self.0.sink()
    }

    /// Returns the source of hints from the other processes, for one engine.
    pub fn source(&self) -> Arc<dyn StatusSource> {
        self.0.source()
    }
}

/// Returns the channel of a schema's hints: engines with different schemas share a database unnoticed.
fn channel(schema: &str) -> String {
    format!("{schema}.events")
}

struct PostgresBroker {
    options: PostgresOptions,
    channel: String,
    publishing: Connections,
}

impl fmt::Debug for PostgresBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBroker").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl PostgresBroker {
    fn new(options: PostgresOptions) -> Result<Self, OptionsError> {
        if options.transaction_pooling {
            return Err(OptionsError::CannotListen);
        }
        let publishing = Connections::new(&options.clone().with_connections(1));
        Ok(Self { channel: channel(&options.schema), options, publishing })
    }

    async fn notify(&self, messages: Vec<String>) -> Result<(), Error> {
        let mut used = self.publishing.take().await?;
        sqlx::query(NOTIFY_NOW).bind(&self.channel).bind(messages).execute(&mut used.connection).await?;
        self.publishing.put_back(used);
        Ok(())
    }

    async fn listen(&self) -> Result<PostgresStream, Error> {
        // Each connection has a pool of its own, so that a failed one cannot hold up the next.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.connect_lazy_with(connect_options(&self.options));
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(&self.channel).await?;
        Ok(PostgresStream(listener))
    }
}

#[async_trait]
impl Broker for PostgresBroker {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn max_message_bytes(&self) -> usize {
        MAX_PAYLOAD_BYTES
    }

    async fn publish(&self, messages: Vec<String>) -> Result<(), StoreError> {
        Ok(within(self.options.operation_timeout, self.notify(messages)).await?)
    }

    async fn subscribe(&self) -> Result<Box<dyn MessageStream>, StoreError> {
        Ok(Box::new(within(ANSWER, self.listen()).await?))
    }
}

/// The connection that listens.
struct PostgresStream(PgListener);

#[async_trait]
impl MessageStream for PostgresStream {
    async fn next(&mut self) -> Result<String, StoreError> {
        match self.0.try_recv().await.map_err(Error::from)? {
            Some(notification) => Ok(notification.payload().to_owned()),
            None => Err(StoreError::new(StoreErrorKind::Unavailable, "the connection was closed")),
        }
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        let ping = async { Ok(self.0.execute("SELECT 1").await.map(drop)?) };
        Ok(within(ANSWER, ping).await?)
    }
}

async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    tokio::time::timeout(timeout, call).await.unwrap_or(Err(Error::TimedOut))
}
