//! How a connection begins: at once, or with a handshake of TLS.

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

/// How a handshake ended in time.
enum Handshake {
    Done(Socket),
    Failed {
        _stream: TcpStream,
    },
    /// The client spoke HTTP without TLS.
    Plain(TcpStream),
}

/// Returns the connection of a client once it has begun, unless it does not begin.
pub(crate) async fn enter(stream: TcpStream, tls: Option<&Tls>, place: AddressPlace) -> Option<Transport> {
    let Some(tls) = tls else { return Some(Transport::new(Socket::Plain(stream), place)) };
    // Whoever sees its connection close is counted, and its place is free: the connection is closed after both.
    let mut shaken = pin!(timeout(HANDSHAKE_TIME_MAX, shake_hands(stream, tls)));
    let ended = shaken.as_mut().await;
    let end = match &ended {
        Ok(Handshake::Done(_)) => "done",
        Ok(Handshake::Failed { .. }) => "failed",
        Ok(Handshake::Plain(_)) => "plain",
        Err(_) => "late",
    };
    counter!("order_engine_server_tls_handshakes_total", "end" => end).increment(1);
    let left = match ended {
        Ok(Handshake::Done(socket)) => return Some(Transport::new(socket, place)),
        Ok(left) => Some(left),
        Err(_) => None,
    };
    drop(place);
    match left {
        Some(Handshake::Plain(stream)) => turn_away(stream).await,
        left => drop(left),
    }
    None
}

async fn shake_hands(stream: TcpStream, tls: &Tls) -> Handshake {
    let mut first = [0];
    // No handshake begins with a capital letter, and every method of HTTP does.
    if matches!(stream.peek(&mut first).await, Ok(1) if first[0].is_ascii_uppercase()) {
        return Handshake::Plain(stream);
    }
    match tls.accept(stream).await {
        Ok(socket) => Handshake::Done(socket),
        Err((error, stream)) => {
            // This is normal: clients may not trust the certificate, or go at any time.
            tracing::debug!(%error, "a handshake failed");
            Handshake::Failed { _stream: stream }
        }
    }
}

/// Tells a client that speaks HTTP without TLS what is wrong.
async fn turn_away(stream: TcpStream) {
    let transport = Transport::new(Socket::Plain(stream), AddressPlace::default());
    // After a time-out the connection is dropped.
    let _ = timeout(REFUSAL_TIME_MAX, refuse(transport, plain_refused())).await;
}
