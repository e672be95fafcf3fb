//! Whether the process is alive, and whether it is ready to serve.

use axum::Json;
use axum::extract::State;
use order_engine_core::telemetry::chain;
use serde::Serialize;
use tokio::task::AbortHandle;

use crate::app::AppState;
use crate::wire::problem::{FieldError, Problem};

/// The answer of a process that is alive.
#[derive(Debug, Serialize)]
pub(crate) struct HealthBody {
    status: &'static str,
}

/// The answer of a process that is ready, with the state of each part.
#[derive(Debug, Serialize)]
pub(crate) struct ReadyBody {
    status: &'static str,
    store: &'static str,
    queue: &'static str,
    fanout: &'static str,
    streams: usize,
}

/// `GET /health`.
pub(crate) async fn health() -> Json<HealthBody> {
    Json(HealthBody { status: "ok" })
}

/// `GET /ready`: a 503 names the parts that are not ready.
pub(crate) async fn ready(State(app): State<AppState>) -> Result<Json<ReadyBody>, Problem> {
    let mut errors = Vec::new();
    let health = app.engine.health().await;
    if let Err(error) = &health.store {
        tracing::warn!(error = %chain(error), "the store is not ready");
        errors.push(down("store", "The store does not take writes."));
    }
    let has_ended = |worker: &AbortHandle| worker.is_finished() || health.is_stalled();
    if app.options.worker.as_ref().is_some_and(has_ended) {
        errors.push(down("queue", "No worker takes orders."));
    }
    if app.sockets.is_shutting_down() {
        errors.push(down("fanout", "Live streams are being closed."));
    } else if !health.sources_connected {
        errors.push(down("fanout", "Events of other processes arrive late."));
    }
    if errors.is_empty() {
        let streams = app.sockets.total();
        Ok(Json(ReadyBody { status: "ready", store: "ok", queue: "ok", fanout: "ok", streams }))
    } else {
        Err(Problem::unavailable("not-ready", "The server cannot do its work at the moment.")
            .with_errors(errors))
    }
}

fn down(part: &str, message: &str) -> FieldError {
    FieldError { field: part.to_owned(), code: "unavailable", message: message.to_owned() }
}
