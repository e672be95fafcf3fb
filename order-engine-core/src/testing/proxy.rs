// A proxy is the outside world; no engine's time or tasks are its own.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP proxy between a program and its server that fails as networks do.
///
/// It listens on a free port of this machine and ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
}

/// How a [`Proxy`] treats what passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Everything passes.
    Up,
    /// Connections are closed, and so are new ones.
    Cut,
    /// Nothing passes, and nobody is told: the other side falls silent.
    Silent,
    /// Requests arrive; replies are lost.
    RepliesLost,
}

impl Proxy {
    /// Starts a proxy before a server. Must be called within a tokio runtime.
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

    /// Where the program is to connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how everything is treated from now on, also on connections that exist.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mut link: watch::Receiver<Link>) {
    loop {
        let client = tokio::select! {
            // The proxy is gone.
            gone = ended(&mut link) => return gone,
            accepted = listener.accept() => accepted,
        };
        if let Ok((client, _)) = client {
            tokio::spawn(join(client, server, link.clone()));
        }
    }
}

async fn ended(link: &mut watch::Receiver<Link>) {
    while link.changed().await.is_ok() {}
}

async fn join(client: TcpStream, server: SocketAddr, link: watch::Receiver<Link>) {
    if *link.borrow() == Link::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Whichever direction ends, so does the other.
    tokio::select! {
        () = pass(from_client, to_server, link.clone(), Link::RepliesLost) => {}
        () = pass(from_server, to_client, link, Link::Up) => {}
    }
}

/// Passes on what arrives, for as long as the link lives. Nothing arrives while it is silent; otherwise
/// everything is read, and what the link does not carry is lost. Beside `Up`, it carries in the state
/// `also`.
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
            // Nothing that arrives after a change is treated as before it.
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

    /// A server that says everything back.
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

    async fn said_back(stream: &mut TcpStream, text: &[u8]) -> io::Result<bool> {
        stream.write_all(text).await?;
        let mut reply = vec![0; text.len()];
        match tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut reply)).await {
            Ok(read) => read.map(|_| reply == text),
            Err(_) => Ok(false),
        }
    }

    #[tokio::test]
    async fn it_fails_as_it_is_told() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(said_back(&mut stream, b"up").await.unwrap());
        for link in [Link::RepliesLost, Link::Silent] {
            proxy.set(link);
            assert!(!said_back(&mut stream, b"lost").await.unwrap(), "{link:?}");
        }
        proxy.set(Link::Cut);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(said_back(&mut stream, b"cut").await.is_err());
        proxy.set(Link::Up);
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(said_back(&mut again, b"up").await.unwrap());
    }
}
