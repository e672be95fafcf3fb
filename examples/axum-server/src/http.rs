//! The routes, and what every request passes through before and after them.

mod batch;
mod body;
mod cancel;
mod catalogue;
mod clock;
mod create;
mod dry_run;
mod etag;
mod follow;
mod gated;
mod guard;
mod health;
pub(crate) mod hosts;
mod list;
mod metrics;
mod openapi;
pub(crate) mod operator;
mod orders;
pub(crate) mod origin;
mod page;
mod pairs;
mod params;
mod quote;
pub(crate) mod routes;
mod sse;
mod stream;
mod tickets;
mod upgrade;
mod webhooks;
mod websocket;

use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use futures_util::future::{Either, Ready, ready};
use hyper::body::Incoming;
use tower_http::cors::Cors;
use tower_service::Service;

use crate::app::{AppState, Options};
use crate::http::routes::{OPERATIONS, router};
use crate::wire::problem::Problem;

/// All routes, with what is done for each request: the checks of its host and of its origin, CORS, the default headers
/// and the log.
///
/// None of this is a layer of the router, because each layer clones and boxes the inner ones for each
/// request.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    service: Cors<Guarded>,
    /// Who connects; the server itself, before anybody does.
    peer: IpAddr,
}

/// The routes, behind the check of the request's origin.
#[derive(Clone, Debug)]
struct Guarded {
    app: AppState,
    router: Router,
}

impl Site {
    pub(crate) fn new(app: &AppState) -> Self {
        let guarded = Guarded { router: router(app.clone()), app: app.clone() };
        Self { service: app.options.allowed_origins.cors(guarded), peer: app.local_addr.ip() }
    }

    /// Returns the site for the requests of a connection.
    pub(crate) fn of(&self, peer: IpAddr) -> Self {
        Self { service: self.service.clone(), peer }
    }

    /// Answers a request that came over a connection of the reserve: only whether the server lives, and how.
    pub(crate) async fn answer_in_reserve(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        if OPERATIONS.contains(&request.uri().path()) {
            return self.answer(request).await;
        }
        let detail =
            "The server has as many connections as it may have, in all or from this address. Try again.";
        let mut response = Problem::unavailable("too-many-connections", detail).into_response();
        harden(&mut response);
        Ok(response)
    }

    /// Answers a request.
    pub(crate) async fn answer(mut self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let log = Log::of(&request);
        let app = &self.service.get_ref().app;
        let Options { allowed_hosts, public_url, limits, .. } = &*app.options;
        let kind = limits.forwarded_header.unwrap_or_default();
        let arrival = app.trusted_proxies().arrival(self.peer, request.headers(), kind);
        let checked = allowed_hosts.check(public_url.as_ref(), app.local_addr, &arrival, &request);
        request.extensions_mut().insert(arrival);
        let mut response = match checked {
            Ok(()) => self.service.call(request).await?,
            Err(problem) => problem.into_response(),
        };
        harden(&mut response);
        log.write(&response);
        Ok(response)
    }
}

impl Service<Request<Incoming>> for Guarded {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match origin::check(&self.app.options.allowed_origins, &request) {
            Ok(()) => Either::Right(self.router.call(request)),
            Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
        }
    }
}

/// Returns the answer to a request whose head could not be read.
pub(crate) fn refused_head(status: StatusCode) -> Response {
    let (code, detail) = match status {
        StatusCode::REQUEST_TIMEOUT => ("request-timeout", "The head of the request did not arrive in time."),
        StatusCode::URI_TOO_LONG => ("uri-too-long", "The path and the query are too long."),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            ("headers-too-large", "The head of the request is too large, or has too many headers.")
        }
        _ => ("malformed-request", "The head of the request is not well-formed HTTP/1.1."),
    };
    let mut response = Problem::new(status, code, detail).into_response();
    harden(&mut response);
    response
}

/// Sets the headers that every answer has, unless its handler has set them.
fn harden(response: &mut Response) {
    const DEFAULTS: [(HeaderName, HeaderValue); 7] = [
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        // It bounds only requests without CORS, so allowed origins read the answers all the same.
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ),
    ];
    let headers = response.headers_mut();
    headers.reserve(DEFAULTS.len());
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
}

/// The log line of a request, or nothing if the level is off.
#[must_use = "the line is written with the answer"]
struct Log(Option<(Method, String, Instant)>);

impl Log {
    fn of<B>(request: &Request<B>) -> Self {
        let is_wanted = tracing::enabled!(tracing::Level::DEBUG);
        Self(is_wanted.then(|| (request.method().clone(), request.uri().path().to_owned(), Instant::now())))
    }

    fn write(self, response: &Response) {
        let Some((method, path, began_at)) = self.0 else { return };
        tracing::debug!(
            http.method = %method,
            http.path = path,
            http.status = response.status().as_u16(),
            http.duration_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
    }
}
