//! The page and its assets, built into the program.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::wire::problem::Problem;

/// The page may load only what this server serves, and may have no inline script or style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`.
pub(crate) async fn index() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, include_str!("../page/index.html")).into_response()
}

/// `GET /assets/{name}`.
pub(crate) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let (content_type, text) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", include_str!("../page/app.css")),
        "app.js" => ("text/javascript; charset=utf-8", include_str!("../page/app.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../page/icon.svg")),
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such asset.")),
    };
    Ok(([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")], text).into_response())
}
