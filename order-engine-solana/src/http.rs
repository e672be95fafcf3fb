//! Posts JSON to nodes and signers. No error shows a URL, which may have a key in it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::percent_decode_str;

/// The largest answer. A hundred accounts of ten megabytes, the largest that there are, would be more; pools are a thousandth.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// The error behind another one.
type Source = Box<dyn std::error::Error + Send + Sync>;

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Posts to one URL, and follows no redirection.
#[derive(Clone)]
pub(crate) struct Poster {
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Poster {
    /// Returns a client for a URL, whose user and password are sent as `Authorization: Basic`.
    ///
    /// # Errors
    /// If it is no URL of `http://`, or `https://` with the feature `tls`, or the machine has no certificates.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, Source> {
        let url: Uri = url.parse().map_err(|_| "it is no URL")?;
        let is_known = match url.scheme_str() {
            Some("http") => true,
            Some("https") => cfg!(feature = "tls"),
            _ => false,
        };
        if !is_known {
            return Err(if cfg!(feature = "tls") {
                "the URL must begin with http:// or https://".into()
            } else {
                "the URL must begin with http://, because https:// needs the feature tls".into()
            });
        }
        let (url, authorization) = without_user(url)?;
        let client = Client::builder(TokioExecutor::new()).build(connector()?);
        Ok(Self { client, url, authorization, timeout })
    }

    /// Sets what the header `Authorization` has.
    ///
    /// # Errors
    /// If it has characters that a header cannot have.
    pub(crate) fn with_authorization(mut self, text: &str) -> Result<Self, Source> {
        self.authorization = Some(secret(text)?);
        Ok(self)
    }

    /// Posts a JSON text.
    ///
    /// # Errors
    /// If there is no answer within the time.
    pub(crate) async fn post(&self, json: Vec<u8>) -> Result<Answer, Source> {
        let mut request = Request::post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(json.into()))?;
        let answered = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(self.timeout, answered).await.map_err(|_| "no answer in time")?
    }
}

#[cfg(feature = "tls")]
fn connector() -> Result<Connector, Source> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
    Ok(builder.https_or_http().enable_http1().build())
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature tls it may fail")]
fn connector() -> Result<Connector, Source> {
    Ok(HttpConnector::new())
}

/// Takes the user and the password out of a URL, as a header.
fn without_user(url: Uri) -> Result<(Uri, Option<HeaderValue>), Source> {
    let mut parts = url.into_parts();
    let Some((user, host)) =
        parts.authority.as_ref().and_then(|authority| authority.as_str().rsplit_once('@'))
    else {
        return Ok((Uri::from_parts(parts)?, None));
    };
    let user: Vec<u8> = percent_decode_str(user).collect();
    let user = if user.contains(&b':') { user } else { [&user[..], b":"].concat() };
    let header = secret(&format!("Basic {}", STANDARD.encode(user)))?;
    parts.authority = Some(host.parse()?);
    Ok((Uri::from_parts(parts)?, Some(header)))
}

fn secret(text: &str) -> Result<HeaderValue, Source> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(1);

    #[test]
    fn the_user_of_a_url_becomes_a_header() {
        let poster = Poster::new("http://alice:a%40b@node.example:8899/rpc?key=1", TIME).unwrap();
        assert_eq!(poster.url, "http://node.example:8899/rpc?key=1");
        let header = poster.authorization.unwrap();
        assert_eq!(header, format!("Basic {}", STANDARD.encode("alice:a@b")));
        assert!(header.is_sensitive());
        assert_eq!(Poster::new("http://node.example", TIME).unwrap().authorization, None);
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in ["ftp://node.example", "node.example", "", "http//x", "ws://node.example"] {
            assert!(Poster::new(url, TIME).is_err(), "{url}");
        }
        assert_eq!(Poster::new("https://node.example", TIME).is_ok(), cfg!(feature = "tls"));
    }
}
