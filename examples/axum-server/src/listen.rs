//! Accepts connections, within bounds.

mod connection;
mod entry;
mod refusal;
mod reserve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::app::AppState;
use crate::http::{Lane, Site};
use crate::limits::proxies::Peer;
use crate::listen::connection::{connection, until_stopped};
use crate::listen::entry::enter;
use crate::listen::reserve::{RESERVE_TIME_MAX, Reserve};
use crate::observe::series::OneMore;
use crate::tls::Tls;
use crate::transport::places::{AddressPlace, Addresses};

/// How long to wait after no file descriptor was free for a connection: an immediate retry would fail, too.
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
    let accepting = Door::new(&app).accept_all(listener, stopped);
    let shutdown = async {
        shutdown.await;
        is_stopped.send_replace(true);
        app.sockets.shut_down();
        app.sockets.drained().await;
    };
    tokio::join!(accepting, shutdown);
}

/// Where connections come in.
struct Door {
    site: Site,
    tls: Option<Tls>,
    /// The places for connections that are no live streams.
    places: Arc<Semaphore>,
    addresses: Addresses,
    reserve: Reserve,
    connections: JoinSet<()>,
}

impl Door {
    fn new(app: &AppState) -> Self {
        Self {
            site: Site::new(app),
            tls: app.options.tls.clone(),
            places: Arc::new(Semaphore::new(app.options.max_connections)),
            addresses: Addresses::new(app.options.max_connections_per_address),
            reserve: Reserve::default(),
            connections: JoinSet::new(),
        }
    }

    /// Serves connections until the server is stopped, and then waits for their end.
    async fn accept_all(mut self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                () = until_stopped(&mut stopped) => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer, &stopped),
                    Err(error) => rest(&error).await,
                },
                Some(_) = self.connections.join_next(), if !self.connections.is_empty() => {}
            }
        }
        drop(listener);
        while self.connections.join_next().await.is_some() {}
    }

    /// Serves a connection: in a place of its own, or, where there is none, in the reserve.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, stopped: &watch::Receiver<bool>) {
        // Frames are small, and none must wait until the next one fills a packet. An error means that the client is gone.
        let _ = stream.set_nodelay(true);
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let places = place.and_then(|place| Some((place, self.addresses.take(peer.ip())?)));
        let (tls, stopped) = (self.tls.clone(), stopped.clone());
        let site = self.site.of(Peer { address: peer.ip(), is_secure: tls.is_some() });
        if let Some((place, of_address)) = places {
            self.connections.spawn(async move {
                let _counted = OneMore::connection();
                if let Some(transport) = enter(stream, tls.as_ref(), of_address).await {
                    connection(transport, site, Lane::Usual, stopped).await;
                }
                drop(place);
            });
        } else {
            let served = async move {
                let _counted = OneMore::reserve_connection();
                if let Some(transport) = enter(stream, tls.as_ref(), AddressPlace::default()).await {
                    connection(transport, site, Lane::Reserve, stopped).await;
                }
            };
            let task = self.connections.spawn(async {
                // After a time-out the connection is dropped.
                let _ = timeout(RESERVE_TIME_MAX, served).await;
            });
            self.reserve.admit(task);
        }
    }
}

/// Waits a little if a connection could not be accepted for a reason that is not the client's.
async fn rest(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
}
