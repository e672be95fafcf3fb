//! The messages that wait to be sent to one client, within bounds.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, SinkExt};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// For how many messages memory is kept when none wait.
const QUEUE_KEPT: usize = 4;

/// How much may wait in a send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendBufferBounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// A frame does not fit into the send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The messages that wait for the client: queued here, or passed to the socket and not yet flushed.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    bounds: SendBufferBounds,
    queue: VecDeque<Message>,
    /// How many messages wait, here or in the socket's own buffer.
    waiting: usize,
    /// How many bytes of text wait, here or in the socket's own buffer.
    waiting_bytes: usize,
}

impl SendBuffer {
    pub(crate) const fn new(bounds: SendBufferBounds) -> Self {
        Self { bounds, queue: VecDeque::new(), waiting: 0, waiting_bytes: 0 }
    }

    /// Returns how many messages wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Queues a frame, or fails if too much waits already.
    pub(crate) fn push_text(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), Overflow> {
        let text = text.into();
        if self.waiting >= self.bounds.messages || self.waiting_bytes + text.len() > self.bounds.bytes {
            return Err(Overflow);
        }
        self.waiting_bytes += text.len();
        self.push_control(Message::Text(text));
        Ok(())
    }

    /// Queues a message of the protocol, no matter how much waits already.
    pub(crate) fn push_control(&mut self, message: Message) {
        self.waiting += 1;
        self.queue.push_back(message);
    }

    /// Drops the messages that were not yet passed to the socket.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Sends all messages. Those that the socket does not take yet stay queued.
    pub(crate) fn poll_flush<S>(&mut self, cx: &mut Context<'_>, sink: &mut S) -> Poll<Result<(), S::Error>>
    where
        S: Sink<Message> + Unpin,
    {
        if self.waiting == 0 {
            return Poll::Ready(Ok(()));
        }
        while !self.queue.is_empty() {
            ready!(sink.poll_ready_unpin(cx))?;
            if let Some(message) = self.queue.pop_front() {
                sink.start_send_unpin(message)?;
            }
        }
        ready!(sink.poll_flush_unpin(cx))?;
        (self.waiting, self.waiting_bytes) = (0, 0);
        // A client that was behind may be idle for minutes now.
        self.queue.shrink_to(QUEUE_KEPT);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Waker;

    use super::*;

    fn idle() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn messages_and_bytes_are_bounded() {
        let mut buffer = SendBuffer::new(SendBufferBounds { messages: 2, bytes: 5 });
        assert_eq!(buffer.push_text("abc"), Ok(()));
        assert_eq!(buffer.push_text("def"), Err(Overflow));
        assert_eq!(buffer.push_text("de"), Ok(()));
        assert_eq!(buffer.push_text(""), Err(Overflow));
        let mut sent: Vec<Message> = Vec::new();
        assert!(buffer.poll_flush(&mut idle(), &mut sent).is_ready());
        assert_eq!(sent, [Message::text("abc"), Message::text("de")]);
        assert_eq!(buffer.waiting(), 0);
        assert_eq!(buffer.push_text("abcde"), Ok(()));
    }

    /// A socket that takes every message and never flushes one.
    struct Stuck;

    impl Sink<Message> for Stuck {
        type Error = std::convert::Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Self::Error> {
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }
    }

    #[test]
    fn messages_that_the_socket_has_not_flushed_still_count() {
        let mut buffer = SendBuffer::new(SendBufferBounds { messages: 8, bytes: 4 });
        assert_eq!(buffer.push_text("abcd"), Ok(()));
        assert!(buffer.poll_flush(&mut idle(), &mut Stuck).is_pending());
        assert_eq!(buffer.waiting(), 1);
        assert_eq!(buffer.push_text("e"), Err(Overflow));
    }
}
