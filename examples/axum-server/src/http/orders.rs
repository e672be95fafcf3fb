//! The status document and the events of an order.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use order_engine_core::{ClientOrderId, Order, OrderId, StoreError, UserId};
use serde::Serialize;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::follow::follow;
use crate::http::params::{OrderInPath, Params};
use crate::http::sse::{self, Stream};
use crate::http::upgrade::Upgrade;
use crate::store_watch::Part;
use crate::wire::frame::{Frame, frame};
use crate::wire::name::composed;
use crate::wire::order_form::ANONYMOUS;
use crate::wire::problem::Problem;
use crate::wire::quotes::Decimals;
use crate::wire::status::StatusBody;

/// How many events are read at once.
const PAGE: u32 = 256;
/// How many events an answer has at most.
const EVENTS_MAX: u64 = 1_000;

/// Events of an order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventsBody<'a> {
    order_id: OrderId,
    events: Vec<Frame<'a>>,
    /// The number of the order's last event. It is greater than the number of the last event here if there
    /// are more.
    last_seq: u64,
}

/// `GET /api/orders/status/{orderId}`: the status document, or the live stream.
pub(crate) async fn status(
    State(app): State<AppState>,
    OrderInPath(id): OrderInPath,
    caller: Caller,
    params: Params,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    if upgrade.is_wanted() {
        return follow(app, id, &caller, &params.only(&["after", "ticket"])?, upgrade).await;
    }
    params.only(&[])?;
    let id = id.ok_or_else(Problem::order_not_found)?;
    document(&app, id).await
}

/// `GET /api/orders/by-client-id/{clientOrderId}?userId=`: the status document of the order that the user gave this name.
pub(crate) async fn by_client_id(
    State(app): State<AppState>,
    Path(name): Path<String>,
    caller: Caller,
    params: Params,
) -> Result<Response, Problem> {
    let params = params.only(&["userId"])?;
    let user = caller.acting_as(params.user_id()?)?.unwrap_or_else(|| UserId::new(ANONYMOUS));
    let name = ClientOrderId::new(composed(&name));
    let found = app.store_watch.in_time(Part::Reads, app.engine.order_named(&user, &name)).await?;
    let id = found.ok_or_else(Problem::order_not_found)?.id;
    document(&app, id).await
}

/// Returns the status document of an order.
async fn document(app: &AppState, id: OrderId) -> Result<Response, Problem> {
    let found = app.store_watch.in_time(Part::Reads, with_messages(app, id)).await?;
    let (order, logs) = found.ok_or_else(Problem::order_not_found)?;
    Ok(Json(StatusBody::new(&order, logs)).into_response())
}

async fn with_messages(app: &AppState, id: OrderId) -> Result<Option<(Order, Vec<String>)>, StoreError> {
    let Some(order) = app.engine.order(id).await? else { return Ok(None) };
    let messages = messages(app, id, order.seq).await?;
    Ok(Some((order, messages)))
}

/// Returns the messages of an order's events up to the one numbered `last_seq`.
async fn messages(app: &AppState, id: OrderId, last_seq: u64) -> Result<Vec<String>, StoreError> {
    let mut messages = Vec::new();
    let mut after = 0;
    while after < last_seq {
        let page = app.engine.events(id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        messages.extend(
            page.iter()
                .take_while(|record| record.seq <= last_seq)
                .map(order_engine_core::EventRecord::message),
        );
    }
    Ok(messages)
}

/// `GET /api/orders/{orderId}/events`: the order's events as JSON or as server-sent events.
pub(crate) async fn events(
    State(app): State<AppState>,
    OrderInPath(id): OrderInPath,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    stream: Stream,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(Problem::order_not_found)?;
    let params = params.only(&["after", "limit"])?;
    if sse::is_accepted(&headers) {
        let tenure = caller.tenure().clone();
        return sse::stream(app, id, &params, (stream, tenure)).await.map(sse::vary_by_accept);
    }
    let after = params.after()?;
    let limit = params.number("limit")?.unwrap_or(u64::from(PAGE));
    let limit =
        u32::try_from(limit).ok().filter(|limit| (1..=EVENTS_MAX).contains(&u64::from(*limit))).ok_or_else(
            || Problem::invalid_field("limit", "out-of-range", format!("Must be 1 to {EVENTS_MAX}.")),
        )?;
    let read = async {
        let Some(order) = app.engine.order(id).await? else { return Ok(None) };
        Ok(Some((order, app.engine.events(id, after, limit).await?)))
    };
    let found = app.store_watch.in_time(Part::Reads, read).await?;
    let (order, records) = found.ok_or_else(Problem::order_not_found)?;
    let decimals = Decimals::of(&order.request);
    // The order may have new events since it was read.
    let last_seq = records.last().map_or(order.seq, |last| last.seq.max(order.seq));
    let events = records.iter().map(|record| frame(decimals, record)).collect();
    let body = Json(EventsBody { order_id: id, events, last_seq });
    Ok(sse::vary_by_accept(body.into_response()))
}
