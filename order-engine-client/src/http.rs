//! Calls the server.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Hyper, Error as HyperError};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::error::{Error, Problem};
use crate::settings::Settings;

/// How long the server may take to answer.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const NAME: &str = concat!("order-engine-client/", env!("CARGO_PKG_VERSION"));

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// The way to one server.
pub(crate) struct Http {
    hyper: Hyper<Connector, Full<Bytes>>,
    url: String,
    authorization: Option<HeaderValue>,
    silence_max: Duration,
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let url = settings.url().trim_end_matches('/').to_owned();
        let uri: Uri =
            url.parse().map_err(|_| Error::Settings("the address of the server is no URL".into()))?;
        let (scheme, host) = (uri.scheme_str(), uri.host().unwrap_or_default());
        let is_known = scheme == Some("http") || (scheme == Some("https") && cfg!(feature = "tls"));
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !is_known || has_user || uri.query().is_some() {
            let message =
                "the address of the server must be http://host:port or https://host:port, without a user";
            return Err(Error::Settings(message.into()));
        }
        let is_clear = scheme == Some("http") && !is_loopback(host) && !settings.may_send_key_in_the_clear();
        if settings.key().is_some() && is_clear {
            let message = "the key is not sent over http:// to another machine, because everybody on the way could read \
                           it: use https://, or say that it may be (--insecure-http, Settings::with_insecure_http)";
            return Err(Error::Settings(message.into()));
        }
        let authorization = settings.key().map(|key| {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()));
            value.map_err(|_| Error::Settings("the key has characters that no key has".into()))
        });
        let mut authorization = authorization.transpose()?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let hyper = Hyper::builder(TokioExecutor::new()).build(connector()?);
        Ok(Self { hyper, url, authorization, silence_max: settings.silence_max() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Calls the server, and reads its answer within a time.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        time: Duration,
    ) -> Result<Answer, Error> {
        let mut request = self.request(method, path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let answered = async {
            let response = self.send(request, body.unwrap_or_default()).await?;
            let (head, body) = response.into_parts();
            let body = self.read(body).await?;
            if head.status.is_success() {
                return Ok(Answer { headers: head.headers, body });
            }
            Err(refused(head.status, &head.headers, &body))
        };
        timeout(time, answered).await.map_err(|_| self.silent())?
    }

    /// Returns how long a stream may be silent.
    pub(crate) const fn silence_max(&self) -> Duration {
        self.silence_max
    }

    /// Begins to read a stream of events. There is none to read if the answer has no content.
    pub(crate) async fn stream(&self, path: &str, last_id: Option<&str>) -> Result<Option<Incoming>, Error> {
        let mut request = self.request(Method::GET, path).header(ACCEPT, "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let answered = async {
            let response = self.send(request, "").await?;
            match response.status() {
                StatusCode::NO_CONTENT => Ok(None),
                status if status.is_success() => Ok(Some(response.into_body())),
                status => {
                    let (head, body) = response.into_parts();
                    Err(refused(status, &head.headers, &self.read(body).await?))
                }
            }
        };
        timeout(ANSWER_TIME_MAX, answered).await.map_err(|_| self.silent())?
    }

    fn request(&self, method: Method, path: &str) -> Builder {
        let request =
            Request::builder().method(method).uri(format!("{}{path}", self.url)).header(USER_AGENT, NAME);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    async fn send(&self, request: Builder, body: &str) -> Result<Response<Incoming>, Error> {
        let wrong_path = |_| Error::Settings("the address of the server makes no URL with this path".into());
        let request = request.body(Full::from(body.to_owned())).map_err(wrong_path)?;
        self.hyper
            .request(request)
            .await
            .map_err(|error| self.unreachable(reason(&error), !error.is_connect()))
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Error> {
        let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(collected.map_err(|error| self.unreachable(error.to_string(), true))?.to_bytes())
    }

    /// Returns the failure of a stream that was cut at its beginning.
    pub(crate) fn cut(&self, reason: String) -> Error {
        self.unreachable(reason, true)
    }

    fn silent(&self) -> Error {
        self.unreachable("no answer in time".to_owned(), true)
    }

    fn unreachable(&self, reason: String, may_have_arrived: bool) -> Error {
        Error::Unreachable { url: self.url.clone(), reason, may_have_arrived }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("url", &self.url).finish_non_exhaustive()
    }
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Error::Refused(Box::new(Problem::read(status.as_u16(), body, seconds.map(Duration::from_secs))))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns why a request failed, down to its cause.
fn reason(error: &HyperError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(feature = "tls")]
fn connector() -> Result<Connector, Error> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
    let builder = builder
        .map_err(|error| Error::Settings(format!("cannot read this machine's certificates: {error}")))?;
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature tls it may fail")]
fn connector() -> Result<Connector, Error> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    Ok(tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(url: &str, key: Option<&str>) -> Result<Http, Error> {
        let settings = Settings::new(url);
        Http::new(&match key {
            Some(key) => settings.with_key(key),
            None => settings,
        })
    }

    #[test]
    fn a_key_is_not_sent_in_the_clear_to_another_machine() {
        for url in ["http://127.0.0.1:3000", "http://localhost:3000/", "http://[::1]:3000"] {
            assert!(http(url, Some("oek_x")).is_ok(), "{url}");
        }
        assert!(http("http://trader.example", None).is_ok());
        let error = http("http://trader.example", Some("oek_planted-canary")).err().unwrap();
        assert!(error.to_string().contains("--insecure-http") && !error.to_string().contains("canary"));
        for url in ["trader.example", "ftp://trader.example", "http://a:b@host", "http://host/?x=y", ""] {
            assert!(matches!(http(url, None), Err(Error::Settings(_))), "{url}");
        }
    }

    #[test]
    fn no_debug_text_shows_the_key() {
        let http = http("http://127.0.0.1:3000", Some("oek_planted-canary")).unwrap();
        assert!(!format!("{http:?}").contains("canary"));
        let request = http.request(Method::GET, "/").body(()).unwrap();
        assert!(!format!("{request:?}").contains("canary"));
    }
}
