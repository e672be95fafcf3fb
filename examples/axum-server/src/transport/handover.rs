//! How a live stream takes a connection over from HTTP.
//!
//! A live stream lasts for minutes, and HTTP's buffers would be most of its memory. So the handler of a request may take the
//! connection over once the head of its answer has been sent; nothing of HTTP is kept then.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use futures_util::future::BoxFuture;
use hyper::body::{Frame, SizeHint};

use crate::transport::exchange::Exchange;
use crate::transport::stream::Transport;

/// What serves a connection from then on. It gets the bytes that were received meanwhile, too.
type Taker = Box<dyn FnOnce(Transport, Bytes) -> BoxFuture<'static, ()> + Send>;

/// The offer of a connection to the handlers of its requests. Its clones are the same offer.
#[derive(Clone)]
pub(crate) struct Handover(Arc<Shared>);

struct Shared {
    exchange: Arc<Exchange>,
    taker: Mutex<Option<Taker>>,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").field("exchange", &self.0.exchange).finish_non_exhaustive()
    }
}

impl Handover {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Self {
        Self(Arc::new(Shared { exchange, taker: Mutex::default() }))
    }

    /// Takes the connection over after an answer with status 101, with which HTTP ends by itself.
    pub(crate) fn take_upgraded<F>(&self, serve: impl FnOnce(Transport, Bytes) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        *self.0.taker() = Some(boxed(serve));
    }

    /// Returns the body of an answer that is written by whoever takes the connection over, chunks included. If the answer
    /// is sent without a body, all is dropped.
    pub(crate) fn body<F>(self, serve: impl FnOnce(Transport, Bytes) -> F + Send + 'static) -> Body
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Body::new(TakenBody { handover: self, taker: Mutex::new(Some(boxed(serve))) })
    }

    /// Returns what serves the connection after HTTP, if anything does.
    pub(crate) fn taker(&self) -> Option<Taker> {
        self.0.taker().take()
    }
}

impl Shared {
    fn taker(&self) -> MutexGuard<'_, Option<Taker>> {
        self.taker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn boxed<F>(serve: impl FnOnce(Transport, Bytes) -> F + Send + 'static) -> Taker
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::new(move |transport, received| Box::pin(serve(transport, received)))
}

/// A body without an end of which HTTP sends nothing. That it is asked for a frame means that the head is written.
struct TakenBody {
    handover: Handover,
    taker: Mutex<Option<Taker>>,
}

impl HttpBody for TakenBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let taker = this.taker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(taker) = taker {
            let shared = &this.handover.0;
            *shared.taker() = Some(taker);
            shared.exchange.end_when_flushed();
        }
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
