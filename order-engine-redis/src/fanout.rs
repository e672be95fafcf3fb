//! The fan-out between processes, by PUBLISH and SUBSCRIBE.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use order_engine_core::fanout::{Broker, BrokerFanout, MessageStream};
use order_engine_core::{Runtime, StatusSink, StatusSource, StoreError, StoreErrorKind};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Cmd, Value};

use crate::connect::{self, Purpose};
use crate::error::Error;
use crate::options::RedisOptions;
use crate::schema;
use crate::session::Session;

/// The largest message. Every process receives every message, and the server cuts off those that are too far
/// behind.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Publishes what this process commits to the other processes, and hears what they commit: a fan-out beside
/// any store.
///
/// One channel carries the events of all orders under a prefix. Nothing is kept on the server, so its
/// durability does not matter.
///
/// Cheap to clone. Clones, sinks and sources share two connections, one that publishes and one that listens,
/// which end with the last of them.
#[derive(Clone, Debug)]
pub struct RedisFanout(BrokerFanout);

impl RedisFanout {
    /// Makes a fan-out that connects when it is first used.
    pub fn new(options: RedisOptions) -> Self {
        Self(BrokerFanout::new(Arc::new(RedisBroker::new(options)), Runtime::tokio()))
    }

    /// Connects and begins to listen: the source has everything that others publish after this.
    ///
    /// # Errors
    /// If the server cannot be reached, or is a replica.
    pub async fn open(options: RedisOptions) -> Result<Self, StoreError> {
        Self::boxed_open(options).await
    }

    /// Boxes the future in this crate, so that the callers' crates do not compile the driver again.
    fn boxed_open(options: RedisOptions) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(Self::connect(options))
    }

    async fn connect(options: RedisOptions) -> Result<Self, StoreError> {
        Ok(Self(BrokerFanout::open(Arc::new(RedisBroker::new(options)), Runtime::tokio()).await?))
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

#[derive(Debug)]
struct RedisBroker {
    channel: String,
    publishing: Arc<Session>,
}

impl RedisBroker {
    fn new(options: RedisOptions) -> Self {
        let channel = schema::key(&options, "hints");
        Self { channel, publishing: Arc::new(Session::new(options, Purpose::Hints)) }
    }

    fn publication(&self, message: &str) -> Cmd {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channel).arg(message);
        publish
    }

    async fn listen(&self) -> Result<RedisStream, Error> {
        self.publishing.check().await?;
        let client = connect::client(self.publishing.options())?;
        let (mut sink, messages) = client.get_async_pubsub().await?.split();
        sink.subscribe(&self.channel).await?;
        Ok(RedisStream { sink, messages, publishing: Arc::clone(&self.publishing) })
    }
}

#[async_trait]
impl Broker for RedisBroker {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES
    }

    async fn publish(&self, messages: Vec<String>) -> Result<(), StoreError> {
        let publications = messages.iter().map(|message| self.publication(message)).collect();
        self.publishing.in_time(self.publishing.read_all(publications)).await?;
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn MessageStream>, StoreError> {
        let options = self.publishing.options();
        let listening = tokio::time::timeout(options.connect_timeout, self.listen()).await;
        let stream = listening.unwrap_or(Err(Error::TimedOut)).map_err(|error| error.at(options))?;
        Ok(Box::new(stream))
    }
}

/// The connection that listens, which redis-rs gives in two halves.
struct RedisStream {
    sink: PubSubSink,
    messages: PubSubStream,
    publishing: Arc<Session>,
}

#[async_trait]
impl MessageStream for RedisStream {
    async fn next(&mut self) -> Result<String, StoreError> {
        match self.messages.next().await {
            Some(message) => Ok(String::from_utf8_lossy(message.get_payload_bytes()).into_owned()),
            None => Err(StoreError::new(StoreErrorKind::Unavailable, "the connection was closed")),
        }
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        let Self { sink, publishing, .. } = self;
        let ping = async {
            sink.ping::<Value>().await?;
            // After a fail-over the connection may lead to a replica, on which no process publishes.
            publishing.check().await
        };
        let answered = tokio::time::timeout(publishing.options().operation_timeout, ping).await;
        Ok(answered.unwrap_or(Err(Error::TimedOut))?)
    }
}
