//! What the acts on one order share.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use order_engine_core::telemetry::chain;
use order_engine_core::{ChangeError, Order, OrderId, StoreError, StoreErrorKind};

use crate::app::AppState;
use crate::store_watch::Part;
use crate::wire::problem::Problem;
use crate::wire::status::StatusBody;

/// Returns an order of whichever user.
pub(super) async fn load(app: &AppState, id: OrderId) -> Result<Order, Problem> {
    let read = async {
        match app.engine.order(id).await {
            Err(error) if is_unreadable(&error) => Ok(Err(unreadable(&error))),
            read => read.map(Ok),
        }
    };
    let found = app.store_watch.in_time(Part::Reads, read).await?;
    found?.ok_or_else(Problem::order_not_found)
}

/// Returns whether the store answers, and the order itself is what cannot be read.
pub(super) fn is_unreadable(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Incompatible | StoreErrorKind::Internal)
}

fn unreadable(error: &StoreError) -> Problem {
    Problem::log_store(error);
    let detail = "The stored order cannot be read; the server's log says why. If a newer server wrote it, update this one, \
                  and make the order due.";
    Problem::new(StatusCode::CONFLICT, "order-unreadable", detail)
}

/// Returns what a change came to, which may be repeated if the store does not say.
pub(super) async fn change<T: Send>(
    app: &AppState,
    change: impl Future<Output = Result<Option<T>, ChangeError>> + Send,
) -> Result<T, Problem> {
    let change = async {
        match change.await {
            Err(ChangeError::Store(error)) if !is_unreadable(&error) => Err(error),
            result => Ok(result),
        }
    };
    let changed = app.store_watch.in_time(Part::Writes, change).await?;
    changed.map_err(|error| refusal(&error))?.ok_or_else(Problem::order_not_found)
}

fn refusal(error: &ChangeError) -> Problem {
    match error {
        ChangeError::ShuttingDown => Problem::shutting_down(),
        ChangeError::Store(error) if is_unreadable(error) => unreadable(error),
        ChangeError::Store(error) => Problem::store(error),
        error => {
            tracing::error!(error = %chain(error), "an operator's change could not be stored");
            Problem::unavailable("store-error", "The store cannot serve this request at the moment.")
        }
    }
}

/// Returns the answer with an order as it is after an act.
pub(super) fn shown(order: &Order) -> Response {
    Json(StatusBody::listed(order)).into_response()
}

/// Returns the 409 of an act that does not fit what the order is.
pub(super) fn conflict(code: &'static str, detail: &str, order: &Arc<Order>) -> Problem {
    let detail = format!("{detail} It is {}.", order.status());
    Problem::new(StatusCode::CONFLICT, code, detail)
}
