//! `POST /api/orders/{orderId}/cancel`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use order_engine_core::telemetry::chain;
use order_engine_core::{Cancellation, ChangeError, Order, OrderId, Status};
use serde::Serialize;
use tracing::Instrument as _;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::http::params::OrderInPath;
use crate::store_watch::Part;
use crate::wire::problem::Problem;
use crate::wire::schema;

/// The result of a cancel.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Cancellation)]
pub(crate) struct CancelBody {
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
    /// `cancelled`, or `pending` while the transaction may still land.
    cancel: &'static str,
    #[schema(schema_with = schema::status)]
    status: Status,
    last_seq: u64,
}

impl CancelBody {
    fn new(cancel: &'static str, order: &Order) -> Self {
        Self { order_id: order.id, cancel, status: order.status(), last_seq: order.seq }
    }
}

/// Cancel an order.
#[utoipa::path(
    post,
    path = "/api/orders/{orderId}/cancel",
    operation_id = "cancelOrder",
    tag = "Orders",
    params(("orderId" = String, Path, format = Uuid, description = "The order.")),
    responses(
        (status = 200, description = "The order is cancelled.", body = CancelBody),
        (status = 202, description = "The order is being cancelled; its transaction may still land.", body = CancelBody),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<AppState>,
    OrderInPath(id): OrderInPath,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(Problem::order_not_found)?;
    let (status, body) = cancel_order(&app, id).await?;
    Ok((status, Json(body)).into_response())
}

/// Cancels an order, which the caller must be known to own.
pub(crate) async fn cancel_order(app: &AppState, id: OrderId) -> Result<(StatusCode, CancelBody), Problem> {
    try_cancel(app, id).instrument(tracing::info_span!("order", order.id = %id)).await
}

async fn try_cancel(app: &AppState, id: OrderId) -> Result<(StatusCode, CancelBody), Problem> {
    let cancel = async {
        match app.engine.cancel(id).await {
            Err(ChangeError::Store(error)) => Err(error),
            result => Ok(result),
        }
    };
    // A cancel that is given up may still be stored, and may be repeated.
    let cancellation =
        app.store_watch.in_time(Part::Writes, cancel).await?.map_err(|error| refusal(&error))?;
    match cancellation.ok_or_else(Problem::order_not_found)? {
        Cancellation::Cancelled(order) => Ok((StatusCode::OK, CancelBody::new("cancelled", &order))),
        Cancellation::Pending(order) => Ok((StatusCode::ACCEPTED, CancelBody::new("pending", &order))),
        Cancellation::TooLate(order) => {
            let detail = format!("The order is {} already.", order.status());
            Err(Problem::new(StatusCode::CONFLICT, "too-late", detail))
        }
    }
}

fn refusal(error: &ChangeError) -> Problem {
    match error {
        ChangeError::ShuttingDown => Problem::shutting_down(),
        error => {
            tracing::error!(error = %chain(error), "a cancel could not be stored");
            Problem::unavailable("store-error", "The store cannot serve this request at the moment.")
        }
    }
}
