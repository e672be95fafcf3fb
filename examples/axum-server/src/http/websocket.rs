//! One WebSocket from its upgrade to its close.

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use chrono::Utc;
use order_engine_core::{OrderId, StoreError};

use crate::app::AppState;
use crate::live::feed::Feed;
use crate::live::session::{Announcements, End, Session};
use crate::live::sockets::Place;
use crate::wire::frame::{ControlFrame, to_json};

/// The largest message that is read at all. Anything beyond the session's own bound ends the
/// session, so there is no use in a buffer much larger than that.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// How much is read at a time. Clients send pongs and closes, which are at most 131 bytes; the usual
/// 128 KiB would be the greater part of what an idle client costs, and are cleared at each read.
const READ_BUFFER_BYTES: usize = 512;

/// Answers an upgrade, and serves the socket in a task of its own.
pub(crate) fn upgrade(
    upgrade: WebSocketUpgrade,
    app: AppState,
    id: Option<OrderId>,
    after: u64,
    place: Place,
) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(async move |socket| serve(&app, id, after, socket, &place).await)
}

async fn serve(app: &AppState, id: Option<OrderId>, after: u64, socket: WebSocket, place: &Place) {
    let announcements = Announcements { notices: app.sockets.notices(), closing: app.sockets.closing() };
    let mut session = Session::new(socket, app.session_rules);
    let end = match open(app, id, after, place).await {
        Ok(Some((id, feed))) => {
            let last_seq = feed.last_seq();
            for frame in ControlFrame::opening(id, last_seq, Utc::now()) {
                session.greet(to_json(&frame));
            }
            session.run(feed.into_stream(), last_seq, announcements).await
        }
        Ok(None) => {
            session.greet(error("order-not-found", "There is no such order."));
            End::UnknownOrder
        }
        Err(store_error) => {
            tracing::warn!(error = %store_error, "a live stream could not begin");
            session.greet(error("store-unavailable", "The store does not answer. Try again."));
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
    place: &Place,
) -> Result<Option<(OrderId, Feed)>, StoreError> {
    let Some(id) = id else { return Ok(None) };
    let feed = Feed::open(&app.engine, &app.known, id, after, place.frames()).await?;
    Ok(feed.map(|feed| (id, feed)))
}

fn error(code: &'static str, message: &'static str) -> String {
    to_json(&ControlFrame::error(code, message, Utc::now()))
}
