//! The stream of bytes from and to one client, with bounds on how long the client may stall.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::transport::exchange::Exchange;
use crate::transport::places::AddressPlace;
use crate::transport::socket::Socket;

/// How long a client may take to send the head of a request, from its first byte, or from the beginning of the connection.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what it is sent. What the kernel buffers for it counts as taken.
pub(crate) const WRITE_TIME_MAX: Duration = Duration::from_secs(20);

/// The stream of bytes from and to one client.
#[derive(Debug)]
pub(crate) struct Transport<S = Socket> {
    io: S,
    exchange: Arc<Exchange>,
    /// The end of the time for the head that is being received.
    head_until: Option<Instant>,
    head_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    has_received: bool,
    refusal: Option<StatusCode>,
    _place: AddressPlace,
}

impl<S> Transport<S> {
    pub(crate) fn new(io: S, place: AddressPlace) -> Self {
        Self {
            io,
            exchange: Arc::default(),
            head_until: Some(Instant::now() + HEAD_TIME_MAX),
            head_timer: None,
            write_timer: None,
            has_received: false,
            refusal: None,
            _place: place,
        }
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Returns the status with which a request was refused before it could be read, so that there is no answer yet.
    pub(crate) const fn refusal(&self) -> Option<StatusCode> {
        self.refusal
    }

    /// Ends HTTP's share in the stream: what is received belongs to no request, and what is written is sent as it is.
    pub(crate) fn leave_http(&mut self) {
        self.exchange.begin();
        (self.head_until, self.head_timer, self.refusal) = (None, None, None);
    }

    /// Notes that bytes were received.
    fn received(&mut self) {
        if self.exchange.is_reading() {
            self.has_received = true;
            self.head_until.get_or_insert_with(|| Instant::now() + HEAD_TIME_MAX);
        } else {
            (self.head_until, self.head_timer, self.has_received) = (None, None, false);
        }
    }

    /// Fails if the head of a request takes too long.
    fn poll_head_time(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.exchange.is_reading() {
            (self.head_until, self.head_timer, self.has_received) = (None, None, false);
        }
        let Some(until) = self.head_until else { return Poll::Pending };
        ready!(self.head_timer.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(cx));
        if self.has_received {
            self.refusal = Some(StatusCode::REQUEST_TIMEOUT);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Passes the result of a write on, unless the client has taken nothing for too long.
    fn poll_write_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        ready!(self.write_timer.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME_MAX))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Returns whether these bytes are to be withheld: hyper's answer to a head that it cannot read, which has no body.
    fn withholds(&mut self, bytes: &[u8]) -> bool {
        if self.exchange.is_reading() && self.refusal.is_none() {
            self.refusal = bodiless_refusal(bytes);
        }
        self.refusal.is_some()
    }
}

/// Returns the status of an answer without a body that refuses a request.
fn bodiless_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
    bytes.ends_with(b"\r\n\r\n").then_some(status)
}

impl<S: AsyncRead + Unpin> AsyncRead for Transport<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Pending => this.poll_head_time(cx),
            read @ Poll::Ready(_) => {
                if buf.filled().len() > before {
                    this.received();
                }
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.withholds(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.poll_write_time(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [only] = bufs
            && this.withholds(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.poll_write_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.poll_write_time(cx, flushed))?;
        if this.exchange.flushed() {
            // What follows may be a request already, and if not, the connection is idle.
            (this.head_until, this.head_timer, this.has_received) = (None, None, false);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        let shut_down = Pin::new(&mut this.io).poll_shutdown(cx);
        this.poll_write_time(cx, shut_down)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn transport() -> (Transport<DuplexStream>, DuplexStream) {
        let (client, server) = duplex(16);
        (Transport::new(server, AddressPlace::default()), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut server, _client) = transport();
        let begun = Instant::now();
        let error = server.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, WRITE_TIME_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_something_now_and_then_is_served() {
        let (mut server, mut client) = transport();
        let writing = tokio::spawn(async move { server.write_all(&[0; 64]).await });
        for _ in 0..4 {
            tokio::time::sleep(WRITE_TIME_MAX / 2).await;
            client.read_exact(&mut [0; 16]).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_request_has_its_time_however_slowly_it_comes() {
        let (mut server, mut client) = transport();
        let begun = Instant::now();
        let sending = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, HEAD_TIME_MAX));
        assert_eq!(server.refusal(), Some(StatusCode::REQUEST_TIMEOUT));
        drop(server);
        sending.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_and_the_pause_between_requests_are_not_timed_as_a_head() {
        let (mut server, mut client) = transport();
        client.write_all(b"head").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        server.exchange().begin();
        let mut body = [0; 4];
        let (body, ()) = tokio::join!(server.read_exact(&mut body), async {
            tokio::time::sleep(HEAD_TIME_MAX * 2).await;
            client.write_all(b"body").await.unwrap();
        });
        body.unwrap();
        server.exchange().answered();
        server.flush().await.unwrap();
        let mut next = [0; 4];
        let (next, ()) = tokio::join!(server.read_exact(&mut next), async {
            tokio::time::sleep(HEAD_TIME_MAX * 2).await;
            client.write_all(b"next").await.unwrap();
        });
        next.unwrap();
        let begun = Instant::now();
        assert!(server.read_exact(&mut [0; 4]).await.is_err());
        assert_eq!(begun.elapsed(), HEAD_TIME_MAX, "the second head is timed again");
    }

    #[test]
    fn only_a_refusal_without_a_body_is_withheld() {
        let refused = |text: &str| bodiless_refusal(text.as_bytes()).map(|status| status.as_u16());
        assert_eq!(refused("HTTP/1.1 431 Request Header Fields Too Large\r\ndate: x\r\n\r\n"), Some(431));
        assert_eq!(refused("HTTP/1.1 400 Bad Request\r\n\r\n"), Some(400));
        for text in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n\r\nbody", "HTTP/1.1 4", ""] {
            assert_eq!(refused(text), None, "{text}");
        }
    }
}
