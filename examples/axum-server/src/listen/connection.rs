//! One connection, from its first request to its end or to its live stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use order_engine_core::telemetry::chain;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http::{Lane, Site, refused_head};
use crate::listen::refusal::{REFUSAL_TIME_MAX, refuse};
use crate::transport::handover::Handover;
use crate::transport::stream::Transport;

/// How long a connection is kept between two requests: longer than balancers keep theirs, which is a minute mostly, so
/// that it is them who close, and no request meets a connection that is being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How HTTP's part of a connection ended.
#[derive(Debug)]
enum HttpEnd {
    /// The connection is closed, or to be closed.
    Closed,
    /// A live stream takes the connection over.
    Taken,
}

/// Serves one connection, until it ends or becomes a live stream, which has a task of its own.
pub(crate) async fn connection(
    transport: Transport,
    site: Site,
    lane: Lane,
    mut stopped: watch::Receiver<bool>,
) {
    let exchange = Arc::clone(transport.exchange());
    let handover = Handover::new(Arc::clone(&exchange));
    let (offer, noted) = (handover.clone(), Arc::clone(&exchange));
    let service = service_fn(move |mut request: Request<Incoming>| {
        noted.begin();
        request.extensions_mut().insert(offer.clone());
        let (site, noted) = (site.clone(), Arc::clone(&noted));
        async move {
            let answer = site.answer(request, lane).await;
            noted.answered();
            answer
        }
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(lane == Lane::Usual)
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(transport), service);
    let mut is_stopping = false;
    let end = loop {
        tokio::select! {
            end = poll_fn(|cx| match Pin::new(&mut http).poll(cx) {
                Poll::Ready(result) => Poll::Ready(result.map(|()| HttpEnd::Closed)),
                Poll::Pending if exchange.has_ended() => Poll::Ready(Ok(HttpEnd::Taken)),
                Poll::Pending => Poll::Pending,
            }) => break end,
            () = until_stopped(&mut stopped), if !is_stopping => {
                is_stopping = true;
                Pin::new(&mut http).graceful_shutdown();
            }
        }
    };
    let parts = http.into_parts();
    let mut transport = parts.io.into_inner();
    match end {
        Err(error) => {
            // This is normal: clients may disconnect at any time.
            tracing::debug!(error = %chain(&error), "a connection ended early");
            if let Some(status) = transport.refusal() {
                // After a time-out the connection is dropped.
                let _ = timeout(REFUSAL_TIME_MAX, refuse(transport, refused_head(status))).await;
            }
        }
        Ok(_) => {
            if let Some(taker) = handover.taker() {
                transport.leave_http();
                // What follows is another future, so that this one, with HTTP's state, is freed.
                tokio::spawn(taker(transport, parts.read_buf));
            }
        }
    }
}

/// Waits until the server is stopped.
pub(crate) async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender, and with it the server, is gone, which is a stop too.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}
