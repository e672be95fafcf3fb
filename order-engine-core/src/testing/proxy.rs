// The proxy is no part of an engine, so it need not use the engine's clock and spawner.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP proxy between a program and its server that fails like a network.
///
/// It listens on a free port of this machine, and ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
}

/// The state of the network that a [`Proxy`] imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Requests and replies arrive.
    Up,
    /// Connections are closed at once, new ones as well.
    Cut,
    /// Neither requests nor replies arrive, and connections stay open.
    Silent,
    /// Requests arrive, and replies are lost.
    RepliesLost,
}

impl Proxy {
    /// Starts a proxy for a server. It must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let link = watch::Sender::new(Link::Up);
        tokio::spawn(accept(listener, server, link.subscribe()));
        Ok(Self { address, link })
    }

    /// Returns the address to which the program connects.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the state of the network, for existing connections as well.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mut link: watch::Receiver<Link>) {
    loop {
        let client = tokio::select! {
            () = dropped(&mut link) => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((client, _)) = client {
            tokio::spawn(join(client, server, link.clone()));
        }
    }
}

/// Waits until the proxy is dropped.
async fn dropped(link: &mut watch::Receiver<Link>) {
    while link.changed().await.is_ok() {}
}

async fn join(client: TcpStream, server: SocketAddr, link: watch::Receiver<Link>) {
    if *link.borrow() == Link::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // The end of one direction ends the other.
    tokio::select! {
        () = pass(from_client, to_server, link.clone(), Link::RepliesLost) => {}
        () = pass(from_server, to_client, link, Link::Up) => {}
    }
}

/// Copies one direction of a connection until the proxy is dropped. The data arrives in the states `Up` and
/// `also`. It is not read while the link is silent, and is lost in any other state.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
    also: Link,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let state = *link.borrow_and_update();
        let read = async {
            match state {
                Link::Cut => Ok(0),
                Link::Silent => std::future::pending().await,
                Link::Up | Link::RepliesLost => from.read(&mut buffer).await,
            }
        };
        let count = tokio::select! {
            // A change applies to all data that arrives after it.
            biased;
            changed = link.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = read => match read {
                Ok(count) if count > 0 => count,
                _ => return,
            },
        };
        let carries = state == Link::Up || state == also;
        if carries && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Starts a server that echoes everything.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn is_echoed(stream: &mut TcpStream, text: &[u8]) -> io::Result<bool> {
        stream.write_all(text).await?;
        let mut reply = vec![0; text.len()];
        match tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut reply)).await {
            Ok(read) => read.map(|_| reply == text),
            Err(_) => Ok(false),
        }
    }

    #[tokio::test]
    async fn it_fails_in_every_state_but_up() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(is_echoed(&mut stream, b"up").await.unwrap());
        for link in [Link::RepliesLost, Link::Silent] {
            proxy.set(link);
            assert!(!is_echoed(&mut stream, b"lost").await.unwrap(), "{link:?}");
        }
        proxy.set(Link::Cut);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(is_echoed(&mut stream, b"cut").await.is_err());
        proxy.set(Link::Up);
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(is_echoed(&mut again, b"up").await.unwrap());
    }
}
