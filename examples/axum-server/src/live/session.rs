//! The session of one WebSocket client: it sends frames, discards what it receives, and ends with a reason.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::unfold;
use futures_util::{FutureExt, Sink, Stream, StreamExt};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use crate::live::feed::{FeedEnd, Item};
use crate::live::frame_gate::TooManyFrames;
use crate::live::send_buffer::{Overflow, SendBuffer, SendBufferBounds};
use crate::live::sockets::{ShutdownSignal, Sockets};

/// How many frames are gathered before they are written. Most orders have fewer events, so a client that
/// comes late gets their whole history in one write.
const BURST: usize = 32;

/// The rules of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRules {
    pub(crate) ping_interval: Duration,
    /// How long a client may send nothing at all. A client that is alive answers pings.
    pub(crate) silence_max: Duration,
    pub(crate) inbound_bytes_max: usize,
    /// How many frames a second a client may send. It has no need to send any but pongs.
    pub(crate) inbound_per_second_max: u32,
    pub(crate) send_buffer: SendBufferBounds,
    /// How long the session waits for a client to take its last frames and to answer the close.
    pub(crate) close_grace: Duration,
    /// The same for a client that follows no order.
    pub(crate) stranger_grace: Duration,
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(20),
            silence_max: Duration::from_secs(45),
            inbound_bytes_max: 4 * 1024,
            inbound_per_second_max: 10,
            send_buffer: SendBufferBounds { messages: 256, bytes: 1024 * 1024 },
            close_grace: Duration::from_secs(5),
            stranger_grace: Duration::from_secs(1),
        }
    }
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The order has ended, and the client has all its events.
    Done,
    /// The server shuts down.
    ShuttingDown,
    /// The client did not keep up.
    Lagged,
    /// The client sent too many frames in one second.
    TooManyMessages,
    /// The client sent a message that is too large.
    TooLarge,
    /// The client broke the protocol.
    Protocol,
    /// The client sent a text that is not UTF-8.
    NotUtf8,
    /// The client sent nothing for too long.
    Silent,
    /// The credential of the client has expired or was revoked.
    CredentialEnded,
    /// There is no such order.
    UnknownOrder,
    /// The store does not answer.
    Unavailable,
    /// The client closed the socket, or the connection broke.
    Gone,
}

impl End {
    /// Returns the code and the reason of the close frame, or `None` if the client closed first or is gone.
    const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Done => Some((1000, "the order is done")),
            Self::ShuttingDown => Some((1001, "the server is shutting down; reconnect with ?after=")),
            Self::Protocol => Some((1002, "protocol error")),
            Self::NotUtf8 => Some((1007, "a text must be UTF-8")),
            Self::TooManyMessages => Some((1008, "too many messages")),
            Self::Silent => Some((1008, "no answer to pings")),
            Self::TooLarge => Some((1009, "message too large")),
            Self::Lagged => Some((1013, "fell behind; reconnect with ?after=")),
            Self::Unavailable => Some((1013, "the store does not answer; try again")),
            Self::CredentialEnded => Some((4401, "the credential has expired or was revoked")),
            Self::UnknownOrder => Some((4404, "no such order")),
            Self::Gone => None,
        }
    }
}

/// What the server announces to all sessions: notices, and its shutdown.
#[derive(Debug)]
pub(crate) struct Announcements {
    pub(crate) notices: broadcast::Receiver<Arc<str>>,
    pub(crate) shutdown: ShutdownSignal,
}

impl Announcements {
    pub(crate) fn of(sockets: &Sockets) -> Self {
        Self { notices: sockets.notices(), shutdown: sockets.shutdown_signal() }
    }
}

/// A session with one client.
pub(crate) struct Session<S> {
    rules: SessionRules,
    socket: S,
    send_buffer: SendBuffer,
    /// Whether the close frame was queued, after which no other may follow.
    is_closing: bool,
    last_received_at: Instant,
    ping_at: Instant,
}

/// Which part of its feed a session reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The history, up to the event of this number. It is read at the client's pace.
    History { last_seq: u64 },
    /// The live events. They are queued as they come, no matter how fast the client is.
    Live,
    /// Nothing more: the feed has ended.
    Complete,
}

/// Why the gathering of frames stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    /// The feed has nothing more at the moment. It wakes the session when it has.
    All,
    /// Enough frames wait to be written.
    Burst,
}

impl<S> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("send_buffer", &self.send_buffer).finish_non_exhaustive()
    }
}

