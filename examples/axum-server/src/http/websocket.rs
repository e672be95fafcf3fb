//! A WebSocket, from its upgrade to its close.

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use chrono::Utc;
use order_engine_core::telemetry::chain;
use order_engine_core::{OrderId, StoreError};

use crate::app::AppState;
use crate::live::feed::Feed;
use crate::live::session::{Announcements, End, Session};
use crate::live::sockets::StreamSlot;
use crate::wire::frame::{ControlFrame, to_json};

/// The largest message that is read. A message above the session's own bound ends the session, so a much
/// larger buffer has no use.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// How much is read at a time. Clients send pongs and closes, which have at most 131 bytes. The default of
/// 128 KiB would be most of the memory of an idle client, and each read would clear it.
const READ_BUFFER_BYTES: usize = 512;

/// Answers an upgrade, and serves the socket in a task of its own.
pub(crate) fn upgrade(
    upgrade: WebSocketUpgrade,
    app: AppState,
    id: Option<OrderId>,
    after: u64,
    slot: StreamSlot,
) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(async move |socket| serve(&app, id, after, socket, &slot).await)
}

async fn serve(app: &AppState, id: Option<OrderId>, after: u64, socket: WebSocket, slot: &StreamSlot) {
    let announcements =
        Announcements { notices: app.sockets.notices(), shutdown: app.sockets.shutdown_signal() };
    let mut session = Session::new(socket, app.session_rules);
    let end = match open(app, id, after, slot).await {
        Ok(Some((id, feed))) => {
            let last_seq = feed.last_seq();
            for frame in ControlFrame::opening(id, last_seq, Utc::now()) {
                session.queue_frame(to_json(&frame));
            }
            session.run(feed.into_stream(), last_seq, announcements).await
        }
        Ok(None) => {
            session.queue_frame(error("order-not-found", "There is no such order."));
            End::UnknownOrder
        }
        Err(store_error) => {
            tracing::warn!(error = %chain(&store_error), "a live stream could not read its order");
            session.queue_frame(error("store-unavailable", "The store does not answer. Try again."));
            End::Unavailable
        }
    };
    tracing::debug!(order.id = id.map(tracing::field::display), stream.end = ?end, "a live stream ended");
    session.close(end).await;
}

async fn open(
    app: &AppState,
    id: Option<OrderId>,
    after: u64,
    slot: &StreamSlot,
) -> Result<Option<(OrderId, Feed)>, StoreError> {
    let Some(id) = id else { return Ok(None) };
    let feed = Feed::open(&app.engine, &app.known, id, after, slot.frames()).await?;
    Ok(feed.map(|feed| (id, feed)))
}

fn error(code: &'static str, message: &'static str) -> String {
    to_json(&ControlFrame::error(code, message, Utc::now()))
}
