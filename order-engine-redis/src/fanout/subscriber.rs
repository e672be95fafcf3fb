//! The one connection that listens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use order_engine_core::{Hint, hints};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, Msg, Value};
use tokio::sync::mpsc;

use super::{LOST, State};
use crate::connect;
use crate::error::Error;
use crate::link::Link;

/// How often the server is asked whether it is still there, and still takes writes. A connection that
/// was cut without a word is noticed so.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The wait after a failed attempt to connect; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Listens, and connects again when it must.
pub(super) struct Subscriber {
    link: Arc<Link>,
    channel: String,
    /// Who this process is.
    own: u128,
    queue: mpsc::Sender<Hint>,
    state: Arc<State>,
}

/// A connection that listens.
type Subscription = (PubSubSink, PubSubStream);

impl Subscriber {
    pub(super) fn new(
        link: Arc<Link>,
        channel: String,
        own: u128,
        queue: mpsc::Sender<Hint>,
        state: Arc<State>,
    ) -> Self {
        Self { link, channel, own, queue, state }
    }

    /// Connects and subscribes: what is published from now on is heard.
    pub(super) async fn subscribe(&self) -> Result<Subscription, Error> {
        let connecting = async {
            self.link.check().await?;
            let client: Client = connect::client(self.link.options())?;
            let mut subscription = client.get_async_pubsub().await?.split();
            subscription.0.subscribe(&self.channel).await?;
            self.state.is_connected.store(true, Ordering::Release);
            Ok(subscription)
        };
        let timeout = self.link.options().connect_timeout;
        tokio::time::timeout(timeout, connecting).await.map_err(|_| Error::TimedOut)?
    }

    /// Listens until the fan-out is dropped.
    pub(super) async fn run(self, first: Subscription) {
        let mut subscription = first;
        loop {
            let error = self.listen(&mut subscription).await;
            self.state.is_connected.store(false, Ordering::Release);
            tracing::warn!(server = %self.link.options().address(), %error, "hints are not heard, connecting again");
            drop(subscription);
            subscription = self.resubscribe().await;
            // Whatever was published meanwhile is lost.
            self.push(Hint::Resync);
        }
    }

    async fn resubscribe(&self) -> Subscription {
        let mut wait = RETRY_MIN;
        loop {
            match self.subscribe().await {
                Ok(subscription) => return subscription,
                Err(error) => tracing::debug!(%error, "hints cannot be heard yet"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Takes messages until the connection fails: why it did.
    async fn listen(&self, (sink, stream): &mut Subscription) -> Error {
        let mut pings = tokio::time::interval(PING_INTERVAL);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.hear(&message),
                    None => return Error::Reply("the connection ended".to_owned()),
                },
                _ = pings.tick() => {
                    if let Err(error) = self.ping(sink).await {
                        return error;
                    }
                }
            }
        }
    }

    /// Messages wait while this waits, and are not lost.
    async fn ping(&self, sink: &mut PubSubSink) -> Result<(), Error> {
        let asking = async {
            sink.ping::<Value>().await?;
            // After a fail-over the connection may lead to a replica, where nobody publishes.
            self.link.check().await
        };
        let timeout = self.link.options().operation_timeout;
        tokio::time::timeout(timeout, asking).await.unwrap_or(Err(Error::TimedOut))
    }

    fn hear(&self, message: &Msg) {
        let text = String::from_utf8_lossy(message.get_payload_bytes());
        if text == LOST {
            return self.push(Hint::Resync);
        }
        match hints::unpack(&text, self.own) {
            Ok(hints) => hints.into_iter().for_each(|hint| self.push(hint)),
            Err(error) => {
                // Whoever said it may be newer. Something happened, in any case.
                tracing::debug!(%error, "a message cannot be read");
                self.push(Hint::Resync);
            }
        }
    }

    fn push(&self, hint: Hint) {
        if self.queue.try_send(hint).is_err() {
            self.state.has_lost.store(true, Ordering::Release);
        }
    }
}
