//! One WebSocket client: frames out, nothing of interest in, and a reason to end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, Stream, StreamExt};
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

use crate::live::feed::{FeedEnd, Item};
use crate::live::outbox::{Outbox, OutboxBounds, Overflow};
use crate::live::sockets::Closing;

/// The rules of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRules {
    pub(crate) ping_interval: Duration,
    /// How long a client may say nothing at all; pings are there to be answered.
    pub(crate) silence_max: Duration,
    pub(crate) inbound_bytes_max: usize,
    /// Clients only listen; this many messages a second are still no abuse.
    pub(crate) inbound_per_second_max: u32,
    pub(crate) outbox: OutboxBounds,
    /// How long a client has to take its last frames and to answer the close.
    pub(crate) close_grace: Duration,
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(20),
            silence_max: Duration::from_secs(45),
            inbound_bytes_max: 4 * 1024,
            inbound_per_second_max: 10,
            outbox: OutboxBounds { messages: 256, bytes: 1024 * 1024 },
            close_grace: Duration::from_secs(5),
        }
    }
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The order is done, and the client has all of it.
    Done,
    /// The server shuts down.
    ShuttingDown,
    /// The client did not keep up.
    Lagged,
    /// The client sent too much in too short a time.
    TooChatty,
    /// The client sent a message that is too large.
    TooLarge,
    /// The client broke the protocol.
    Protocol,
    /// The client said nothing for too long.
    Silent,
    /// There is no such order.
    UnknownOrder,
    /// The store does not answer.
    Unavailable,
    /// The client hung up or broke off.
    Gone,
}

impl End {
    /// The close code and its words; nothing if the client closed first or is gone.
    const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Done => Some((1000, "the order is done")),
            Self::ShuttingDown => Some((1001, "the server is shutting down; reconnect with ?after=")),
            Self::Protocol => Some((1002, "protocol error")),
            Self::TooChatty => Some((1008, "too many messages")),
            Self::Silent => Some((1008, "no answer to pings")),
            Self::TooLarge => Some((1009, "message too large")),
            Self::Lagged => Some((1013, "fell behind; reconnect with ?after=")),
            Self::Unavailable => Some((1013, "the store does not answer; try again")),
            Self::UnknownOrder => Some((4404, "no such order")),
            Self::Gone => None,
        }
    }
}

/// What the server tells all sessions.
#[derive(Debug)]
pub(crate) struct Announcements {
    pub(crate) notices: broadcast::Receiver<Arc<str>>,
    pub(crate) closing: Closing,
}

/// A session with one client.
pub(crate) struct Session<S> {
    rules: SessionRules,
    sink: SplitSink<S, Message>,
    inbound: SplitStream<S>,
    outbox: Outbox,
    allowance: Allowance,
    heard_at: Instant,
}

impl<S> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

impl<S> Session<S>
where
    S: Stream<Item = Result<Message, axum::Error>> + Sink<Message, Error = axum::Error> + Send + Unpin,
{
    pub(crate) fn new(socket: S, rules: SessionRules) -> Self {
        let (sink, inbound) = socket.split();
        let allowance = Allowance::new(rules.inbound_per_second_max);
        Self { rules, sink, inbound, outbox: Outbox::new(rules.outbox), allowance, heard_at: Instant::now() }
    }

    /// Queues a frame that belongs to no event.
    pub(crate) fn greet(&mut self, frame: String) {
        // A new session has room for its first frames.
        let _ = self.outbox.push_text(frame);
    }

    /// Sends a feed until something ends the session, and says why. History, up to the event
    /// numbered `last_seq`, is read at the client's pace; what is live must be taken as it comes.
    pub(crate) async fn run<F>(&mut self, feed: F, last_seq: u64, mut announcements: Announcements) -> End
    where
        F: Stream<Item = Result<Item, FeedEnd>> + Send,
    {
        let mut feed = std::pin::pin!(feed);
        let mut pings = interval_at(Instant::now() + self.rules.ping_interval, self.rules.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_history, mut is_complete) = (last_seq > 0, false);
        loop {
            if is_complete && self.outbox.is_empty() {
                return End::Done;
            }
            let is_pulling = !is_complete && (!is_history || self.outbox.is_empty());
            tokio::select! {
                biased;
                () = announcements.closing.wait() => return End::ShuttingDown,
                message = self.inbound.next() => {
                    if let Err(end) = self.take(message) {
                        return end;
                    }
                }
                // Before the feed: only a client that does not take its frames falls behind.
                result = self.outbox.flush(&mut self.sink), if !self.outbox.is_empty() => {
                    if result.is_err() {
                        return End::Gone;
                    }
                }
                item = feed.next(), if is_pulling => match item {
                    Some(Ok(item)) => {
                        is_history = item.seq < last_seq;
                        if self.outbox.push_text(item.json) == Err(Overflow) {
                            return End::Lagged;
                        }
                    }
                    Some(Err(FeedEnd::Lagged)) => return End::Lagged,
                    Some(Err(FeedEnd::Closed)) => return End::ShuttingDown,
                    None => is_complete = true,
                },
                notice = announcements.notices.recv() => {
                    // Missed notices are of no use afterwards, and a client that has no room for
                    // one has more urgent frames waiting.
                    if let Ok(notice) = notice {
                        let _ = self.outbox.push_text(notice.to_string());
                    }
                }
                _ = pings.tick() => self.outbox.push_control(Message::Ping(axum::body::Bytes::new())),
                () = sleep_until(self.heard_at + self.rules.silence_max) => return End::Silent,
            }
        }
    }

    /// Looks at what the client sent: it is never of interest, but it may be too much.
    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = match message {
            None | Some(Ok(Message::Close(_))) => return Err(End::Gone),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(end_of(&error)),
        };
        let now = Instant::now();
        self.heard_at = now;
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
            _ => 0,
        };
        if bytes > self.rules.inbound_bytes_max {
            return Err(End::TooLarge);
        }
        if self.allowance.take(now) { Ok(()) } else { Err(End::TooChatty) }
    }

    /// Ends the session: tells the client why, or answers its own close, and waits a little for
    /// it to hear.
    pub(crate) async fn close(mut self, end: End) {
        if matches!(end, End::Lagged | End::Gone) {
            // What is not sent is read again after a reconnect.
            self.outbox.clear();
        }
        if let Some((code, reason)) = end.close() {
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            self.outbox.push_control(Message::Close(Some(frame)));
        }
        let farewell = async {
            if self.outbox.flush(&mut self.sink).await.is_ok() {
                // Whatever is still under way is read until the client hangs up: unread data
                // would reset the connection and take the close frame with it.
                while let Some(Ok(_)) = self.inbound.next().await {}
            }
        };
        // A client that does not answer is left behind.
        let _ = timeout(self.rules.close_grace, farewell).await;
    }
}

/// Why reading failed.
fn end_of(error: &axum::Error) -> End {
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<tungstenite::Error>()) {
        Some(tungstenite::Error::Capacity(_)) => End::TooLarge,
        Some(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => End::Gone,
        Some(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)) => End::Protocol,
        _ => End::Gone,
    }
}

/// How many messages a client may still send in the current second.
#[derive(Debug)]
struct Allowance {
    per_second: u32,
    left: u32,
    second_began_at: Instant,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, second_began_at: Instant::now() }
    }

    /// Takes one message; whether it was within the allowance.
    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second_began_at) >= Duration::from_secs(1) {
            self.second_began_at = now;
            self.left = self.per_second;
        }
        let is_allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_allowed
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
