//! What is noted of a request and its answer: a count, a time, and a line of the log.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::http::{Method, Request};
use axum::response::Response;

use crate::observe::series::{OneMore, Series};

/// A request that is being answered. The path is without its query, which may have a ticket.
#[must_use = "the answer is noted"]
pub(crate) struct Answering {
    method: Method,
    /// Where it is to be logged.
    path: Option<String>,
    is_access_logged: bool,
    began_at: Instant,
    _in_flight: OneMore,
}

impl Answering {
    pub(crate) fn begin<B>(request: &Request<B>, is_access_logged: bool) -> Self {
        let is_logged = is_access_logged || tracing::enabled!(tracing::Level::DEBUG);
        Self {
            method: request.method().clone(),
            path: is_logged.then(|| request.uri().path().to_owned()),
            is_access_logged,
            began_at: Instant::now(),
            _in_flight: OneMore::request(),
        }
    }

    /// Notes the answer: the head, if it is that of a live stream.
    pub(crate) fn end(self, response: &Response, client: IpAddr, series: &Series) {
        let took = self.began_at.elapsed();
        let route = response.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let status = response.status();
        series.answered(route, &self.method, status, took);
        let Some(path) = self.path else { return };
        let (status, duration_ms) = (status.as_u16(), took.as_secs_f64() * 1_000.0);
        // The span of the request has its id, its method and its route.
        if self.is_access_logged {
            tracing::info!(
                target: "order_engine::access",
                { client.address = %client,
                http.request.path = path,
                http.response.status = status,
                http.duration_ms = duration_ms },
                "answered"
            );
        } else {
            tracing::debug!(
                http.request.path = path,
                http.response.status = status,
                http.duration_ms = duration_ms,
                "answered"
            );
        }
    }
}
