//! Which web pages may use the server. Other programs send no `Origin` header and are not restricted.

use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION, ORIGIN, RETRY_AFTER, UPGRADE,
    WWW_AUTHENTICATE,
};
use axum::http::{Method, Request, StatusCode};
use order_engine_core::telemetry::trace::TRACEPARENT;
use tower_http::cors::{AllowOrigin, Cors};

use crate::address::requested_host;
use crate::limits::proxies::Arrival;
use crate::observe::request::REQUEST_ID;
use crate::wire::problem::Problem;

/// The web pages that may use the server in addition to its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigins(Allowed);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Any,
    Only(Vec<HeaderValue>),
}

/// The error for a text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin: it must be a scheme and a host, such as https://example.org")]
pub struct InvalidOrigin(String);

impl Default for AllowedOrigins {
    /// Returns an empty list: only the server's own page may use it.
    fn default() -> Self {
        Self(Allowed::Only(Vec::new()))
    }
}

impl AllowedOrigins {
    /// Reads a list of origins. `*` in the list allows every origin; an empty text is none.
    ///
    /// # Errors
    /// If one of them is no origin.
    pub fn parse(origins: &[String]) -> Result<Self, InvalidOrigin> {
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self(Allowed::Any));
        }
        let parse = |origin: &String| {
            let host = origin.split_once("://").map(|(_, host)| host);
            let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
            origin.parse().ok().filter(|_| is_origin).ok_or_else(|| InvalidOrigin(origin.clone()))
        };
        let origins = origins.iter().filter(|origin| !origin.is_empty());
        origins.map(parse).collect::<Result<_, _>>().map(Allowed::Only).map(Self)
    }

    fn allow(&self, origin: &HeaderValue) -> bool {
        match &self.0 {
            Allowed::Any => true,
            Allowed::Only(origins) => origins.contains(origin),
        }
    }

    /// Returns a service that adds the headers by which browsers let pages read the answers.
    pub(crate) fn cors<S>(&self, service: S) -> Cors<S> {
        let origins = match &self.0 {
            Allowed::Any => AllowOrigin::any(),
            Allowed::Only(origins) => AllowOrigin::list(origins.iter().cloned()),
        };
        Cors::new(service)
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                HeaderName::from_static(TRACEPARENT),
            ])
            .expose_headers([
                LOCATION,
                RETRY_AFTER,
                ETAG,
                WWW_AUTHENTICATE,
                HeaderName::from_static("ratelimit"),
                HeaderName::from_static("ratelimit-policy"),
                REQUEST_ID,
            ])
    }
}

/// Refuses writes and WebSockets of pages that are not allowed. Browsers do not apply their same-origin
/// policy to WebSockets.
pub(crate) fn check<B>(allowed: &AllowedOrigins, request: &Request<B>) -> Result<(), Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    let is_guarded = !request.method().is_safe() || headers.contains_key(UPGRADE);
    if is_guarded && let Some(origin) = headers.get(ORIGIN) {
        let forwarded = request.extensions().get::<Arrival>().and_then(|arrival| arrival.host.clone());
        let own = forwarded.or_else(|| requested_host(uri, headers));
        let own = own.map(|host| host.as_str().to_ascii_lowercase());
        let is_own = host_of(origin).is_some_and(|host| own.as_deref() == Some(host));
        if !is_own && !allowed.allow(origin) {
            let detail = "Web pages of this origin may not use this server.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "origin-not-allowed", detail));
        }
    }
    Ok(())
}

/// Returns the host, and the port if any, of an origin. The scheme is not compared, because a proxy in front
/// of the server may add TLS.
fn host_of(origin: &HeaderValue) -> Option<&str> {
    origin.to_str().ok()?.split_once("://").map(|(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_origins_are_checked() {
        let parse = |origins: &[&str]| {
            AllowedOrigins::parse(&origins.iter().map(|&o| o.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(parse(&["https://a", "*"]), Ok(AllowedOrigins(Allowed::Any)));
        let only = parse(&["https://a", "http://b:1"]).unwrap();
        assert!(only.allow(&HeaderValue::from_static("http://b:1")));
        assert!(!only.allow(&HeaderValue::from_static("http://b")));
        assert!(!only.allow(&HeaderValue::from_static("null")));
        assert_eq!(parse(&["https://a/"]), Err(InvalidOrigin("https://a/".to_owned())));
        assert_eq!(parse(&["a.example"]), Err(InvalidOrigin("a.example".to_owned())));
    }
}
