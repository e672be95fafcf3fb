//! Errors as `application/problem+json` (RFC 9457) with a stable `code`.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use order_engine_core::telemetry::chain;
use order_engine_core::{Order, OrderId, StoreError, StoreErrorKind};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::wire::catalogue;
/// How long a client should wait before it repeats a request that got 503.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The most errors in one answer. Who sends more of them does not read them.
const ERRORS_MAX: usize = 20;
/// The most characters of a name in an answer, where the client made the name up.
const FIELD_MAX_CHARS: usize = 64;

/// An error as the client sees it.
///
/// It never repeats what the client sent, so that the answers for any two unknown orders are the same bytes.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    /// Boxed, because most problems have none.
    header: Option<Box<(HeaderName, HeaderValue)>>,
    /// Boxed, because most problems concern none.
    order: Option<Box<OrderConcerned>>,
    price_impact_bps: Option<u32>,
}

/// The order that a problem is about, as far as the client may know it.
#[derive(Debug)]
struct OrderConcerned {
    order_id: OrderId,
    /// The key under which a repeated request is the same order.
    idempotency_key: Option<String>,
}

/// An error in one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The name of the field as the client wrote it, or the name of a header or a query parameter.
    pub(crate) field: String,
    /// A stable code.
    pub(crate) code: &'static str,
    /// One sentence for people.
    pub(crate) message: String,
}

/// Why a request had no success (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// Where the error is explained, relative to the address of the server.
    r#type: String,
    title: &'a str,
    status: u16,
    /// What programs tell errors apart by.
    code: &'static str,
    /// One sentence for people.
    detail: &'a str,
    /// The fields that were refused.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// The order that the problem is about.
    #[serde(rename = "orderId", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    order_id: Option<OrderId>,
    /// The key under which a repeated request is the same order.
    #[serde(rename = "idempotencyKey", skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    /// The price impact that the order would have, in basis points.
    #[serde(rename = "priceImpactBps", skip_serializing_if = "Option::is_none")]
    price_impact_bps: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        debug_assert!(catalogue::has(code, status.as_u16()), "{code} with {status} is not in the catalogue");
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            header: None,
            order: None,
            price_impact_bps: None,
        }
    }

    /// Returns a 422 with one entry for each of the first fields.
    pub(crate) fn invalid(mut errors: Vec<FieldError>) -> Self {
        errors.truncate(ERRORS_MAX);
        for FieldError { field, .. } in &mut errors {
            if let Some((end, _)) = field.char_indices().nth(FIELD_MAX_CHARS) {
                field.truncate(end);
                field.push('…');
            }
        }
        let detail = "One or more fields of the request are not acceptable.";
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail) }
    }

    /// Returns a 422 for a single field.
    pub(crate) fn invalid_field(field: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.to_owned(), code, message: message.into() }])
    }

    /// Returns the 404 for an order that does not exist.
    pub(crate) fn order_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "order-not-found", "There is no such order.")
    }

    /// Returns the 404 for a webhook that does not exist, or is somebody else's.
    pub(crate) fn webhook_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "webhook-not-found", "There is no such webhook.")
    }

    /// Returns a 503: the request had no effect and may be repeated.
    pub(crate) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        let seconds = RETRY_AFTER_DEFAULT.as_secs();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Returns the 503 of a process that shuts down.
    pub(crate) fn shutting_down() -> Self {
        Self::unavailable("shutting-down", "The server is shutting down. Try again.")
    }

    /// Writes what the store says to the log only, because it may contain hosts and paths.
    pub(crate) fn log_store(error: &StoreError) {
        tracing::error!(
            error = %chain(error),
            error.kind = ?error.kind(),
            "the store did not answer a request"
        );
    }

    /// Returns the 503 for a failure of the store to read, or to write what may be written twice.
    pub(crate) fn store(error: &StoreError) -> Self {
        Self::log_store(error);
        match error.kind() {
            StoreErrorKind::Unavailable => {
                Self::unavailable("store-unavailable", "The store does not answer. Try again.")
            }
            _ => Self::unavailable("store-error", "The store cannot serve this request at the moment."),
        }
    }

    /// Returns the 503 of a new order of which the store did not say whether it took it.
    pub(crate) fn outcome_unknown(order: &Order) -> Self {
        let detail = "The order may have been accepted. Ask for it by its id, or repeat the request with this \
                      Idempotency-Key: without it, a second order could be placed.";
        let key = order.request.client_order_id.as_ref().map(ToString::to_string);
        let concerned = OrderConcerned { order_id: order.id, idempotency_key: key };
        Self { order: Some(Box::new(concerned)), ..Self::unavailable("outcome-unknown", detail) }
    }

    /// Returns the 422 of an order that cannot be executed as the market is, for a reason with a code of its own.
    pub(crate) fn unacceptable(field: &str, code: &'static str, message: String) -> Self {
        let error = FieldError { field: field.to_owned(), code, message };
        let problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The order cannot be executed as it is.");
        Self { errors: vec![error], ..problem }
    }

    /// Returns the 422 of an order that would move the price by more than it may: by so much, if that is known.
    pub(crate) fn price_impact(bps: Option<u32>, message: String) -> Self {
        let message = bps.map_or(message, |bps| format!("The price impact would be {bps} basis points."));
        let problem = Self::unacceptable("maxPriceImpactBps", "price-impact-too-high", message);
        Self { price_impact_bps: bps, ..problem }
    }

    /// Returns the 409 of a key that the same user gave another order.
    pub(crate) fn idempotency_conflict(other: &Order) -> Self {
        let detail = "The client order id was already used for a different order.";
        let concerned = OrderConcerned { order_id: other.id, idempotency_key: None };
        let problem = Self::new(StatusCode::CONFLICT, "idempotency-conflict", detail);
        Self { order: Some(Box::new(concerned)), ..problem }
    }

    /// Returns the 426 of a path that is a WebSocket only.
    pub(crate) fn upgrade_required() -> Self {
        let detail = "This path is a WebSocket. Connect with an Upgrade: websocket header.";
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail)
            .with_header(UPGRADE, HeaderValue::from_static("websocket"))
    }

    pub(crate) fn with_errors(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// Says in how many seconds the client may try again.
    pub(crate) fn with_retry_after(self, seconds: u64) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> (u16, &'static str, &[FieldError]) {
        (self.status.as_u16(), self.code, &self.errors)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::store(&error)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = Document {
            r#type: catalogue::type_of(self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            errors: &self.errors,
            order_id: self.order.as_ref().map(|order| order.order_id),
            idempotency_key: self.order.as_ref().and_then(|order| order.idempotency_key.as_deref()),
            price_impact_bps: self.price_impact_bps,
        };
        document.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let content_type = [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, content_type, body).into_response();
        if let Some(header) = self.header {
            let (name, value) = *header;
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_little_of_what_it_refuses() {
        let error = FieldError { field: "é".repeat(5_000), code: "unknown", message: String::new() };
        let problem = Problem::invalid(vec![error; 1_000]);
        let (_, _, errors) = problem.parts();
        assert_eq!((errors.len(), errors[0].field.chars().count()), (ERRORS_MAX, FIELD_MAX_CHARS + 1));
    }

    #[test]
    fn an_unavailable_store_is_answered_with_retry_after() {
        let response = Problem::from(StoreError::new(StoreErrorKind::Unavailable, "busy")).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
