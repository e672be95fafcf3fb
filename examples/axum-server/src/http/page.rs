//! The page and its assets, built into the program.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::http::etag::is_known;
use crate::wire::problem::Problem;

/// The page may load only what this server serves, and may have no inline script or style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    let page = file(&headers, "text/html; charset=utf-8", include_str!("../page/index.html"));
    ([(CONTENT_SECURITY_POLICY, POLICY)], page).into_response()
}

/// `GET /docs`: the reference of the interface.
pub(crate) async fn reference(headers: HeaderMap) -> Response {
    let page = file(&headers, "text/html; charset=utf-8", include_str!("../page/reference.html"));
    ([(CONTENT_SECURITY_POLICY, POLICY)], page).into_response()
}

/// `GET /assets/{name}`.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let (content_type, text) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", include_str!("../page/app.css")),
        "app.js" => ("text/javascript; charset=utf-8", include_str!("../page/app.js")),
        "reference.css" => ("text/css; charset=utf-8", include_str!("../page/reference.css")),
        "reference.js" => ("text/javascript; charset=utf-8", include_str!("../page/reference.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../page/icon.svg")),
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such asset.")),
    };
    Ok(file(&headers, content_type, text))
}

/// Answers with a file, unless the client has it already. Browsers ask each time, because another version of the program
/// has other files under the same names.
fn file(headers: &HeaderMap, content_type: &'static str, text: &'static str) -> Response {
    let tag = entity_tag(text);
    let is_known = is_known(headers, &tag);
    let caching = [(ETAG, tag), (CACHE_CONTROL, "no-cache".to_owned())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, content_type)], text).into_response()
}

/// Returns the tag of a content.
fn entity_tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use axum::http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_client_that_has_a_file_does_not_get_it_again() {
        let status = |known: &str| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, known.parse().unwrap())]);
            file(&headers, "text/plain", "content").status().as_u16()
        };
        let tag = entity_tag("content");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            assert_eq!(status(&known), 304, "{known}");
        }
        assert_eq!(status(&entity_tag("another content")), 200);
        let answer = file(&HeaderMap::new(), "text/plain", "content");
        assert_eq!((answer.status().as_u16(), answer.headers()[ETAG].to_str().unwrap()), (200, &*tag));
    }
}
