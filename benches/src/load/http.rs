//! A cheap HTTP connection. The load shares the processor with its target.
//!
//! The connection supports as much of HTTP/1.1 as the server's responses need: one request at a time, and
//! bodies with a content length.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest head of a response.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection that is kept open between requests.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// The part of the response that was read so far.
    buffer: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    /// If the server does not listen.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, buffer: Vec::new() })
    }

    /// Requests a resource.
    ///
    /// # Errors
    /// If the connection breaks, or the response is invalid.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Response<'_>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.call(request.as_bytes()).await
    }

    /// Sends a whole request, head and body, and returns the response.
    ///
    /// # Errors
    /// If the connection breaks, or the response is invalid.
    pub(crate) async fn call(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head_bytes = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(invalid("its head has no end"));
            }
            self.read().await?;
        };
        let Head { status, body_bytes } = Head::parse(&self.buffer[..head_bytes])?;
        while self.buffer.len() < head_bytes + body_bytes {
            self.read().await?;
        }
        if self.buffer.len() > head_bytes + body_bytes {
            return Err(invalid("there is data after its body"));
        }
        Ok(Response { status, body: &self.buffer[head_bytes..] })
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body_bytes: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("its head is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let length = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        match (status, length) {
            (Some(status), Some(body_bytes)) => Ok(Self { status, body_bytes }),
            _ => Err(invalid("it has no status, or no content length")),
        }
    }
}

/// Returns a whole request that posts JSON.
pub(crate) fn post(address: SocketAddr, path: &str, json: &str) -> String {
    let bytes = json.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {bytes}\r\n\r\n{json}"
    )
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the response is invalid: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Connects to a server that answers every request with these pieces.
    async fn answering(pieces: &'static [&'static str]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; 1_024];
            while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                }
            }
        });
        Connection::open(address).await.unwrap()
    }

    #[tokio::test]
    async fn responses_are_read_in_pieces_one_after_the_other() {
        let mut connection =
            answering(&["HTTP/1.1 202 Accepted\r\nContent-", "Length: 5\r\n\r\nhe", "llo"]).await;
        for _ in 0..3 {
            let response = connection.get("/").await.unwrap();
            assert_eq!((response.status, response.body), (202, &b"hello"[..]));
        }
    }

    #[tokio::test]
    async fn invalid_responses_are_errors() {
        for pieces in [
            &["HTTP/1.1 200 OK\r\n\r\n"][..],
            &["HTTP/2 200 OK\r\ncontent-length: 0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab"],
        ] {
            let error = answering(pieces).await.get("/").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
