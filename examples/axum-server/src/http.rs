//! The routes, and what lies around all of them.

mod body;
mod cancel;
mod create;
mod follow;
mod health;
mod list;
mod metrics;
mod orders;
pub(crate) mod origin;
mod page;
mod params;
mod quote;
mod sse;
mod websocket;

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use crate::app::AppState;
use crate::config::Role;
use crate::wire::problem::Problem;

/// All routes of the server, as its role has them.
pub(crate) fn router(app: AppState) -> Router {
    let routes = if app.options.role == Role::Worker { operations() } else { operations().merge(service()) };
    routes
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such path.") })
        .method_not_allowed_fallback(|| async {
            let detail = "The path exists, but not for this method.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .layer(from_fn_with_state(app.clone(), origin::check))
        .layer(app.options.allowed_origins.cors())
        .layer(from_fn(harden))
        .layer(from_fn(log))
        .with_state(app)
}

/// What operators ask every process.
fn operations() -> Router<AppState> {
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
}

/// What clients ask.
fn service() -> Router<AppState> {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/api/orders", get(list::list))
        .route("/api/orders/execute", post(create::create).get(follow::by_query))
        .route("/api/orders/status/{orderId}", get(orders::status))
        .route("/api/orders/{orderId}/events", get(orders::events))
        .route("/api/orders/{orderId}/cancel", post(cancel::cancel))
        .route("/api/quote", post(quote::quote))
        .route("/api/tokens", get(quote::tokens))
        .route("/ws/orders/{orderId}", get(follow::by_path))
}

/// Sets what every answer carries unless its handler knows better.
async fn harden(request: Request, next: Next) -> Response {
    const DEFAULTS: [(HeaderName, &str); 4] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began_at = Instant::now();
    let response = next.run(request).await;
    tracing::debug!(
        http.method = %method,
        http.path = path,
        http.status = response.status().as_u16(),
        http.duration_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}
