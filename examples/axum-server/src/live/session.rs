//! One WebSocket client: frames out, nothing of interest in, and a reason to end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use futures_util::stream::unfold;
use futures_util::{Sink, Stream, StreamExt};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

use crate::live::feed::{FeedEnd, Item};
use crate::live::outbox::{Outbox, OutboxBounds, Overflow};
use crate::live::sockets::Closing;

/// How many frames are gathered before they are written. The whole life of most orders fits, so that a
/// client who comes late is told all of it in one write.
const BURST: usize = 32;

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
    socket: S,
    outbox: Outbox,
    /// Whether the last frame of all is in the outbox, or was.
    is_closing: bool,
    allowance: Allowance,
    heard_at: Instant,
    ping_at: Instant,
}

/// How far a session has come with its feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// History, up to the event of this number, is read at the client's pace.
    History { last_seq: u64 },
    /// What is live must be taken as it comes.
    Live,
    /// There is nothing more to read.
    Complete,
}

/// Why no more of a feed was gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    /// It has nothing more at the moment, and wakes the session once it has.
    All,
    /// There is enough to be written first.
    Burst,
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
        let now = Instant::now();
        Self {
            rules,
            socket,
            outbox: Outbox::new(rules.outbox),
            is_closing: false,
            allowance: Allowance::new(rules.inbound_per_second_max),
            heard_at: now,
            ping_at: now + rules.ping_interval,
        }
    }

    /// Queues a frame that belongs to no event.
    pub(crate) fn greet(&mut self, frame: String) {
        // A new session has room for its first frames.
        let _ = self.outbox.push_text(frame);
    }

    /// Sends a feed, whose history goes up to the event numbered `last_seq`, until something ends the
    /// session, and says what.
    pub(crate) async fn run<F>(&mut self, feed: F, last_seq: u64, announcements: Announcements) -> End
    where
        F: Stream<Item = Result<Item, FeedEnd>> + Send,
    {
        let Announcements { notices, mut closing } = announcements;
        let mut reading = if last_seq > 0 { Reading::History { last_seq } } else { Reading::Live };
        let mut feed = pin!(feed);
        // All of these last as long as the session does: to begin to wait costs more than to go on.
        let mut closing = pin!(closing.wait());
        let mut notices = pin!(unfold(notices, next_notice).fuse());
        let mut clock = pin!(sleep_until(self.tick_at()));
        loop {
            tokio::select! {
                biased;
                () = &mut closing => return End::ShuttingDown,
                end = poll_fn(|cx| self.poll_exchange(cx, feed.as_mut(), &mut reading)) => return end,
                Some(notice) = notices.next() => {
                    // A client that has no room for a notice has more urgent frames waiting.
                    if !self.is_closing {
                        let _ = self.outbox.push_text(&*notice);
                    }
                }
                () = &mut clock => {
                    if self.tick(Instant::now()) {
                        return End::Silent;
                    }
                    clock.as_mut().reset(self.tick_at());
                }
            }
        }
    }

    /// Receives and sends all that can be, until there is a reason to end.
    fn poll_exchange<F>(
        &mut self,
        cx: &mut Context<'_>,
        mut feed: Pin<&mut F>,
        reading: &mut Reading,
    ) -> Poll<End>
    where
        F: Stream<Item = Result<Item, FeedEnd>>,
    {
        loop {
            while let Poll::Ready(message) = self.socket.poll_next_unpin(cx) {
                if let Err(end) = self.take(message) {
                    return Poll::Ready(end);
                }
            }
            let gathered = match self.gather(cx, feed.as_mut(), reading) {
                Ok(gathered) => gathered,
                Err(end) => return Poll::Ready(end),
            };
            let is_flushed = match self.outbox.poll_flush(cx, &mut self.socket) {
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                flushed => flushed.is_ready(),
            };
            match *reading {
                Reading::Complete if is_flushed => return Poll::Ready(End::Done),
                Reading::Complete => return Poll::Pending,
                // History waits until there is room again. What is live does not: only a client that
                // does not take its frames falls behind.
                Reading::History { .. } if !is_flushed => return Poll::Pending,
                _ if gathered == Gathered::All => return Poll::Pending,
                _ => {}
            }
        }
    }

    /// Queues what the feed has, so many frames at a time.
    fn gather<F>(
        &mut self,
        cx: &mut Context<'_>,
        mut feed: Pin<&mut F>,
        reading: &mut Reading,
    ) -> Result<Gathered, End>
    where
        F: Stream<Item = Result<Item, FeedEnd>>,
    {
        for _ in 0..BURST {
            match *reading {
                Reading::Complete => return Ok(Gathered::All),
                Reading::History { .. } if self.outbox.waiting() >= BURST => return Ok(Gathered::Burst),
                _ => {}
            }
            match feed.as_mut().poll_next(cx) {
                Poll::Pending => return Ok(Gathered::All),
                Poll::Ready(Some(Ok(item))) => {
                    if matches!(*reading, Reading::History { last_seq } if item.seq >= last_seq) {
                        *reading = Reading::Live;
                    }
                    self.outbox.push_text(item.frame).map_err(|Overflow| End::Lagged)?;
                }
                Poll::Ready(Some(Err(FeedEnd::Lagged))) => return Err(End::Lagged),
                Poll::Ready(Some(Err(FeedEnd::Closed))) => return Err(End::ShuttingDown),
                Poll::Ready(None) => {
                    *reading = Reading::Complete;
                    // With the last frame, in one write.
                    self.say_goodbye(End::Done);
                }
            }
        }
        Ok(Gathered::Burst)
    }

    /// Queues the close, after which nothing may follow.
    fn say_goodbye(&mut self, end: End) {
        if let Some((code, reason)) = end.close().filter(|_| !self.is_closing) {
            self.is_closing = true;
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            self.outbox.push_control(Message::Close(Some(frame)));
        }
    }

    /// When the client is to be pinged, or given up.
    fn tick_at(&self) -> Instant {
        self.ping_at.min(self.heard_at + self.rules.silence_max)
    }

    /// Pings the client if it is time to; whether it has been silent for too long.
    fn tick(&mut self, now: Instant) -> bool {
        if now >= self.ping_at {
            // Pings that were missed are not made up for.
            self.ping_at = now + self.rules.ping_interval;
            if !self.is_closing {
                self.outbox.push_control(Message::Ping(axum::body::Bytes::new()));
            }
        }
        now >= self.heard_at + self.rules.silence_max
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
        self.say_goodbye(end);
        let farewell = async {
            if poll_fn(|cx| self.outbox.poll_flush(cx, &mut self.socket)).await.is_ok() {
                // Whatever is still under way is read until the client hangs up: unread data
                // would reset the connection and take the close frame with it.
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // A client that does not answer is left behind.
        let _ = timeout(self.rules.close_grace, farewell).await;
    }
}

/// The next notice to all. Missed ones are of no use afterwards.
async fn next_notice(
    mut notices: broadcast::Receiver<Arc<str>>,
) -> Option<(Arc<str>, broadcast::Receiver<Arc<str>>)> {
    loop {
        match notices.recv().await {
            Ok(notice) => return Some((notice, notices)),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
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