impl<S> Session<S>
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send + Unpin,
{
    pub(crate) fn new(socket: S, rules: SessionRules) -> Self {
        let now = Instant::now();
        Self {
            rules,
            socket,
            send_buffer: SendBuffer::new(rules.send_buffer),
            is_closing: false,
            last_received_at: now,
            ping_at: now + rules.ping_interval,
        }
    }

    /// Queues a frame before the feed begins.
    pub(crate) fn queue_frame(&mut self, frame: String) {
        // The send buffer of a new session has room for its first frames.
        let _ = self.send_buffer.push_text(frame);
    }

    /// Sends a feed, whose history goes up to the event numbered `last_seq`, and returns why the session
    /// ends.
    pub(crate) async fn run<F>(&mut self, feed: F, last_seq: u64, announcements: Announcements) -> End
    where
        F: Stream<Item = Result<Item, FeedEnd>> + Send,
    {
        let Announcements { notices, mut shutdown } = announcements;
        let mut reading = if last_seq > 0 { Reading::History { last_seq } } else { Reading::Live };
        let mut feed = pin!(feed);
        // These futures live as long as the session, because creating one costs more than polling it again.
        let mut shutdown = pin!(shutdown.wait());
        let mut notices = pin!(unfold(notices, next_notice).fuse());
        let mut clock = pin!(sleep_until(self.tick_at()));
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return End::ShuttingDown,
                end = poll_fn(|cx| self.poll_exchange(cx, feed.as_mut(), &mut reading)) => return end,
                Some(notice) = notices.next() => {
                    // If there is no room, the frames that wait are more urgent than the notice.
                    if !self.is_closing {
                        let _ = self.send_buffer.push_text(&*notice);
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

    /// Receives and sends as much as possible, until there is a reason to end.
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
                if let Err(end) = self.receive(message) {
                    return Poll::Ready(end);
                }
            }
            let gathered = match self.gather(cx, feed.as_mut(), reading) {
                Ok(gathered) => gathered,
                Err(end) => return Poll::Ready(end),
            };
            let is_flushed = match self.send_buffer.poll_flush(cx, &mut self.socket) {
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                flushed => flushed.is_ready(),
            };
            match *reading {
                Reading::Complete if is_flushed => return Poll::Ready(End::Done),
                Reading::Complete => return Poll::Pending,
                // History waits until the client has taken its frames. Live events do not wait: the send
                // buffer overflows if the client does not keep up.
                Reading::History { .. } if !is_flushed => return Poll::Pending,
                _ if gathered == Gathered::All => return Poll::Pending,
                _ => {}
            }
        }
    }

    /// Queues the frames that the feed has ready, up to [`BURST`] of them.
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
                Reading::History { .. } if self.send_buffer.waiting() >= BURST => return Ok(Gathered::Burst),
                _ => {}
            }
            match feed.as_mut().poll_next(cx) {
                Poll::Pending => return Ok(Gathered::All),
                Poll::Ready(Some(Ok(item))) => {
                    if matches!(*reading, Reading::History { last_seq } if item.seq >= last_seq) {
                        *reading = Reading::Live;
                    }
                    self.send_buffer.push_text(item.frame).map_err(|Overflow| End::Lagged)?;
                }
                Poll::Ready(Some(Err(FeedEnd::Lagged))) => return Err(End::Lagged),
                Poll::Ready(Some(Err(FeedEnd::Closed))) => return Err(End::ShuttingDown),
                Poll::Ready(None) => {
                    *reading = Reading::Complete;
                    // Queued here, so that it is sent with the last frame in one write.
                    self.queue_close(End::Done);
                }
            }
        }
        Ok(Gathered::Burst)
    }

    /// Queues the close frame, unless it was queued already or the client needs none.
    fn queue_close(&mut self, end: End) {
        if let Some((code, reason)) = end.close().filter(|_| !self.is_closing) {
            self.is_closing = true;
            let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(reason) };
            self.send_buffer.push_control(Message::Close(Some(frame)));
        }
    }

    /// Returns when the next ping is due, or when the client has been silent for too long.
    fn tick_at(&self) -> Instant {
        self.ping_at.min(self.last_received_at + self.rules.silence_max)
    }

    /// Queues a ping if one is due, and returns whether the client has been silent for too long.
    fn tick(&mut self, now: Instant) -> bool {
        if now >= self.ping_at {
            // Pings that were missed are not sent later.
            self.ping_at = now + self.rules.ping_interval;
            if !self.is_closing {
                self.send_buffer.push_control(Message::Ping(Bytes::new()));
            }
        }
        now >= self.last_received_at + self.rules.silence_max
    }

    /// Discards a message of the client, or returns why it ends the session.
    fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        let message = match message {
            None | Some(Ok(Message::Close(_))) => return Err(End::Gone),
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(end_of(&error)),
        };
        self.last_received_at = Instant::now();
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
            _ => 0,
        };
        if bytes > self.rules.inbound_bytes_max { Err(End::TooLarge) } else { Ok(()) }
    }

    /// Ends the session without waiting for the client, which gets the close frame if it takes it at once.
    pub(crate) fn close_at_once(mut self, end: End) {
        self.queue_close(end);
        let _ = poll_fn(|cx| self.send_buffer.poll_flush(cx, &mut self.socket)).now_or_never();
    }

    /// Ends the session: sends the close frame, or answers the client's, and waits a little for the client to
    /// close the connection.
    pub(crate) async fn close(mut self: Box<Self>, end: End) {
        if matches!(end, End::Lagged | End::Gone) {
            // The client gets these events again when it reconnects.
            self.send_buffer.clear();
        }
        self.queue_close(end);
        let closing = async {
            if poll_fn(|cx| self.send_buffer.poll_flush(cx, &mut self.socket)).await.is_ok() {
                // Messages that are under way are read until the client closes the connection: unread data
                // would reset the connection before the client has read the close frame.
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let grace = if end == End::UnknownOrder { self.rules.stranger_grace } else { self.rules.close_grace };
        // After a time-out the connection is dropped.
        let _ = timeout(grace, closing).await;
    }
}

/// Returns the next notice. A notice that was missed is outdated, so it is skipped.
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

/// Returns whether a read failed because the client had sent too many frames.
fn is_flood(error: &std::io::Error) -> bool {
    let source = error.get_ref();
    source.is_some_and(<dyn std::error::Error + Send + Sync>::is::<TooManyFrames>)
}

/// Returns why the session ends after a failed read.
fn end_of(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::TooLarge,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Protocol,
        Error::Utf8(_) => End::NotUtf8,
        Error::Io(error) if is_flood(error) => End::TooManyMessages,
        _ => End::Gone,
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
