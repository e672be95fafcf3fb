//! How a connection begins: at once, or with a handshake of TLS.

use std::io;
use std::pin::pin;
use std::time::Duration;

use metrics::counter;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::plain_refused;
use crate::listen::refusal::{REFUSAL_TIME_MAX, refuse};
use crate::tls::Tls;
use crate::transport::places::AddressPlace;
use crate::transport::socket::Socket;
use crate::transport::stream::Transport;

/// How long a client may take for its handshake. It has a place meanwhile, like any other.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How a handshake ended.
#[derive(Clone, Copy, Debug)]
enum HandshakeEnd {
    Done,
    Failed,
    Late,
    /// The client spoke HTTP without TLS.
    Plain,
}

/// Returns the connection of a client once it has begun, unless it does not begin.
pub(crate) async fn enter(stream: TcpStream, tls: Option<&Tls>, place: AddressPlace) -> Option<Transport> {
    let Some(tls) = tls else { return Some(Transport::new(Socket::Plain(stream), place)) };
    // It keeps the connection until the end is counted, so that who sees it close sees the count.
    let entered = pin!(timeout(HANDSHAKE_TIME_MAX, async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            // No handshake begins with a capital letter, and every method of HTTP does.
            Ok(1) if first[0].is_ascii_uppercase() => {
                turn_away(stream, AddressPlace::default()).await;
                Err(io::ErrorKind::Unsupported.into())
            }
            Ok(_) => tls.accept(stream).await,
            Err(error) => Err(error),
        }
    }));
    let (end, socket) = match entered.await {
        Ok(Ok(socket)) => (HandshakeEnd::Done, Some(socket)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::Unsupported => (HandshakeEnd::Plain, None),
        Ok(Err(error)) => {
            // This is normal: clients may not trust the certificate, or go at any time.
            tracing::debug!(%error, "a handshake failed");
            (HandshakeEnd::Failed, None)
        }
        Err(_) => (HandshakeEnd::Late, None),
    };
    counter!("order_engine_server_tls_handshakes_total", "end" => end.as_str()).increment(1);
    socket.map(|socket| Transport::new(socket, place))
}

impl HandshakeEnd {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Plain => "plain",
        }
    }
}

/// Tells a client that speaks HTTP without TLS what is wrong.
async fn turn_away(stream: TcpStream, place: AddressPlace) {
    let transport = Transport::new(Socket::Plain(stream), place);
    // After a time-out the connection is dropped.
    let _ = timeout(REFUSAL_TIME_MAX, refuse(transport, plain_refused())).await;
}
