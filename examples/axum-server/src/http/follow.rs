//! The three paths under which an order's live stream is a WebSocket.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::header::UPGRADE;
use axum::http::request::Parts;
use axum::response::Response;
use order_engine_core::OrderId;

use crate::app::AppState;
use crate::http::params::{OrderInPath, Params, parse_order_id};
use crate::http::websocket;
use crate::live::sockets::NoSlot;
use crate::wire::problem::Problem;

/// The upgrade of a request to a WebSocket, if the request asks for one.
#[derive(Debug)]
pub(crate) struct Upgrade {
    is_wanted: bool,
    result: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let is_wanted = parts
            .headers
            .get_all(UPGRADE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"));
        Ok(Self { is_wanted, result: WebSocketUpgrade::from_request_parts(parts, state).await })
    }
}

impl Upgrade {
    pub(crate) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }
}

/// `GET /ws/orders/{orderId}`.
pub(crate) async fn by_path(
    State(app): State<AppState>,
    OrderInPath(id): OrderInPath,
    params: Params,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    follow(app, id, &params.only(&["after"])?, upgrade)
}

/// `GET /api/orders/execute?orderId={orderId}`.
pub(crate) async fn by_query(
    State(app): State<AppState>,
    params: Params,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let params = params.only(&["orderId", "after"])?;
    let id = params.text("orderId").and_then(parse_order_id);
    follow(app, id, &params, upgrade)
}

/// Turns a request into a live stream. The socket opens also for an unknown order and reports the error,
/// because browsers do not show scripts why an upgrade was refused.
pub(crate) fn follow(
    app: AppState,
    id: Option<OrderId>,
    params: &Params,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    if !upgrade.is_wanted() {
        return Err(Problem::upgrade_required());
    }
    let upgrade = upgrade
        .result
        .map_err(|rejection| Problem::new(rejection.status(), "bad-upgrade", rejection.body_text()))?;
    let after = params.after()?;
    let slot = app.sockets.admit(id).map_err(no_slot)?;
    Ok(websocket::upgrade(upgrade, app, id, after, slot))
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
