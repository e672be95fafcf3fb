//! The WebSocket that follows one order.

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

use crate::drive::Followed;
use crate::error::Result;

/// The events of an order fit into two buffers. The default of 128 KiB would be most of the cost of a socket.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// The needed part of a frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    r#type: &'a str,
    /// The number of the event, in its frame.
    seq: Option<u64>,
    /// The number of the last event so far, in the frame that begins the stream.
    last_seq: Option<u64>,
    timestamp: DateTime<Utc>,
}

/// Follows an order to its end, and checks that every event arrives once and in order.
///
/// The age of the last event counts from the event's own time, which is before its commit and cut to a
/// millisecond.
///
/// # Errors
/// If an event is missing or out of order, or the order is not confirmed.
pub(crate) async fn follow(server: SocketAddr, id: OrderId) -> Result<Followed> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{server}/ws/orders/{id}");
    let (mut socket, _) = client_async_with_config(url, stream, Some(config())).await?;
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
                check_close(&mut socket).await?;
                let delivered = if seen > history { vec![age] } else { Vec::new() };
                return Ok(Followed { ended, delivered });
            }
            "failed" => return Err(format!("order {id} failed: {text}").into()),
            _ => {}
        }
    }
}

/// Returns the settings of a socket that follows one order.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES)
}

/// Reads the two frames with which each stream begins, and returns the number of the last event so far.
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
    Err("a stream began without the number of its last event".into())
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

/// Checks that the server closes the stream after the last event.
async fn check_close(socket: &mut WebSocketStream<TcpStream>) -> Result<()> {
    match socket.next().await {
        Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Normal => {}
        other => return Err(format!("after its last event, a stream brought {other:?}").into()),
    }
    // Only the end of the connection is left to read.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}
