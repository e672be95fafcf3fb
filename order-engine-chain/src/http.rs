//! Calls nodes, signers and services over HTTP. No error shows a URL, which may have a key in it. A call on behalf of a request
//! or of an order says so with the header `traceparent`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use order_engine_core::telemetry::trace::{TRACEPARENT, TraceContext};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::Source;

/// The largest answer. A hundred accounts of ten megabytes, the largest that Solana has, would be more; pools are a thousandth.
const ANSWER_BYTES_MAX: usize = 128 << 20;

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Calls one URL and what is below it, and follows no redirection.
#[derive(Clone)]
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

/// Shows neither the URL nor a header.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The status, 200 for instance.
    pub status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Returns the bytes of the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns how many seconds the other side asks to be left alone, if it says so in seconds.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }
}

impl Http {
    /// Returns a client for a URL, whose user and password are sent as `Authorization: Basic`. Behind `https://` it trusts the authorities
    /// whose certificates (PEM) the file has, or else those of the machine.
    ///
    /// # Errors
    /// If it is no URL of `http://`, or `https://` with the feature `tls`, or there are no certificates.
    pub fn new(url: &str, timeout: Duration, ca_file: Option<&Path>) -> Result<Self, Source> {
        let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
        let scheme = uri.scheme_str();
        let is_known = scheme == Some("http") || (scheme == Some("https") && cfg!(feature = "tls"));
        if !is_known {
            return Err(if cfg!(feature = "tls") {
                "the URL must begin with http:// or https://".into()
            } else {
                "the URL must begin with http://, because https:// needs the feature tls".into()
            });
        }
        let client = Client::builder(TokioExecutor::new()).build(connector(ca_file)?);
        let mut http = Self { client, url: url.to_owned(), headers: Vec::new(), timeout };
        if let Some((user, host)) = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'))
        {
            http.url = url.replacen(&format!("{user}@{host}"), host, 1);
            http = http.set_header(AUTHORIZATION, &basic(user))?;
        }
        Ok(http)
    }

    /// Sets a header, whose value may be a secret.
    ///
    /// # Errors
    /// If it has characters that a header cannot have.
    pub fn with_header(self, name: &str, value: &str) -> Result<Self, Source> {
        self.set_header(name.parse()?, value)
    }

    fn set_header(mut self, name: HeaderName, value: &str) -> Result<Self, Source> {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        Ok(self)
    }

    /// Gets what is below the URL at this path, with its query.
    ///
    /// # Errors
    /// If there is no answer within the time.
    pub async fn get(&self, path: &str) -> Result<Answer, Source> {
        self.call(Request::get(format!("{}{path}", self.url)), Vec::new()).await
    }

    /// Posts a value as JSON to what is below the URL at this path.
    ///
    /// # Errors
    /// If there is no answer within the time.
    pub async fn post(&self, path: &str, value: &(impl Serialize + Sync)) -> Result<Answer, Source> {
        self.post_bytes(path, "application/json", serde_json::to_vec(value)?).await
    }

    /// Posts a body of this type to what is below the URL at this path.
    ///
    /// # Errors
    /// If there is no answer within the time.
    pub async fn post_bytes(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<Answer, Source> {
        self.call(Request::post(format!("{}{path}", self.url)).header(CONTENT_TYPE, content_type), body).await
    }

    async fn call(&self, mut request: request::Builder, body: Vec<u8>) -> Result<Answer, Source> {
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(trace) = TraceContext::current() {
            request = request.header(TRACEPARENT, trace.to_string());
        }
        let request = request.body(Full::new(body.into())).map_err(|_| "it is no URL")?;
        let answered = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(self.timeout, answered).await.map_err(|_| "no answer in time")?
    }
}

/// Returns what the header `Authorization` has for the user of a URL.
fn basic(user: &str) -> String {
    let user: Vec<u8> = percent_decode_str(user).collect();
    let user = if user.contains(&b':') { user } else { [&user[..], b":"].concat() };
    format!("Basic {}", STANDARD.encode(user))
}

/// Returns a connector that sends small packets at once: calls are small, and their answers are waited for.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp
}

#[cfg(feature = "tls")]
fn connector(ca_file: Option<&Path>) -> Result<Connector, Source> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = match ca_file {
        Some(path) => {
            let config = rustls::ClientConfig::builder_with_provider(provider.into());
            let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots(path)?);
            builder.with_tls_config(config.with_no_client_auth())
        }
        None => builder.with_provider_and_native_roots(provider)?,
    };
    let mut tcp = tcp();
    tcp.enforce_http(false);
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

/// Reads the certificates of a file.
#[cfg(feature = "tls")]
fn roots(path: &Path) -> Result<rustls::RootCertStore, Source> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("the file has no certificates".into()) } else { Ok(roots) }
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature tls it may fail")]
fn connector(_ca_file: Option<&Path>) -> Result<Connector, Source> {
    Ok(tcp())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;

    const TIME: Duration = Duration::from_secs(1);

    #[test]
    fn the_user_of_a_url_becomes_a_header() {
        let http = Http::new("http://alice:a%40b@node.example:8899/rpc?key=1", TIME, None).unwrap();
        assert_eq!(http.url, "http://node.example:8899/rpc?key=1");
        let [(name, value)] = &http.headers[..] else { panic!() };
        assert_eq!((name, value.to_str().unwrap()), (&AUTHORIZATION, &*basic("alice:a@b")));
        assert!(value.is_sensitive());
        let http = http.with_header("authorization", "Bearer x").unwrap();
        assert_eq!(http.headers.len(), 1, "what is set explicitly counts");
        assert!(Http::new("http://node.example", TIME, None).unwrap().headers.is_empty());
    }

    /// Takes one call, and returns the head of the request, in small letters.
    async fn head_of_a_call(trace: Option<TraceContext>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = Http::new(&format!("http://{}", listener.local_addr().unwrap()), TIME, None).unwrap();
        let (head, answer) = tokio::join!(
            async {
                let mut node = BufReader::new(listener.accept().await.unwrap().0);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    node.read_line(&mut head).await.unwrap();
                }
                node.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                head.to_ascii_lowercase()
            },
            async {
                let call = http.get("/");
                match trace {
                    Some(trace) => trace.scope(call).await,
                    None => call.await,
                }
            }
        );
        assert_eq!(answer.unwrap().status, 204);
        head
    }

    #[tokio::test]
    async fn a_call_within_a_trace_says_so() {
        let trace = TraceContext::of_id((7 << 64) | 9);
        let head = head_of_a_call(Some(trace)).await;
        assert!(head.contains(&format!("\r\ntraceparent: {trace}\r\n")), "{head}");
        let head = head_of_a_call(None).await;
        assert!(!head.contains("traceparent"), "{head}");
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in ["ftp://node.example", "node.example", "", "http//x", "ws://node.example"] {
            assert!(Http::new(url, TIME, None).is_err(), "{url}");
        }
        assert_eq!(Http::new("https://node.example", TIME, None).is_ok(), cfg!(feature = "tls"));
    }
}
