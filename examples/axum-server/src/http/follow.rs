//! The three paths under which an order's live stream is a WebSocket.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use order_engine_core::OrderId;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::params::{OrderInPath, OrderInQuery, Params};
use crate::http::upgrade::Upgrade;
use crate::http::websocket;
use crate::live::sockets::NoSlot;
use crate::store_watch::Part;
use crate::wire::problem::{Document, Problem};

/// Follow an order over a WebSocket.
#[utoipa::path(
    get,
    path = "/ws/orders/{orderId}",
    operation_id = "followOrder",
    tag = "Live",
    params(
        ("orderId" = String, Path, format = Uuid, description = "The order."),
        ("after" = Option<u64>, Query, description = "Only the events after the one of this number."),
        ("ticket" = Option<String>, Query, description = "A ticket, for WebSockets of browsers."),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket."),
        (status = 426, description = "The path is a WebSocket.", body = Document<'_>, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn by_path(
    State(app): State<AppState>,
    OrderInPath(id): OrderInPath,
    caller: Caller,
    params: Params,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    follow(app, id, &caller, &params.only(&["after", "ticket"])?, upgrade).await
}

/// Follow an order over a WebSocket, at the path that takes orders.
#[utoipa::path(
    get,
    path = "/api/orders/execute",
    operation_id = "followOrderByQuery",
    tag = "Live",
    params(
        ("orderId" = String, Query, format = Uuid, description = "The order."),
        ("after" = Option<u64>, Query, description = "Only the events after the one of this number."),
        ("ticket" = Option<String>, Query, description = "A ticket, for WebSockets of browsers."),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket."),
        (status = 426, description = "The path is a WebSocket.", body = Document<'_>, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn by_query(
    State(app): State<AppState>,
    OrderInQuery(id): OrderInQuery,
    caller: Caller,
    params: Params,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    follow(app, id, &caller, &params.only(&["orderId", "after", "ticket"])?, upgrade).await
}

/// Turns a request into a live stream. The socket opens also for an unknown order and reports the error,
/// because browsers do not show scripts why an upgrade was refused.
pub(crate) async fn follow(
    app: AppState,
    id: Option<OrderId>,
    caller: &Caller,
    params: &Params,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let handshake = match upgrade.handshake() {
        Ok(handshake) => handshake,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    let after = params.after()?;
    let id = match id {
        Some(id) if exists(&app, id).await => Some(id),
        _ => None,
    };
    match id {
        Some(id) => {
            let slot = app.sockets.admit(id).map_err(no_slot)?;
            websocket::follow(&handshake.handover, app, id, after, (slot, caller.tenure().clone()));
        }
        None => {
            let slot = app.sockets.admit_stranger().map_err(no_slot)?;
            websocket::turn_away(&handshake.handover, app, slot);
        }
    }
    Ok(handshake.switch())
}

/// Returns whether there is an order. If the store does not answer, the stream says so.
async fn exists(app: &AppState, id: OrderId) -> bool {
    if app.known.decimals(id).is_some() {
        return true;
    }
    match app.store_watch.in_time(Part::Reads, app.engine.order(id)).await {
        Ok(Some(order)) => {
            // The stream need not read it again.
            app.known.insert(&order);
            true
        }
        Ok(None) => false,
        Err(_) => true,
    }
}

pub(crate) fn no_slot(error: NoSlot) -> Problem {
    match error {
        NoSlot::Total => {
            Problem::unavailable("too-many-streams", "The server has as many live streams as it may have.")
        }
        NoSlot::Order => {
            Problem::unavailable("too-many-streams", "The order has as many live streams as it may have.")
        }
    }
}
