//! The metrics of the process.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::app::AppState;
use crate::wire::problem::Problem;

/// The content type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of the process, in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "Operations",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics(State(app): State<AppState>) -> Result<impl IntoResponse, Problem> {
    let Some(metrics) = &app.options.metrics else {
        return Err(Problem::unavailable("no-metrics", "This server has no metrics."));
    };
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], metrics.render(app.sockets.total())))
}
