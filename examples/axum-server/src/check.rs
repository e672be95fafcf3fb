//! Asks a server on this machine whether it lives: for a container whose image has no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the server may take.
const TIME_MAX: Duration = Duration::from_secs(3);
/// How much of the first line of the answer is read.
const LINE_BYTES_MAX: u64 = 1_024;

/// Why a server does not live, as far as can be seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It does not answer within the time.
    #[error("the server at {0} does not answer in time")]
    Late(SocketAddr),
    /// It cannot be reached.
    #[error("cannot reach the server at {address}")]
    Unreachable {
        /// Its address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// It answers something else.
    #[error("the server at {address} answers: {answer}")]
    Refused {
        /// Its address.
        address: SocketAddr,
        /// The first line of its answer.
        answer: String,
    },
}

/// Asks the server that listens at an address and a port of this machine.
///
/// With a certificate the server tells a client without TLS that it speaks HTTPS. That it says so shows that it lives, and the
/// certificate need not be one for this machine's own name.
///
/// # Errors
/// If it does not say that it lives.
pub async fn check(host: IpAddr, port: u16, has_tls: bool) -> Result<(), CheckError> {
    let address = SocketAddr::new(reachable(host), port);
    let answer = timeout(TIME_MAX, ask(address)).await.map_err(|_| CheckError::Late(address))?;
    let answer = answer.map_err(|source| CheckError::Unreachable { address, source })?;
    let expected = if has_tls { "HTTP/1.1 400 " } else { "HTTP/1.1 200 " };
    if answer.starts_with(expected) { Ok(()) } else { Err(CheckError::Refused { address, answer }) }
}

/// Returns the address under which a server that listens at `host` is reached from its own machine.
const fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    }
}

/// Returns the first line of the answer.
async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Returns whether a server lives that answers so.
    async fn lives(answer: &'static str, has_tls: bool) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let mut client = BufReader::new(listener.accept().await.unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                client.read_line(&mut head).await.unwrap();
            }
            client.write_all(answer.as_bytes()).await.unwrap();
        };
        let (lives, ()) = tokio::join!(check(Ipv4Addr::UNSPECIFIED.into(), port, has_tls), serve);
        lives.is_ok()
    }

    #[tokio::test]
    async fn only_the_expected_answer_is_life() {
        assert!(lives("HTTP/1.1 200 OK\r\n\r\n", false).await);
        assert!(lives("HTTP/1.1 400 Bad Request\r\n\r\n", true).await);
        for (answer, has_tls) in
            [("HTTP/1.1 503 x\r\n\r\n", false), ("HTTP/1.1 200 OK\r\n\r\n", true), ("", false)]
        {
            assert!(!lives(answer, has_tls).await, "{answer}");
        }
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = check(Ipv4Addr::LOCALHOST.into(), free, false).await.unwrap_err();
        assert!(matches!(error, CheckError::Unreachable { .. }), "{error}");
    }
}
