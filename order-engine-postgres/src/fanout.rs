//! The fan-out between processes, by NOTIFY and LISTEN.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{
    EventRecord, Hint, Runtime, SinkError, SinkGuarantee, StatusSink, StatusSource, hints,
};
use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Mutex;

use crate::connect::{Connections, connect_options};
use crate::error::Error;
use crate::options::{OptionsError, PostgresOptions};
use crate::sql::NOTIFY_NOW;

/// The most that PostgreSQL takes: a payload must be shorter than 8,000 bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 7_999;

/// After so long without a word, the listening connection is asked whether it is alive.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it may take to answer, and to be made.
const ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before connecting again; doubled up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// The longest such wait.
const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// Tells the other processes of committed events, and hears them: a [`StatusSink`] and a
/// [`StatusSource`] at once.
///
/// It is a fan-out for any store; with a [`PostgresStore`](crate::PostgresStore), give both the same
/// options. One connection listens, and one other says what this process has committed, many events to
/// a message.
///
/// It says nothing within the transactions that write orders: a NOTIFY takes a lock of the whole
/// database at the commit, and every commit would wait for every other one's disk.
pub struct PostgresFanout {
    sender: u128,
    options: PostgresOptions,
    saying: Connections,
    listening: Mutex<Listening>,
    is_connected: AtomicBool,
}

/// The receiving end.
#[derive(Default)]
struct Listening {
    listener: Option<PgListener>,
    /// What was heard and not yet told.
    heard: VecDeque<Hint>,
    failures: u32,
}

impl fmt::Debug for PostgresFanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresFanout").field("schema", &self.options.schema).finish_non_exhaustive()
    }
}

/// The channel of a schema's events: engines that share a database hear only their own.
pub(crate) fn channel(schema: &str) -> String {
    format!("{schema}.events")
}

impl PostgresFanout {
    /// A fan-out that connects when it is first used, and again whenever it has to.
    ///
    /// # Errors
    /// If the connections are pooled by transaction: nobody can listen on them.
    pub fn new(options: PostgresOptions) -> Result<Self, OptionsError> {
        if options.transaction_pooling {
            return Err(OptionsError::CannotListen);
        }
        Ok(Self {
            sender: Runtime::tokio().entropy.next_u128(),
            saying: Connections::new(&options.clone().with_connections(1)),
            options,
            listening: Mutex::default(),
            is_connected: AtomicBool::new(false),
        })
    }

    async fn say(&self, events: &[Arc<EventRecord>]) -> Result<(), Error> {
        let messages = hints::pack(events, self.sender, MAX_PAYLOAD_BYTES);
        let mut used = self.saying.take().await?;
        sqlx::query(NOTIFY_NOW)
            .bind(channel(&self.options.schema))
            .bind(messages)
            .execute(&mut used.connection)
            .await?;
        self.saying.put_back(used);
        Ok(())
    }

    /// Hears something, or notices that it cannot.
    async fn listen(&self, listening: &mut Listening) {
        let Some(listener) = &mut listening.listener else { return self.connect(listening).await };
        let reason = match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(heard))) => return listening.heard.extend(self.hints(heard.payload())),
            Ok(Ok(None)) => "the connection was closed".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_silence) => match tokio::time::timeout(ANSWER, listener.execute("SELECT 1")).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the server does not answer".to_owned(),
            },
        };
        tracing::warn!(reason, "the fan-out hears nothing any more, and connects again");
        self.is_connected.store(false, Ordering::Release);
        listening.listener = None;
    }

    async fn connect(&self, listening: &mut Listening) {
        let result = tokio::time::timeout(ANSWER, self.listener()).await;
        match result.unwrap_or(Err(Error::TimedOut)) {
            Ok(listener) => {
                listening.listener = Some(listener);
                listening.failures = 0;
                self.is_connected.store(true, Ordering::Release);
                // Whatever was said before now was said to nobody.
                listening.heard.push_back(Hint::Resync);
            }
            Err(error) => {
                tracing::warn!(%error, "the fan-out cannot connect");
                let wait = RECONNECT_MIN * 2_u32.saturating_pow(listening.failures.min(8));
                listening.failures = listening.failures.saturating_add(1);
                tokio::time::sleep(wait.min(RECONNECT_MAX)).await;
            }
        }
    }

    async fn listener(&self) -> Result<PgListener, Error> {
        // A pool for this one connection: what is wrong with the last one cannot be in its way.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.connect_lazy_with(connect_options(&self.options));
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(&channel(&self.options.schema)).await?;
        Ok(listener)
    }

    fn hints(&self, payload: &str) -> Vec<Hint> {
        hints::unpack(payload, self.sender).unwrap_or_else(|error| {
            tracing::warn!(%error, "the fan-out heard something that it does not understand");
            Vec::new()
        })
    }
}

#[async_trait]
impl StatusSink for PostgresFanout {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::BestEffort
    }

    async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), SinkError> {
        let said = tokio::time::timeout(self.options.operation_timeout, self.say(events)).await;
        said.unwrap_or(Err(Error::TimedOut)).map_err(|error| SinkError::new(error.to_string()))
    }
}

#[async_trait]
impl StatusSource for PostgresFanout {
    async fn next(&self) -> Hint {
        let mut listening = self.listening.lock().await;
        loop {
            if let Some(hint) = listening.heard.pop_front() {
                return hint;
            }
            self.listen(&mut listening).await;
        }
    }

    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }
}
