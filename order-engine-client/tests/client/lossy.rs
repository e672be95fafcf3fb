//! A network that breaks a connection when an answer comes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// A proxy that loses so many answers: their requests have arrived, and their connections break.
#[derive(Debug)]
pub(crate) struct Lossy {
    pub(crate) address: SocketAddr,
    left: Arc<AtomicU32>,
}

impl Lossy {
    pub(crate) async fn start(server: SocketAddr, answers: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let left = Arc::new(AtomicU32::new(answers));
        let of_task = Arc::clone(&left);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(join(client, server, Arc::clone(&of_task)));
            }
        });
        Self { address, left }
    }

    /// Checks that all answers that were to be lost are.
    pub(crate) fn assert_done(&self) {
        assert_eq!(self.left.load(Ordering::SeqCst), 0, "answers that were not lost");
    }
}

async fn join(client: TcpStream, server: SocketAddr, left: Arc<AtomicU32>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let answers = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_server.read(&mut buffer).await?;
            let is_lost =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if count == 0 || is_lost {
                return Ok::<_, io::Error>(());
            }
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    // The end of one direction ends the other.
    tokio::select! {
        result = copy(&mut from_client, &mut to_server) => result.map(|_| ()),
        result = answers => result,
    }
}
