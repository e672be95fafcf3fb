//! The routes, and what every request passes through before and after them.

mod asked;
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
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use futures_util::future::{Either, Ready, ready};
use hyper::body::Incoming;
use tower_http::cors::Cors;
use tower_service::Service;
use tracing::Instrument as _;

use crate::app::{AppState, Options};
use crate::http::routes::{OPERATIONS, router, routes};
use crate::limits::proxies::{Arrival, Peer};
use crate::observe::answering::Answering;
use crate::observe::request::RequestTrace;
use crate::observe::series::Series;
use crate::wire::problem::Problem;

/// All routes, with what is done for each request: its id, the checks of its host and of its origin, CORS, the default headers,
/// what is counted, and the log.
///
/// None of this is a layer of the router, because each layer clones and boxes the inner ones for each
/// request.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    service: Cors<Guarded>,
    series: Arc<Series>,
    /// Who connects; the server itself, before anybody does.
    peer: Peer,
}

/// The routes, behind the check of the request's origin.
#[derive(Clone, Debug)]
struct Guarded {
    app: AppState,
    router: Router,
}

/// How a connection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Usual,
    /// All places are taken. It gets one answer, of those for operators only.
    Reserve,
}

impl Site {
    pub(crate) fn new(app: &AppState) -> Self {
        let guarded = Guarded { router: router(app.clone()), app: app.clone() };
        let names = routes(app.options.role).into_iter().map(|route| route.path.into_owned());
        Self {
            service: app.options.allowed_origins.cors(guarded),
            series: Arc::new(Series::new(names)),
            peer: Peer { address: app.local_addr.ip(), is_secure: false },
        }
    }

    /// Returns the site for the requests of a connection.
    pub(crate) fn of(&self, peer: Peer) -> Self {
        Self { peer, ..self.clone() }
    }

    /// Answers a request that came over a connection of this lane.
    pub(crate) async fn answer(
        mut self,
        mut request: Request<Incoming>,
        lane: Lane,
    ) -> Result<Response, Infallible> {
        let options = Arc::clone(&self.service.get_ref().app.options);
        let trace = RequestTrace::of(request.headers());
        let span = trace.context.sync_scope(|| trace.span(request.method()));
        let answering = Answering::begin(&request, options.access_log);
        let arrival = self.arrival(&request);
        let client = arrival.client;
        let series = Arc::clone(&self.series);
        let answered = async {
            match self.check(&arrival, &request, lane) {
                Ok(()) => {
                    request.extensions_mut().insert(arrival);
                    self.service.call(request).await
                }
                Err(problem) => Ok(problem.into_response()),
            }
        };
        let mut response = trace.context.scope(answered.instrument(span.clone())).await?;
        harden(&mut response);
        #[cfg(feature = "otel")]
        crate::otel::set_answer(&span, response.status());
        trace.tell(&mut response);
        span.in_scope(|| answering.end(&response, client, &series));
        Ok(response)
    }

    fn arrival(&self, request: &Request<Incoming>) -> Arrival {
        let app = &self.service.get_ref().app;
        let kind = app.options.limits.forwarded_header.unwrap_or_default();
        app.trusted_proxies().arrival(self.peer, request.headers(), kind)
    }

    /// Checks that a request may come over its connection, and under its name.
    fn check(&self, arrival: &Arrival, request: &Request<Incoming>, lane: Lane) -> Result<(), Problem> {
        if lane == Lane::Reserve && !OPERATIONS.contains(&request.uri().path()) {
            let detail =
                "The server has as many connections as it may have, in all or from this address. Try again.";
            return Err(Problem::unavailable("too-many-connections", detail));
        }
        let app = &self.service.get_ref().app;
        let Options { allowed_hosts, public_url, .. } = &*app.options;
        allowed_hosts.check(public_url.as_ref(), app.local_addr, arrival, request)
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
    unread(Problem::new(status, code, detail))
}

/// Returns the answer to a client that speaks HTTP where the server speaks TLS.
pub(crate) fn plain_refused() -> Response {
    let detail = "This server speaks HTTPS. Use https:// or wss://.";
    unread(Problem::new(StatusCode::BAD_REQUEST, "https-required", detail))
}

/// Returns the answer to a request that was not read.
fn unread(problem: Problem) -> Response {
    let mut response = problem.into_response();
    harden(&mut response);
    RequestTrace::fresh().tell(&mut response);
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
