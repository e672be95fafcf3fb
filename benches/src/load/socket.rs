//! The live stream of one order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use order_engine_core::OrderId;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Result;
use crate::drive::Followed;

/// A whole life fits into two of these; the default of 128 KiB would be most of what a socket costs.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// What is needed of a frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    r#type: &'a str,
    /// Of an event.
    seq: Option<u64>,
    /// Of the frame that begins the stream.
    last_seq: Option<u64>,
    timestamp: DateTime<Utc>,
}

/// Follows an order to its end, and checks that every event comes once and in order.
///
/// The age of the last event is taken from the time it carries, which is cut to a millisecond and is when
/// it happened: before it was committed.
///
/// # Errors
/// If the stream is not as promised, or the order does not end as confirmed.
pub(crate) async fn follow(server: SocketAddr, id: OrderId) -> Result<Followed> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let url = format!("ws://{server}/ws/orders/{id}");
    let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    let history = greeting(&mut socket).await?;
    let mut seen = 0;
    loop {
        let text = text(&mut socket).await?;
        let frame: Frame<'_> = serde_json::from_str(&text)?;
        seen += 1;
        if frame.seq != Some(seen) {
            return Err(format!("order {id}: instead of event {seen} came {text}").into());
        }
        match frame.r#type {
            "confirmed" => {
                let ended = Instant::now();
                let age = (Utc::now() - frame.timestamp).to_std().unwrap_or(Duration::ZERO);
                end(&mut socket).await?;
                let delivered = if seen > history { vec![age] } else { Vec::new() };
                return Ok(Followed { ended, delivered });
            }
            "failed" => return Err(format!("order {id} failed: {text}").into()),
            _ => {}
        }
    }
}

/// Reads the two frames with which each stream begins: the number of the last event so far.
async fn greeting(socket: &mut WebSocketStream<TcpStream>) -> Result<u64> {
    for expected in ["connection", "subscribed"] {
        let text = text(socket).await?;
        let frame: Frame<'_> = serde_json::from_str(&text)?;
        if frame.r#type != expected {
            return Err(format!("a stream began with {text}").into());
        }
        if let Some(last_seq) = frame.last_seq {
            return Ok(last_seq);
        }
    }
    Err("a stream did not say where it begins".into())
}

async fn text(socket: &mut WebSocketStream<TcpStream>) -> Result<tokio_tungstenite::tungstenite::Utf8Bytes> {
    loop {
        match socket.next().await.ok_or("a stream ended early")?? {
            Message::Text(text) => return Ok(text),
            Message::Ping(_) | Message::Pong(_) => {}
            other => return Err(format!("a stream brought {other:?}").into()),
        }
    }
}

/// After the last event the server says goodbye.
async fn end(socket: &mut WebSocketStream<TcpStream>) -> Result<()> {
    match socket.next().await {
        Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Normal => {}
        other => return Err(format!("after its last event, a stream brought {other:?}").into()),
    }
    // What is left is that the connection closes.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}
