//! Accepting connections, within bounds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::AppState;
use crate::http::Site;

/// How long a client may take to send the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to wait after a connection could not be accepted: most likely there are no file
/// descriptors left, and trying at once would only turn the wheel.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves requests until `shutdown` comes; then accepts nothing more, closes the live streams, lets
/// the requests that are under way finish, and returns once all are gone.
///
/// A client may take its time, so callers bound the wait after `shutdown` by dropping this.
pub async fn serve<F>(listener: TcpListener, app: AppState, shutdown: F)
where
    F: Future<Output = ()> + Send,
{
    let (closing, closed) = watch::channel(false);
    let accepting = accept_all(listener, Site::new(&app), app.options.max_connections, closed);
    let shutdown = async {
        shutdown.await;
        closing.send_replace(true);
        app.sockets.close();
        app.sockets.drained().await;
    };
    tokio::join!(accepting, shutdown);
}

/// Serves connections, so many at a time, until told to close; then waits for their end.
async fn accept_all(
    listener: TcpListener,
    site: Site,
    max_connections: usize,
    mut closing: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = closed(&mut closing) => break,
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, place)) => {
                    let connection = connection(stream, site.clone(), closing.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until told to close.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone, which is a reason to close too.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Waits for a free place, and then for a connection to take it. Safe to drop.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    // Frames are small and must not wait for one another.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// Serves one connection, until it ends or becomes a WebSocket.
async fn connection(stream: TcpStream, site: Site, mut closing: watch::Receiver<bool>) {
    let service = service_fn(move |request| site.clone().answer(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // Clients come and go as they like.
        tracing::debug!(%error, "a connection ended early");
    }
}
