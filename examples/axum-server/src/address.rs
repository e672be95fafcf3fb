//! The addresses that the server sends to clients.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::{Authority, Uri};
use order_engine_core::OrderId;

use crate::limits::proxies::Arrival;

/// The URL under which clients reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    is_secure: bool,
    /// The host, the port if any, and the path without a slash at its end.
    rest: String,
    /// The host as hosts are compared, which each request is.
    host: String,
}

/// The error for a text that is no public URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an absolute http:// or https:// URL without a query")]
pub struct InvalidPublicUrl;

impl PublicUrl {
    /// Returns the host as hosts are compared.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidPublicUrl)?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(InvalidPublicUrl),
        };
        let authority = uri.authority().filter(|_| uri.query().is_none()).ok_or(InvalidPublicUrl)?;
        let rest = format!("{authority}{}", uri.path().trim_end_matches('/'));
        Ok(Self { is_secure, rest, host: host_name(authority) })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.rest)
    }
}

/// Returns the absolute URL of an order's live stream: under the public URL if there is one, or else under
/// the host of the request, as a trusted proxy passes it on or as it came.
pub(crate) fn ws_url(
    public_url: Option<&PublicUrl>,
    request: &Parts,
    local_addr: SocketAddr,
    id: OrderId,
) -> String {
    match public_url {
        Some(PublicUrl { is_secure: true, rest, .. }) => format!("wss://{rest}/ws/orders/{id}"),
        Some(PublicUrl { is_secure: false, rest, .. }) => format!("ws://{rest}/ws/orders/{id}"),
        None => {
            let arrival = request.extensions.get::<Arrival>();
            let scheme = if arrival.is_some_and(|arrival| arrival.is_secure) { "wss" } else { "ws" };
            let forwarded = arrival.and_then(|arrival| arrival.host.clone());
            match forwarded.or_else(|| requested_host(&request.uri, &request.headers)) {
                Some(host) => format!("{scheme}://{host}/ws/orders/{id}"),
                None => format!("{scheme}://{local_addr}/ws/orders/{id}"),
            }
        }
    }
}

/// Returns the host, and the port if any, of a request.
pub(crate) fn requested_host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let host = headers.get(HOST)?;
    host.to_str().ok()?.parse().ok()
}

/// Returns the host as it is compared: small letters, no port, no brackets, and no dot at its end.
pub(crate) fn host_name(authority: &Authority) -> String {
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use chrono::DateTime;

    fn url(public_url: Option<&str>, host: Option<&str>) -> String {
        let public_url = public_url.map(|url| url.parse().unwrap());
        let mut request = Request::builder().uri("/api/orders/execute");
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let id = OrderId::new(DateTime::UNIX_EPOCH, 0);
        let url = ws_url(public_url.as_ref(), &parts, ([127, 0, 0, 1], 3000).into(), id);
        url.strip_suffix(&format!("/ws/orders/{id}")).unwrap().to_owned()
    }

    #[test]
    fn a_live_stream_is_under_the_host_of_the_request_or_the_public_url() {
        assert_eq!(url(None, Some("example.org:8080")), "ws://example.org:8080");
        assert_eq!(url(None, Some("[::1]:3000")), "ws://[::1]:3000");
        assert_eq!(url(None, None), "ws://127.0.0.1:3000");
        assert_eq!(url(None, Some("a b")), "ws://127.0.0.1:3000");
        assert_eq!(url(Some("https://dex.example.org/"), Some("10.0.0.1")), "wss://dex.example.org");
        assert_eq!(url(Some("http://example.org/engine"), None), "ws://example.org/engine");
    }

    #[test]
    fn public_urls_are_absolute() {
        for text in ["example.org", "ftp://example.org", "https://", "https://a/?b=c", ""] {
            assert_eq!(text.parse::<PublicUrl>(), Err(InvalidPublicUrl), "{text}");
        }
    }
}
