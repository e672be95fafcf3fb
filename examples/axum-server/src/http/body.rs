//! Reading request bodies, within bounds.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;

use crate::wire::fields::{Fields, InvalidBody};
use crate::wire::problem::Problem;

/// The largest body. An order is a few hundred bytes.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a client may take to send a body.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Reads the fields of a JSON object of at most so many bytes.
pub(crate) async fn read_fields(headers: &HeaderMap, body: Body, most: usize) -> Result<Fields, Problem> {
    if !is_json(headers) {
        let detail = "The body must be JSON, with Content-Type: application/json.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let bytes =
        tokio::time::timeout(BODY_TIME_MAX, read_bytes(headers, body, most)).await.unwrap_or_else(|_| {
            let detail = "The body did not arrive in time.";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail))
        })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    parse_fields(text)
}

/// Reads the fields of a JSON object from a text.
pub(crate) fn parse_fields(text: &str) -> Result<Fields, Problem> {
    Fields::parse(text).map_err(|error| match error {
        InvalidBody::Malformed => malformed(),
        InvalidBody::TooDeep => {
            Problem::new(StatusCode::BAD_REQUEST, "too-deep", "The body nests too many arrays and objects.")
        }
        InvalidBody::NotAnObject => {
            let detail = "The body must be a JSON object.";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail)
        }
    })
}

fn malformed() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "The body is not well-formed JSON.")
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

async fn read_bytes(headers: &HeaderMap, body: Body, most: usize) -> Result<Vec<u8>, Problem> {
    let announced: Option<u64> =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes| bytes > most as u64) {
        return Err(too_large(most));
    }
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        // The connection broke, so this answer reaches no client.
        let chunk = chunk.map_err(|_| malformed())?;
        if bytes.len() + chunk.len() > most {
            return Err(too_large(most));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn too_large(most: usize) -> Problem {
    let detail = format!("The body must not be larger than {most} bytes.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}
