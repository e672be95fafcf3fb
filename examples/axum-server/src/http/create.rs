//! `POST /api/orders/execute`: accepts an order.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use order_engine_core::{Order, Submission, SubmitError};

use crate::address::ws_url;
use crate::app::AppState;
use crate::http::body::read_fields;
use crate::wire::order_form::{IDEMPOTENCY_KEY, order_request};
use crate::wire::problem::Problem;
use crate::wire::status::AcceptedBody;

pub(crate) async fn create(State(app): State<AppState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let fields = read_fields(&parts.headers, body).await?;
    let key = idempotency_key(&parts.headers)?;
    let request = order_request(fields, key, &app.tokens)?;
    let answer = |status: StatusCode, order: &Order| {
        let ws_url = ws_url(app.options.public_url.as_ref(), &parts, app.local_addr, order.id);
        let location = [(LOCATION, format!("/api/orders/status/{}", order.id))];
        (status, location, Json(AcceptedBody::new(order, ws_url))).into_response()
    };
    match app.engine.submit(request).await {
        Ok(Submission::Created(order)) => {
            app.known.insert(&order);
            Ok(answer(StatusCode::ACCEPTED, &order))
        }
        Ok(Submission::Existing(order)) => Ok(answer(StatusCode::OK, &order)),
        Ok(Submission::Conflict(_)) => {
            let detail = "The client order id was already used for a different order.";
            Err(Problem::new(StatusCode::CONFLICT, "idempotency-conflict", detail))
        }
        Err(error) => Err(refusal(error)),
    }
}

fn refusal(error: SubmitError) -> Problem {
    match error {
        SubmitError::Store(error) => Problem::store(&error),
        SubmitError::ShuttingDown => Problem::shutting_down(),
        error => {
            // The form checks all the engine's rules and has better messages. This is a fallback.
            let detail = format!("The order is not acceptable: {error}.");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail)
        }
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
