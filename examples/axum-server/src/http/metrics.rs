//! The metrics of the process.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::app::AppState;
use crate::metrics::Levels;
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
    let no_metrics = || Problem::unavailable("no-metrics", "This server has no metrics.");
    let metrics = app.options.metrics.clone().ok_or_else(no_metrics)?;
    let levels = Levels {
        streams: app.sockets.total(),
        streams_max: app.options.max_sockets,
        connections_max: app.options.max_connections,
        store: app.options.store_pool.levels(),
    };
    // It reads files.
    let text = tokio::task::spawn_blocking(move || metrics.render(levels)).await.map_err(|_| no_metrics())?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}
