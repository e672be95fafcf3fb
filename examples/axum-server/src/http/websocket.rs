//! A WebSocket, from its upgrade to its close.

use axum::body::Bytes;
use chrono::Utc;
use futures_util::Stream;
use order_engine_core::{FeedCursor, FeedScope, OrderId};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::app::AppState;
use crate::auth::tenure::Tenure;
use crate::live::all_orders::AllOrders;
use crate::live::feed::{Feed, FeedEnd, Item};
use crate::live::frame_gate::FrameGate;
use crate::live::session::{Announcements, End, Session};
use crate::live::sockets::{StrangerSlot, StreamSlot};
use crate::transport::handover::Handover;
use crate::transport::stream::Transport;
use crate::wire::frame::{ControlFrame, to_json};

/// The largest message that is read. A message above the session's own bound ends the session, so a much
/// larger buffer has no use.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// How much is read at a time. Clients send pongs and closes, which have at most 131 bytes. The default of
/// 128 KiB would be most of the memory of an idle client, and each read would clear it.
const READ_BUFFER_BYTES: usize = 256;
/// How much is gathered before it is written, even if more follows at once. What was once needed is kept.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// Boxed, because each future that it passes through would have room for one of its own.
type SocketSession = Box<Session<WebSocketStream<FrameGate<Transport>>>>;

/// Serves the connection as the live stream of an order.
pub(crate) fn follow(
    handover: &Handover,
    app: AppState,
    id: OrderId,
    after: u64,
    place: (StreamSlot, Tenure),
) {
    handover.take_upgraded(move |transport, received| async move {
        let Some(session) = session(&app, transport, received).await else { return };
        serve(&app, id, after, session, place).await;
    });
}

/// Serves the connection as the live stream of all orders of a scope, behind a place or from now on.
pub(crate) fn follow_all(
    handover: &Handover,
    app: AppState,
    scope: FeedScope,
    after: Option<FeedCursor>,
    (slot, tenure): (StreamSlot, Tenure),
) {
    handover.take_upgraded(move |transport, received| async move {
        let Some(mut session) = session(&app, transport, received).await else { return };
        let end = match AllOrders::open(&app.engine, &app.store_watch, scope, after).await {
            Ok(feed) => {
                for frame in ControlFrame::opening_of_all(feed.cursor(), Utc::now()) {
                    session.queue_frame(to_json(&frame));
                }
                // All of it is history to the session: it is read as fast as the client takes it.
                run(&app, &mut session, feed.into_stream(), u64::MAX, tenure).await
            }
            Err(_) => unavailable(&mut session),
        };
        session.close(end).await;
        drop(slot);
    });
}

/// Sends a feed until it ends, or the credential does.
async fn run<F>(app: &AppState, session: &mut SocketSession, feed: F, last_seq: u64, tenure: Tenure) -> End
where
    F: Stream<Item = Result<Item, FeedEnd>> + Send,
{
    let feed = Box::pin(feed);
    tokio::select! {
        end = session.run(feed, last_seq, Announcements::of(&app.sockets)) => end,
        () = tenure.ended() => End::CredentialEnded,
    }
}

fn unavailable(session: &mut SocketSession) -> End {
    session.queue_frame(error("store-unavailable", "The store does not answer. Try again."));
    End::Unavailable
}

/// Tells the client that there is no such order, because what it named is no order id.
pub(crate) fn turn_away(handover: &Handover, app: AppState, slot: StrangerSlot) {
    handover.take_upgraded(move |transport, received| async move {
        let Some(session) = session(&app, transport, received).await else { return };
        unknown_order(session, Some(slot)).await;
    });
}

/// Begins a session. What was received is freed with HTTP's buffer, of which it is a part.
async fn session(app: &AppState, transport: Transport, received: Bytes) -> Option<SocketSession> {
    let mut gate = FrameGate::new(transport, app.session_rules.inbound_per_second_max);
    // A client that sends a flood with its handshake gets no close frame.
    gate.count(&received).ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let begun = received.to_vec();
    drop(received);
    let socket = WebSocketStream::from_partially_read(gate, begun, Role::Server, Some(config)).await;
    Some(Box::new(Session::new(socket, app.session_rules)))
}

async fn serve(
    app: &AppState,
    id: OrderId,
    after: u64,
    mut session: SocketSession,
    (slot, tenure): (StreamSlot, Tenure),
) {
    let end = match Feed::open(&app.engine, &app.known, &app.store_watch, id, after, slot.frames()).await {
        Ok(Some(feed)) => {
            let last_seq = feed.last_seq();
            for frame in ControlFrame::opening(id, last_seq, Utc::now()) {
                session.queue_frame(to_json(&frame));
            }
            run(app, &mut session, feed.into_stream(), last_seq, tenure).await
        }
        Ok(None) => {
            // The places of those who follow an order are not for others.
            drop(slot);
            return unknown_order(session, app.sockets.admit_stranger().ok()).await;
        }
        Err(_) => unavailable(&mut session),
    };
    tracing::debug!(order.id = %id, stream.end = ?end, "a live stream ended");
    session.close(end).await;
}

/// Tells the client that there is no such order. Without a slot nobody waits until it has read that.
async fn unknown_order(mut session: SocketSession, slot: Option<StrangerSlot>) {
    session.queue_frame(error("order-not-found", "There is no such order."));
    if slot.is_some() {
        session.close(End::UnknownOrder).await;
    } else {
        session.close_at_once(End::UnknownOrder);
    }
}

fn error(code: &'static str, message: &'static str) -> String {
    to_json(&ControlFrame::error(code, message, Utc::now()))
}
