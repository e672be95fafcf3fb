//! Tags of contents, by which a client says which one it has.

use axum::http::HeaderMap;
use axum::http::header::IF_NONE_MATCH;

/// Returns whether the client has the content of a tag. The comparison is the weak one, since proxies that compress make
/// tags weak.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
