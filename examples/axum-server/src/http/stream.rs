//! `GET /api/stream`: the events of all orders of the caller, over a WebSocket or as server-sent events.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use order_engine_core::{FeedCursor, FeedScope};

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::follow::no_slot;
use crate::http::params::Params;
use crate::http::sse::{self, LAST_EVENT_ID, Stream};
use crate::http::upgrade::Upgrade;
use crate::http::websocket;
use crate::live::sockets::Subject;
use crate::wire::problem::Problem;

/// The cursor before all events.
const FROM_THE_START: &str = "start";

/// The events of all orders of the caller, live.
///
/// A WebSocket, or with `Accept: text/event-stream` server-sent events. Every event has a `cursor`; with `after` (or `Last-Event-ID`) the
/// stream resumes behind it without a gap, in whichever process and however long ago, until the orders are purged. An order's events
/// come in their order; between orders nothing is promised.
#[utoipa::path(
    get,
    path = "/api/stream",
    operation_id = "followAllOrders",
    tag = "Live",
    params(
        ("after" = Option<String>, Query, description = "The cursor of the last event that the client has, or `start` for all events. Without it, the stream begins now."),
        ("userId" = Option<String>, Query, description = "Only this user's orders. With authentication, it is the credential's."),
        ("ticket" = Option<String>, Query, description = "A ticket, for WebSockets of browsers."),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket."),
        (status = 200, description = "The events, as they happen.", content_type = "text/event-stream", body = String),
    ),
)]
pub(crate) async fn stream(
    State(app): State<AppState>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    upgrade: Upgrade,
    stream: Stream,
) -> Result<Response, Problem> {
    let params = params.only(&["after", "userId", "ticket"])?;
    let user = caller.acting_as(params.user_id()?)?;
    let scope = user.map_or(FeedScope::All, FeedScope::User);
    let tenure = caller.tenure().clone();
    if !upgrade.is_wanted() && sse::is_accepted(&headers) {
        let after = match stream.resumes_after() {
            Some(text) => Some(read_cursor(LAST_EVENT_ID, text)?),
            None => after(&params)?,
        };
        let slot = app.sockets.admit_to(Subject::Orders(scope.clone())).map_err(no_slot)?;
        return sse::stream_all(app, scope, after, (stream, slot, tenure)).await.map(sse::vary_by_accept);
    }
    let handshake = match upgrade.handshake() {
        Ok(handshake) => handshake,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    let after = after(&params)?;
    let slot = app.sockets.admit_to(Subject::Orders(scope.clone())).map_err(no_slot)?;
    websocket::follow_all(&handshake.handover, app, scope, after, (slot, tenure));
    Ok(handshake.switch())
}

fn after(params: &Params) -> Result<Option<FeedCursor>, Problem> {
    params.text("after").map(|text| read_cursor("after", text)).transpose()
}

fn read_cursor(field: &str, text: &str) -> Result<FeedCursor, Problem> {
    if text == FROM_THE_START {
        return Ok(FeedCursor::START);
    }
    text.parse().map_err(|_| Problem::invalid_field(field, "invalid", "This is no cursor of the stream."))
}
