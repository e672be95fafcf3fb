//! `POST /api/orders/execute`: accepts an order.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use order_engine_core::{ClientOrderId, Order, StoreError, StoreErrorKind, Submission, SubmitError};
use tokio::time::timeout;
use tracing::Instrument as _;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::address::ws_url;
use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::asked::{Asked, refusal};
use crate::http::body::{BODY_BYTES_MAX, read_fields};
use crate::http::dry_run::DryRunBody;
use crate::http::{dry_run, guard};
use crate::observe::request::about;
use crate::store_watch::{Part, STORE_TIME_MAX};
use crate::wire::fields::{Fields, plain};
use crate::wire::order_form::{IDEMPOTENCY_KEY, OrderFormSchema};
use crate::wire::problem::Problem;
use crate::wire::status::AcceptedBody;

/// Tells that the answer is about an order that an earlier request placed.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The schema of an answer without a new order.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is the form of other types, and never made")]
enum PlacedSchema<'a> {
    Order(Box<AcceptedBody>),
    DryRun(Box<DryRunBody<'a>>),
}

/// An order as it stands after a request for it.
pub(crate) struct Placed {
    pub(crate) order: Arc<Order>,
    /// An earlier request placed it.
    is_replay: bool,
}

impl Placed {
    pub(crate) const fn status(&self) -> StatusCode {
        if self.is_replay { StatusCode::OK } else { StatusCode::ACCEPTED }
    }
}

/// Place an order.
///
/// The answer has 2xx only once the order is durable. The same key and the same order again: 200 with the order as it stands, and
/// `Idempotency-Replayed`. A request without a key gets one from the server; if the answer is in doubt, the problem `outcome-unknown`
/// has it. With `dryRun` everything is checked and nothing placed.
#[utoipa::path(
    post,
    path = "/api/orders/execute",
    operation_id = "placeOrder",
    tag = "Orders",
    request_body = OrderFormSchema,
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, min_length = 1, description = "A name for the order, unique for its user: the same as `clientOrderId`.")),
    responses(
        (status = 202, description = "The order is accepted, and durable.", body = AcceptedBody, headers(("Location" = String, description = "The order's status document."))),
        (status = 200, description = "An earlier request placed the order, or it was a dry run.", body = inline(PlacedSchema<'_>), headers(("Idempotency-Replayed" = String, description = "`true` if an earlier request placed the order."))),
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut fields = read_fields(&parts.headers, body, BODY_BYTES_MAX).await?;
    let key = idempotency_key(&parts.headers)?;
    if fields.read("dryRun", |value| plain(value, "true or false")).unwrap_or(false) {
        return dry_run::rehearse(&app, &caller, fields, key).await;
    }
    let placed = place(&app, &caller, fields, key).await?;
    let order = &placed.order;
    about(order.id);
    let ws_url = ws_url(app.options.public_url.as_ref(), &parts, app.local_addr, order.id);
    let location = [(LOCATION, format!("/api/orders/status/{}", order.id))];
    let replayed = placed.is_replay.then(|| [(REPLAYED, HeaderValue::from_static("true"))]);
    Ok((placed.status(), location, replayed, Json(AcceptedBody::new(order, ws_url))).into_response())
}

/// Places an order of these fields, unless an earlier request has.
pub(crate) async fn place(
    app: &AppState,
    caller: &Caller,
    fields: Fields,
    key: Option<&str>,
) -> Result<Placed, Problem> {
    let asked = Asked::read(app, caller, fields, key)?;
    let _admitted = guard::admit(app, &asked).await?;
    let mut request = asked.request;
    // A client that gave no key needs one if the answer is in doubt: only with it may the request be repeated.
    request.client_order_id.get_or_insert_with(|| ClientOrderId::new(Uuid::new_v4().to_string()));
    let draft = app.engine.draft(request).map_err(|error| refusal(&error))?;
    let order = Arc::clone(&draft.order);
    let span = tracing::info_span!("order", order.id = %order.id);
    let submit = timeout(STORE_TIME_MAX, app.engine.submit_draft(draft));
    let submitted = submit.instrument(span.clone()).await;
    let _about_the_order = span.entered();
    let late = |_| Err(SubmitError::Store(StoreError::new(StoreErrorKind::Unavailable, "no answer in time")));
    match submitted.unwrap_or_else(late) {
        Ok(Submission::Created(order)) => {
            app.store_watch.note(Part::Writes, Ok(()));
            app.known.insert(&order);
            Ok(Placed { order, is_replay: false })
        }
        Ok(Submission::Existing(order)) => Ok(Placed { order, is_replay: true }),
        Ok(Submission::Conflict(other)) => Err(Problem::idempotency_conflict(&other)),
        Err(SubmitError::Store(error)) => {
            app.store_watch.failed(Part::Writes, &error);
            Err(Problem::outcome_unknown(&order))
        }
        Err(error) => Err(refusal(&error)),
    }
}

/// Returns the client order id of the header. If the header is there twice, both values must be the same.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let invalid = |code, message: &str| Problem::invalid_field(IDEMPOTENCY_KEY, code, message);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|value| value != first) {
        return Err(invalid("conflict", "The header is given twice with different values."));
    }
    let key = std::str::from_utf8(first.as_bytes()).map_err(|_| invalid("invalid", "Must be UTF-8."))?;
    Ok(Some(key))
}
