//! The status document and the events of an order.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use order_engine_core::{ClientOrderId, Order, OrderId, StoreError, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::etag::is_known;
use crate::http::follow::follow;
use crate::http::params::{OrderInPath, Params};
use crate::http::sse::{self, Stream};
use crate::http::upgrade::Upgrade;
use crate::store_watch::Part;
use crate::wire::frame::{Frame, FrameSchema, frame};
use crate::wire::name::composed;
use crate::wire::order_form::ANONYMOUS;
use crate::wire::problem::Problem;
use crate::wire::quotes::Decimals;
use crate::wire::status::StatusBody;

/// How long a client may wait for a change, in seconds: less than proxies wait for an answer.
const WAIT_S_MAX: u64 = 30;
/// How many events are read at once.
const PAGE: u32 = 256;
/// How many events an answer has at most.
const EVENTS_MAX: u32 = 1_000;

/// Events of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Events)]
pub(crate) struct EventsBody<'a> {
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
    #[schema(value_type = Vec<FrameSchema<'_>>)]
    events: Vec<Frame<'a>>,
    /// The number of the order's last event. It is greater than the number of the last event here if there
    /// are more.
    last_seq: u64,
}

/// Get an order, or with `Upgrade: websocket` follow it.
///
/// With `If-None-Match` and `wait`, the answer comes once the order is another one than the client has, or after so many seconds.
#[utoipa::path(
    get,
    path = "/api/orders/status/{orderId}",
    operation_id = "getOrder",
    tag = "Orders",
    params(
        ("orderId" = String, Path, format = Uuid, description = "The order."),
        ("wait" = Option<u64>, Query, maximum = 30, description = "For how many seconds to wait for a change at most."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer that the client has."),
    ),
    responses(
        (status = 200, description = "The order.", body = StatusBody, headers(("ETag" = String, description = "Changes with the order."))),
        (status = 304, description = "The client has the order as it is."),
        (status = 101, description = "The connection is a WebSocket."),
    ),
)]
pub(crate) async fn status(
    State(app): State<AppState>,
    OrderInPath(id): OrderInPath,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    if upgrade.is_wanted() {
        return follow(app, id, &caller, &params.only(&["after", "ticket"])?, upgrade).await;
    }
    let params = params.only(&["wait"])?;
    let wait = params.number("wait")?.unwrap_or(0);
    if wait > WAIT_S_MAX {
        let message = format!("Must be 0 to {WAIT_S_MAX} seconds.");
        return Err(Problem::invalid_field("wait", "out-of-range", message));
    }
    let id = id.ok_or_else(Problem::order_not_found)?;
    if wait > 0 {
        until_changed(&app, id, &headers, Duration::from_secs(wait)).await?;
    }
    document(&app, id, &headers).await
}

/// Waits until an order is another one than the client has, the time is over, or the server shuts down.
async fn until_changed(
    app: &AppState,
    id: OrderId,
    headers: &HeaderMap,
    time: Duration,
) -> Result<(), Problem> {
    let order = app.store_watch.in_time(Part::Reads, app.engine.order(id)).await?;
    let order = order.ok_or_else(Problem::order_not_found)?;
    if order.status().is_terminal() || !is_known(headers, &entity_tag(&order)) {
        return Ok(());
    }
    let subscribing = app.engine.subscribe(id, order.seq);
    let Some(mut subscription) = app.store_watch.in_time(Part::Reads, subscribing).await? else {
        return Ok(());
    };
    let mut shutdown = app.sockets.shutdown_signal();
    tokio::select! {
        // Whatever comes, the order is read again.
        _ = subscription.next() => {}
        () = tokio::time::sleep(time) => {}
        () = shutdown.wait() => {}
    }
    Ok(())
}

/// Returns the tag of an order: whatever changes of it is an event.
fn entity_tag(order: &Order) -> String {
    format!("\"{}\"", order.seq)
}

/// Get the order to which its user gave a name.
#[utoipa::path(
    get,
    path = "/api/orders/by-client-id/{clientOrderId}",
    operation_id = "getOrderByClientId",
    tag = "Orders",
    params(
        ("clientOrderId" = String, Path, description = "The name."),
        ("userId" = Option<String>, Query, description = "Whose. With authentication, it is the credential's."),
    ),
    responses((status = 200, description = "The order.", body = StatusBody)),
)]
pub(crate) async fn by_client_id(
    State(app): State<AppState>,
    Path(name): Path<String>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = params.only(&["userId"])?;
    let user = caller.acting_as(params.user_id()?)?.unwrap_or_else(|| UserId::new(ANONYMOUS));
    let name = ClientOrderId::new(composed(&name));
    let found = app.store_watch.in_time(Part::Reads, app.engine.order_named(&user, &name)).await?;
    let id = found.ok_or_else(Problem::order_not_found)?.id;
    document(&app, id, &headers).await
}

/// Returns the status document of an order, unless the client has it.
async fn document(app: &AppState, id: OrderId, headers: &HeaderMap) -> Result<Response, Problem> {
    let found = app.store_watch.in_time(Part::Reads, with_messages(app, id)).await?;
    let (order, logs) = found.ok_or_else(Problem::order_not_found)?;
    let tag = entity_tag(&order);
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    Ok(([(ETAG, tag)], Json(StatusBody::new(&order, logs))).into_response())
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

/// Get the events of an order, or with `Accept: text/event-stream` follow it.
#[utoipa::path(
    get,
    path = "/api/orders/{orderId}/events",
    operation_id = "getEvents",
    tag = "Orders",
    params(
        ("orderId" = String, Path, format = Uuid, description = "The order."),
        ("after" = Option<u64>, Query, description = "Only the events after the one of this number."),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1_000, description = "How many at most; 256 unless said."),
        ("Last-Event-ID" = Option<String>, Header, pattern = "^[0-9]+$", description = "The same as `after`, for streams that reconnect."),
    ),
    responses(
        (status = 200, description = "The events.", content((EventsBody<'_> = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "The client has all events of an order that has ended, and need not reconnect."),
    ),
)]
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
    let limit = params.limit(PAGE, EVENTS_MAX)?;
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
