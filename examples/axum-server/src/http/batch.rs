//! Several orders in one request: each succeeds or fails alone, and has a result of its own, in order.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures_util::future::join_all;
use order_engine_core::{OrderId, OrderQuery, Status, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::address::ws_url;
use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::body::{parse_fields, read_fields};
use crate::http::cancel::{CancelBody, cancel_order};
use crate::http::create::place;
use crate::http::params::{parse_order_id, visible};
use crate::store_watch::Part;
use crate::wire::fields::{ValueError, plain};
use crate::wire::name::read_name;
use crate::wire::order_form::{ANONYMOUS, OrderFormSchema, USER_ID_MAX_CHARS};
use crate::wire::problem::{Document, Problem};
use crate::wire::status::AcceptedBody;

/// How many orders one request may have.
const ORDERS_MAX: usize = 50;
/// The largest body: as many orders as there may be, each of a few hundred bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How many orders are cancelled by one request for all of them. Who has more asks again.
const CANCELS_MAX: usize = 1_000;

/// The answer: one result each, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchBody<T> {
    results: Vec<BatchResult<T>>,
}

/// What a request of its own would have been answered.
#[derive(Debug, Serialize, ToSchema)]
struct BatchResult<T> {
    /// The status of that answer.
    #[serde(rename = "httpStatus")]
    status: u16,
    #[serde(flatten)]
    outcome: Outcome<T>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Outcome<T> {
    Order(T),
    #[schema(value_type = Document<'static>)]
    Problem(Problem),
}

impl<T> From<Result<(StatusCode, T), Problem>> for BatchResult<T> {
    fn from(result: Result<(StatusCode, T), Problem>) -> Self {
        let (status, outcome) = match result {
            Ok((status, body)) => (status, Outcome::Order(body)),
            Err(problem) => (problem.status(), Outcome::Problem(problem)),
        };
        Self { status: status.as_u16(), outcome }
    }
}

/// The schema of a request for several orders.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the orders are read one by one, so that each has its own errors")]
pub(crate) struct BatchForm {
    /// The orders, each with its own `clientOrderId`.
    #[schema(min_items = 1, max_items = 50)]
    orders: Vec<OrderFormSchema>,
}

/// Place several orders.
///
/// Each succeeds or fails alone: a result each, in order, with the status that a request of its own would have had. Each
/// counts as a request where requests are limited.
#[utoipa::path(
    post,
    path = "/api/orders/batch",
    operation_id = "placeOrders",
    tag = "Orders",
    request_body = BatchForm,
    responses((status = 200, description = "A result for each order, in their order.", body = BatchBody<AcceptedBody>)),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Json<BatchBody<AcceptedBody>>, Problem> {
    let (parts, body) = request.into_parts();
    let mut fields = read_fields(&parts.headers, body, BODY_BYTES_MAX).await?;
    if !fields.has("orders") {
        fields.reject("orders", "required", "The field is required.");
    }
    let orders: Option<Vec<Box<RawValue>>> = fields.read("orders", list);
    fields.finish()?;
    let create = async |(n, order): (usize, Box<RawValue>)| {
        count(&app, &caller, &parts, n)?;
        create_one(&app, &caller, &parts, order).await
    };
    Ok(answer(join_all(orders.unwrap_or_default().into_iter().enumerate().map(create)).await))
}

/// Counts an order of a request for several. The first one was counted with the request.
fn count(app: &AppState, caller: &Caller, parts: &Parts, n: usize) -> Result<(), Problem> {
    if n == 0 { Ok(()) } else { app.gate.count_another(caller, parts) }
}

async fn create_one(
    app: &AppState,
    caller: &Caller,
    parts: &Parts,
    order: Box<RawValue>,
) -> Result<(StatusCode, AcceptedBody), Problem> {
    let placed = place(app, caller, parse_fields(order.get())?, None).await?;
    let ws_url = ws_url(app.options.public_url.as_ref(), parts, app.local_addr, placed.order.id);
    Ok((placed.status(), AcceptedBody::new(&placed.order, ws_url)))
}

/// The schema of a request to cancel several orders.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read one by one, so that all their errors are told")]
pub(crate) struct CancelForm {
    /// The orders. Either these or `all`.
    #[schema(min_items = 1, max_items = 50)]
    order_ids: Option<Vec<String>>,
    /// All open orders of the user, up to 1,000.
    all: Option<bool>,
    /// Whose. With authentication, it is the credential's.
    #[schema(max_length = 255, min_length = 1)]
    user_id: Option<String>,
}

/// Cancel several orders, or all of a user.
#[utoipa::path(
    post,
    path = "/api/orders/cancel",
    operation_id = "cancelOrders",
    tag = "Orders",
    request_body = CancelForm,
    responses((status = 200, description = "A result for each order, in their order.", body = BatchBody<CancelBody>)),
)]
pub(crate) async fn cancel(
    State(app): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Json<BatchBody<CancelBody>>, Problem> {
    let (parts, body) = request.into_parts();
    let mut fields = read_fields(&parts.headers, body, BODY_BYTES_MAX).await?;
    let named =
        fields.read("userId", |value| read_name(&plain::<String>(value, "a string")?, USER_ID_MAX_CHARS));
    let all = fields.read("all", |value| plain(value, "true or false")).unwrap_or(false);
    if fields.has("orderIds") == all {
        fields.reject("orderIds", "required", "Give either orderIds or all.");
    }
    let ids: Option<Vec<String>> = fields.read("orderIds", list);
    fields.finish()?;
    let user = caller.acting_as(named.map(UserId::new))?;
    if all {
        let ids = open_orders(&app, user.unwrap_or_else(|| UserId::new(ANONYMOUS))).await?;
        return Ok(answer(join_all(ids.into_iter().map(|id| cancel_order(&app, id))).await));
    }
    let cancel = async |(n, id): (usize, String)| {
        count(&app, &caller, &parts, n)?;
        let id = visible(&app, &caller, parse_order_id(&id)).await?;
        cancel_order(&app, id.ok_or_else(Problem::order_not_found)?).await
    };
    Ok(answer(join_all(ids.unwrap_or_default().into_iter().enumerate().map(cancel)).await))
}

/// Returns open orders of a user, the newest of each status first. Undecodable ones call for an operator, and cannot be
/// cancelled.
async fn open_orders(app: &AppState, user: UserId) -> Result<Vec<OrderId>, Problem> {
    let mut ids = Vec::new();
    for status in Status::ALL.into_iter().filter(|status| !status.is_terminal()) {
        let missing = u32::try_from(CANCELS_MAX - ids.len()).unwrap_or(u32::MAX);
        let query = OrderQuery::new(missing).with_user_id(user.clone()).with_status(status);
        let found = app.store_watch.in_time(Part::Reads, app.engine.orders(&query)).await?;
        ids.extend(found.into_iter().flatten().map(|order| order.id));
    }
    Ok(ids)
}

fn answer<T>(results: Vec<Result<(StatusCode, T), Problem>>) -> Json<BatchBody<T>> {
    Json(BatchBody { results: results.into_iter().map(BatchResult::from).collect() })
}

/// Reads a list of as many entries as one request may have.
fn list<T: DeserializeOwned>(value: &RawValue) -> Result<Vec<T>, ValueError> {
    let entries: Vec<T> = plain(value, "a list")?;
    if entries.is_empty() || entries.len() > ORDERS_MAX {
        return Err(ValueError::new("out-of-range", format!("Must have 1 to {ORDERS_MAX} entries.")));
    }
    Ok(entries)
}
