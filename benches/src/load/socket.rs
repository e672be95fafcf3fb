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

/// A WebSocket that follows one order, and checks that every event arrives once and in order.
pub(crate) struct OrderSocket {
    socket: WebSocketStream<TcpStream>,
    id: OrderId,
    /// The number of the last event when the stream began.
    history: u64,
    seen: u64,
}

/// An event that has arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) seq: u64,
    /// The time since the event's own time, which is before its commit and cut to a millisecond.
    pub(crate) age: Duration,
    /// Whether the order is confirmed by it.
    pub(crate) is_last: bool,
}

impl OrderSocket {
    /// Connects to a server, and begins to follow an order.
    ///
    /// # Errors
    /// If the stream does not begin as it should.
    pub(crate) async fn open(server: SocketAddr, id: OrderId) -> Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{server}/ws/orders/{id}");
        let (mut socket, _) = client_async_with_config(url, stream, Some(config())).await?;
        let history = greeting(&mut socket).await?;
        Ok(Self { socket, id, history, seen: 0 })
    }

    /// Returns the number of the last event when the stream began.
    pub(crate) const fn history(&self) -> u64 {
        self.history
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// If it is missing or out of order, or the order failed.
    pub(crate) async fn next(&mut self) -> Result<Arrival> {
        let text = text(&mut self.socket).await?;
        let now = Utc::now();
        let frame: Frame<'_> = serde_json::from_str(&text)?;
        self.seen += 1;
        let (id, seq) = (self.id, self.seen);
        if frame.seq != Some(seq) {
            return Err(format!("order {id}: instead of event {seq} came {text}").into());
        }
        if frame.r#type == "failed" {
            return Err(format!("order {id} failed: {text}").into());
        }
        let age = (now - frame.timestamp).to_std().unwrap_or(Duration::ZERO);
        Ok(Arrival { seq, age, is_last: frame.r#type == "confirmed" })
    }

    /// Checks that the server closes the stream after the last event.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) async fn end(&mut self) -> Result<()> {
        check_close(&mut self.socket).await
    }
}

/// Follows an order to its end.
///
/// # Errors
/// If an event is missing or out of order, or the order is not confirmed.
pub(crate) async fn follow(server: SocketAddr, id: OrderId) -> Result<Followed> {
    let mut socket = OrderSocket::open(server, id).await?;
    loop {
        let arrival = socket.next().await?;
        if arrival.is_last {
            let ended = Instant::now();
            socket.end().await?;
            let delivered = if arrival.seq > socket.history() { vec![arrival.age] } else { Vec::new() };
            return Ok(Followed { ended, delivered });
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
