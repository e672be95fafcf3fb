//! `POST /api/orders/{orderId}/cancel`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use order_engine_core::telemetry::chain;
use order_engine_core::{Cancellation, ChangeError, Order, OrderId, Status};
use serde::Serialize;

use crate::app::AppState;
use crate::http::params::OrderInPath;
use crate::store_watch::Part;
use crate::wire::problem::Problem;

/// The result of a cancel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelBody {
    order_id: OrderId,
    cancel: &'static str,
    status: Status,
    last_seq: u64,
}

pub(crate) async fn cancel(
    State(app): State<AppState>,
    OrderInPath(id): OrderInPath,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(Problem::order_not_found)?;
    let cancel = async {
        match app.engine.cancel(id).await {
            Err(ChangeError::Store(error)) => Err(error),
            result => Ok(result),
        }
    };
    // A cancel that is given up may still be stored, and may be repeated.
    let cancellation =
        app.store_watch.in_time(Part::Writes, cancel).await?.map_err(|error| refusal(&error))?;
    let cancellation = cancellation.ok_or_else(Problem::order_not_found)?;
    match cancellation {
        Cancellation::Cancelled(order) => Ok(answer(StatusCode::OK, "cancelled", &order)),
        Cancellation::Pending(order) => Ok(answer(StatusCode::ACCEPTED, "pending", &order)),
        Cancellation::TooLate(order) => {
            let detail = format!("The order is {} already.", order.status());
            Err(Problem::new(StatusCode::CONFLICT, "too-late", detail))
        }
    }
}

fn answer(status: StatusCode, cancel: &'static str, order: &Order) -> Response {
    let body = CancelBody { order_id: order.id, cancel, status: order.status(), last_seq: order.seq };
    (status, Json(body)).into_response()
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
