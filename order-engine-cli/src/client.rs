//! Calls the server.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Http, Error as HttpError};
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::settings::Settings;

/// How long the server may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The same where it goes through all orders.
const WALK_TIME_MAX: Duration = Duration::from_hours(1);
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// A client of one server.
pub(crate) struct Client {
    http: Http<Connector, Full<Bytes>>,
    url: String,
    authorization: Option<HeaderValue>,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let url = settings.url.trim_end_matches('/').to_owned();
        let uri: Uri =
            url.parse().map_err(|_| Failure::Usage("the address of the server is no URL".into()))?;
        let (scheme, host) = (uri.scheme_str(), uri.host().unwrap_or_default());
        let is_known = scheme == Some("http") || (scheme == Some("https") && cfg!(feature = "tls"));
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !is_known || has_user || uri.query().is_some() {
            let message =
                "the address of the server must be http://host:port or https://host:port, without a user";
            return Err(Failure::Usage(message.into()));
        }
        let is_clear = scheme == Some("http") && !is_loopback(host) && !settings.may_send_key_in_the_clear;
        if settings.key.is_some() && is_clear {
            let message = "the key is not sent over http:// to another machine, because everybody on the way could read \
                           it: use https://, or --insecure-http";
            return Err(Failure::Usage(message.into()));
        }
        let authorization = settings.key.map(|key| {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()));
            value.map_err(|_| Failure::Usage("the key has characters that no key has".into()))
        });
        let mut authorization = authorization.transpose()?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let http = Http::builder(TokioExecutor::new()).build(connector()?);
        Ok(Self { http, url, authorization })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.call(Method::GET, path, None, ANSWER_TIME_MAX).await?;
        parse(&answer)
    }

    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.call(Method::GET, path, None, ANSWER_TIME_MAX).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.call(Method::POST, path, Some(body), ANSWER_TIME_MAX).await?;
        parse(&answer)
    }

    /// Posts what takes the server as long as it has orders.
    pub(crate) async fn post_long(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let answer = self.call(Method::POST, path, Some(body), WALK_TIME_MAX).await?;
        parse(&answer)
    }

    /// Begins to read the events of an order after the one of this number, as server-sent events. The answer has no body
    /// if the order has no more.
    pub(crate) async fn events(&self, id: &str, after: u64) -> Result<Response<Incoming>, Failure> {
        let request = self
            .request(Method::GET, &format!("/api/orders/{}/events?after={after}", segment(id)))
            .header(ACCEPT, "text/event-stream")
            .header("Last-Event-ID", after)
            .body(Full::default());
        let sent = self.http.request(request.map_err(|_| wrong_path())?);
        let response =
            timeout(ANSWER_TIME_MAX, sent).await.map_err(|_| self.unreachable("no answer in time"))?;
        let response = response.map_err(|error| self.unreachable(&reason(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.body(response.into_body()).await?;
        Err(refused(status, &body))
    }

    pub(crate) fn unreachable(&self, reason: &str) -> Failure {
        Failure::Unreachable { url: self.url.clone(), reason: reason.to_owned() }
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        time: Duration,
    ) -> Result<Bytes, Failure> {
        let mut request = self.request(method, path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(body.into())).map_err(|_| wrong_path())?;
        let answered = async {
            let response = self.http.request(request).await;
            let response = response.map_err(|error| self.unreachable(&reason(&error)))?;
            let status = response.status();
            Ok::<_, Failure>((status, self.body(response.into_body()).await?))
        };
        let (status, body) =
            timeout(time, answered).await.map_err(|_| self.unreachable("no answer in time"))??;
        if status.is_success() { Ok(body) } else { Err(refused(status.as_u16(), &body)) }
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Failure> {
        let collected = timeout(ANSWER_TIME_MAX, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let collected = collected.map_err(|_| self.unreachable("no answer in time"))?;
        Ok(collected.map_err(|error| self.unreachable(&error.to_string()))?.to_bytes())
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns a text as one part of a path.
pub(crate) fn segment(text: &str) -> String {
    // What an order's id has stays as it is.
    const SAFE: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    utf8_percent_encode(text, SAFE).to_string()
}

fn wrong_path() -> Failure {
    Failure::Usage("the address of the server makes no URL with this path".into())
}

/// Returns why a request failed, down to its cause.
fn reason(error: &HttpError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Unexpected(error.to_string()))
}

fn refused(status: u16, body: &[u8]) -> Failure {
    let nothing = || serde_json::json!({ "code": "", "detail": "the answer does not say why" });
    let problem = serde_json::from_slice::<Value>(body).ok().filter(|problem| problem["code"].is_string());
    Failure::Refused { status, problem: problem.unwrap_or_else(nothing) }
}

#[cfg(feature = "tls")]
fn connector() -> Result<Connector, Failure> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
    let builder = builder
        .map_err(|error| Failure::Usage(format!("cannot read this machine's certificates: {error}")))?;
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature tls it may fail")]
fn connector() -> Result<Connector, Failure> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    Ok(tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str, key: Option<&str>) -> Result<Client, Failure> {
        let key = key.map(|key| key.parse().unwrap());
        Client::new(Settings { url: url.to_owned(), key, may_send_key_in_the_clear: false })
    }

    #[test]
    fn a_key_is_not_sent_in_the_clear_to_another_machine() {
        for url in ["http://127.0.0.1:3000", "http://localhost:3000/", "http://[::1]:3000"] {
            assert!(client(url, Some("oek_x")).is_ok(), "{url}");
        }
        assert!(client("http://trader.example", None).is_ok());
        let failure = client("http://trader.example", Some("oek_planted-canary")).err().unwrap();
        assert!(failure.to_string().contains("--insecure-http") && !failure.to_string().contains("canary"));
        for url in ["trader.example", "ftp://trader.example", "http://a:b@host", "http://host/?x=y", ""] {
            assert_eq!(client(url, None).err().map(|failure| failure.exit_code()), Some(2), "{url}");
        }
    }

    #[test]
    fn an_id_is_one_part_of_a_path() {
        assert_eq!(segment("0190163d-8694-739b"), "0190163d-8694-739b");
        assert_eq!(segment("../x?y#z é"), "..%2Fx%3Fy%23z%20%C3%A9");
    }
}
