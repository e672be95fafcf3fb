//! The opening handshake of a WebSocket (RFC 6455, section 4.2).

use axum::extract::FromRequestParts;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::transport::handover::Handover;
use crate::wire::problem::Problem;

/// The only version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");
/// The length of a key: 16 bytes as base64.
const KEY_LEN: usize = 24;

/// The upgrade of a request to a WebSocket, if the request asks for one.
#[derive(Debug)]
pub(crate) enum Upgrade {
    /// The request is plain HTTP.
    Unwanted,
    /// The request asks for a WebSocket in a way that this server does not know.
    Refused(Refusal),
    /// The connection may become a WebSocket.
    Offered(Handshake),
}

/// Why a request cannot become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is plain HTTP.
    Unwanted,
    /// It is of another version of the protocol.
    Version,
    /// Something is missing.
    Malformed(&'static str),
}

/// A handshake that only lacks its answer.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) handover: Handover,
    accept: HeaderValue,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        if !has_token(&parts.headers, UPGRADE, "websocket") {
            return Ok(Self::Unwanted);
        }
        let handover = parts.extensions.get::<Handover>().cloned();
        let offer = accept(parts.version, &parts.headers).and_then(|accept| {
            let handover = handover.ok_or(Refusal::Malformed("The connection cannot be upgraded."))?;
            Ok(Handshake { handover, accept })
        });
        Ok(offer.map_or_else(Self::Refused, Self::Offered))
    }
}

impl Upgrade {
    pub(crate) const fn is_wanted(&self) -> bool {
        !matches!(self, Self::Unwanted)
    }

    /// Returns the handshake, or why there is none.
    pub(crate) fn handshake(self) -> Result<Handshake, Refusal> {
        match self {
            Self::Offered(handshake) => Ok(handshake),
            Self::Unwanted => Err(Refusal::Unwanted),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unwanted => Problem::upgrade_required().into_response(),
            Self::Malformed(detail) => {
                Problem::new(StatusCode::BAD_REQUEST, "bad-upgrade", detail).into_response()
            }
            Self::Version => {
                let detail = "This server knows version 13 of the WebSocket protocol only.";
                let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "bad-upgrade", detail);
                let headers =
                    [(SEC_WEBSOCKET_VERSION, VERSION), (UPGRADE, HeaderValue::from_static("websocket"))];
                (headers, problem).into_response()
            }
        }
    }
}

impl Handshake {
    /// Returns the answer with which HTTP ends.
    pub(crate) fn switch(self) -> Response {
        let headers = [
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_ACCEPT, self.accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// Checks a handshake, and returns what proves that it was understood.
fn accept(version: Version, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    if version < Version::HTTP_11 {
        return Err(Refusal::Malformed("A WebSocket needs HTTP/1.1."));
    }
    if !has_token(headers, CONNECTION, "upgrade") {
        return Err(Refusal::Malformed("The header Connection must have Upgrade."));
    }
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Refusal::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| key.len() == KEY_LEN && key.ends_with(b"=="));
    let key = key.ok_or(Refusal::Malformed("The header Sec-WebSocket-Key must have 16 bytes in base64."))?;
    derive_accept_key(key).parse().map_err(|_| Refusal::Malformed("The key has no answer."))
}

/// Returns whether a header, which is a list, has a token.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_checked() {
        let accepted = |changes: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
            // The example of RFC 6455.
            headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
            for (name, value) in changes {
                headers.insert(name, HeaderValue::from_static(value));
            }
            accept(Version::HTTP_11, &headers)
        };
        assert_eq!(accepted(&[]).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accepted(&[(SEC_WEBSOCKET_VERSION, "8")]), Err(Refusal::Version));
        for change in [(CONNECTION, "close"), (SEC_WEBSOCKET_KEY, "dGhl"), (SEC_WEBSOCKET_KEY, "")] {
            assert!(matches!(accepted(&[change]), Err(Refusal::Malformed(_))));
        }
        assert!(matches!(accept(Version::HTTP_10, &HeaderMap::new()), Err(Refusal::Malformed(_))));
    }
}
