//! Accepts connections, within bounds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use order_engine_core::telemetry::chain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::AppState;
use crate::http::Site;

/// How long a client may take to send the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to wait after a connection could not be accepted. Most likely no file descriptor is free, so an
/// immediate retry would fail, too.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves requests until `shutdown` completes. Then it accepts no more connections, closes the live streams,
/// lets the running requests finish, and returns when all connections are closed.
///
/// A slow client can delay the return for long. To limit the wait, drop this future.
pub async fn serve<F>(listener: TcpListener, app: AppState, shutdown: F)
where
    F: Future<Output = ()> + Send,
{
    let (is_stopped, stopped) = watch::channel(false);
    let accepting = accept_all(listener, Site::new(&app), app.options.max_connections, stopped);
    let shutdown = async {
        shutdown.await;
        is_stopped.send_replace(true);
        app.sockets.shut_down();
        app.sockets.drained().await;
    };
    tokio::join!(accepting, shutdown);
}

/// Serves up to `max_connections` connections at a time until the server is stopped, and then waits for their
/// end.
async fn accept_all(
    listener: TcpListener,
    site: Site,
    max_connections: usize,
    mut stopped: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = until_stopped(&mut stopped) => break,
            accepted = accept(&listener, &permits) => match accepted {
                Ok((stream, permit)) => {
                    let connection = connection(stream, site.clone(), stopped.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
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

/// Waits until the server is stopped.
async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender, and with it the server, is gone, which is a stop too.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

/// Waits for a permit, and then for a connection. Safe to cancel.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // This cannot fail: the semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    // Frames are small, and none must wait until the next one fills a packet.
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// Serves one connection, until it ends or becomes a WebSocket.
async fn connection(stream: TcpStream, site: Site, mut stopped: watch::Receiver<bool>) {
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
        () = until_stopped(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // This is normal: clients may disconnect at any time.
        tracing::debug!(error = %chain(&error), "a connection ended early");
    }
}
