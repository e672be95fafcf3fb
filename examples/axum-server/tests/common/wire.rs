//! A client that writes bytes, for what no well-behaved one sends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection of bytes.
pub struct Wire(pub TcpStream);

impl Wire {
    pub async fn open(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Opens a connection and sends a request on it.
    pub async fn send(address: &str, request: &str) -> Self {
        let mut wire = Self::open(address).await;
        wire.write(request.as_bytes()).await;
        wire
    }

    /// Opens a WebSocket, and reads the head of the answer.
    pub async fn upgrade(address: &str, path: &str) -> Self {
        let mut wire = Self::send(address, &handshake(address, path, "13")).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        wire
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Returns the head of an answer.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.expect("the head comes in time").unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Returns all that comes until the server closes the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the server closes").unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Skips the frames of a WebSocket up to the close, and returns its code.
    pub async fn close_code(&mut self) -> u16 {
        timeout(PATIENCE, async {
            loop {
                let head = [self.0.read_u8().await.unwrap(), self.0.read_u8().await.unwrap()];
                let len = match head[1] {
                    126 => usize::from(self.0.read_u16().await.unwrap()),
                    len => usize::from(len),
                };
                let mut payload = vec![0; len];
                self.0.read_exact(&mut payload).await.unwrap();
                if head[0] == 0x88 {
                    return u16::from_be_bytes([payload[0], payload[1]]);
                }
            }
        })
        .await
        .expect("the server closes the socket")
    }
}

/// Returns the opening handshake of a WebSocket.
pub fn handshake(address: &str, path: &str, version: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Returns a short frame as a client sends it.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).ok().filter(|len| *len < 126).expect("the frame is short");
    [&[first_byte, 0x80 | len, 0, 0, 0, 0], payload].concat()
}
