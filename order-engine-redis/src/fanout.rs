//! Hints between processes, over one channel of a Redis server.

mod subscriber;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use order_engine_core::{
    EventRecord, Hint, Runtime, SinkError, SinkGuarantee, StatusSink, StatusSource, StoreError, hints,
};
use redis::Cmd;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use crate::connect::Purpose;
use crate::error::Error;
use crate::link::Link;
use crate::options::RedisOptions;
use subscriber::Subscriber;

/// How many hints may wait for the engine. What does not fit is replaced by one word that hints were lost.
const QUEUE: usize = 4_096;
/// How large a message may be. Every process is sent every message, and the server cuts those off that are
/// too far behind.
const MESSAGE_BYTES: usize = 64 * 1024;
/// The message that others before it were lost.
const LOST: &str = "lost";

/// Tells the other processes of what this one commits, and the other way round: beside any store.
///
/// One channel carries the events of all orders under a prefix. Cheap to clone; clones share their two
/// connections, one of which publishes and one of which listens. They end with the last of the clones,
/// sinks and sources.
#[derive(Clone, Debug)]
pub struct RedisFanout {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    channel: String,
    /// Who this process is, so that it can tell its own messages.
    sender: u128,
    /// Whether something could not be published, which the others must be told.
    has_lost: AtomicBool,
    hints: Mutex<mpsc::Receiver<Hint>>,
    state: Arc<State>,
    listening: AbortHandle,
}

/// What the task that listens tells of itself.
#[derive(Debug, Default)]
struct State {
    is_connected: AtomicBool,
    /// Whether hints did not fit into the queue.
    has_lost: AtomicBool,
}

impl RedisFanout {
    /// Connects and begins to listen: whatever others publish after this is heard.
    ///
    /// Nothing is kept on the server, so what it promises of its data does not matter.
    ///
    /// # Errors
    /// If the server cannot be reached, or is a replica.
    pub async fn open(options: RedisOptions) -> Result<Self, StoreError> {
        let address = options.address();
        Ok(Self::open_inner(options)
            .await
            .map_err(|error| Error::Open { address, source: Box::new(error) })?)
    }

    async fn open_inner(options: RedisOptions) -> Result<Self, Error> {
        let channel = format!("{}:events", options.key_prefix());
        let sender = Runtime::tokio().entropy.next_u128();
        let link = Link::open(options, Purpose::Hints).await?;
        let (queue, hints) = mpsc::channel(QUEUE);
        let state = Arc::new(State::default());
        let subscriber =
            Subscriber::new(Arc::clone(&link), channel.clone(), sender, queue, Arc::clone(&state));
        let first = subscriber.subscribe().await?;
        let listening = tokio::spawn(subscriber.run(first)).abort_handle();
        let (has_lost, hints) = (AtomicBool::new(false), Mutex::new(hints));
        Ok(Self { inner: Arc::new(Inner { link, channel, sender, has_lost, hints, state, listening }) })
    }

    /// The end that publishes: a best-effort sink of this process's engine.
    pub fn sink(&self) -> Arc<dyn StatusSink> {
        Arc::new(RedisSink(Arc::clone(&self.inner)))
    }

    /// The end that listens, for one engine.
    pub fn source(&self) -> Arc<dyn StatusSource> {
        Arc::new(RedisSource(Arc::clone(&self.inner)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[derive(Debug)]
struct RedisSink(Arc<Inner>);

#[async_trait]
impl StatusSink for RedisSink {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::BestEffort
    }

    async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), SinkError> {
        let Inner { link, channel, sender, has_lost, .. } = &*self.0;
        let had_lost = has_lost.swap(true, Ordering::AcqRel);
        let publish = |message: &str| {
            let mut publish: Cmd = redis::cmd("PUBLISH");
            publish.arg(channel).arg(message);
            publish
        };
        let packed = hints::pack(events, *sender, MESSAGE_BYTES);
        let lost = had_lost.then_some(LOST);
        let messages = lost.into_iter().chain(packed.iter().map(String::as_str)).map(publish).collect();
        let publishing = link.send_repeatable(messages);
        match tokio::time::timeout(link.options().operation_timeout, publishing).await {
            Ok(Ok(_)) => {
                has_lost.store(false, Ordering::Release);
                Ok(())
            }
            Ok(Err(error)) => Err(SinkError::new(error.to_string())),
            Err(_) => {
                link.abandon();
                Err(SinkError::new(Error::TimedOut.to_string()))
            }
        }
    }
}

#[derive(Debug)]
struct RedisSource(Arc<Inner>);

#[async_trait]
impl StatusSource for RedisSource {
    async fn next(&self) -> Hint {
        let mut hints = self.0.hints.lock().await;
        if self.0.state.has_lost.swap(false, Ordering::AcqRel) {
            return Hint::Resync;
        }
        match hints.recv().await {
            Some(hint) => hint,
            // The runtime shuts down.
            None => std::future::pending().await,
        }
    }

    fn is_connected(&self) -> bool {
        self.0.state.is_connected.load(Ordering::Acquire)
    }
}
