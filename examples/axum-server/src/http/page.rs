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

/// A file of the page: its name, which says what it is, and its text.
type File = (&'static str, &'static str);

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../page/", $name)))),+]
    };
}

/// The files that pages load.
const ASSETS: [File; 32] = files![
    "app.css",
    "attention.js",
    "candidates.js",
    "chart.js",
    "combobox.js",
    "confirm.js",
    "deliveries.js",
    "dom.js",
    "failures.js",
    "feed.js",
    "fields.js",
    "flow.js",
    "form.js",
    "format.js",
    "icon.svg",
    "metrics.js",
    "operate.css",
    "operate.js",
    "order.js",
    "orders.js",
    "overview.js",
    "pauses.js",
    "quote.js",
    "reasons.js",
    "reference.css",
    "reference.js",
    "session.js",
    "socket.js",
    "timeline.js",
    "tokens.js",
    "trade.css",
    "trade.js",
];

/// `GET /`: the page of those who trade.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    document(&headers, include_str!("../page/index.html"))
}

/// `GET /operate`: the page of operators. What it shows needs their scope; the page itself tells nothing.
pub(crate) async fn operate(headers: HeaderMap) -> Response {
    document(&headers, include_str!("../page/operate.html"))
}

/// `GET /docs`: the reference of the interface.
pub(crate) async fn reference(headers: HeaderMap) -> Response {
    document(&headers, include_str!("../page/reference.html"))
}

fn document(headers: &HeaderMap, text: &'static str) -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], file(headers, "text/html; charset=utf-8", text)).into_response()
}

/// `GET /assets/{name}`.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(known, _)| *known == name);
    let (name, text) =
        found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such asset."))?;
    Ok(file(&headers, content_type(name), text))
}

/// Returns what kind a file is, by its name.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
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
    use std::collections::BTreeSet;

    use axum::http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|kind| kind != "html"));
        let there: BTreeSet<_> =
            files.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(there, ASSETS.iter().map(|(name, _)| (*name).to_owned()).collect());
        assert!(ASSETS.iter().all(|(name, _)| !content_type(name).starts_with("text/plain")));
    }

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
