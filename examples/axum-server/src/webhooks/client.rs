//! The client that posts to receivers. It goes only to allowed addresses, follows no redirection, and reads little.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::webhooks::resolver::{Names, Resolver, SystemNames, Unresolved};
use crate::webhooks::target::{TargetRules, TargetUrl};

/// How long a receiver may take for a request, the connection included.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take. The system's own bound is minutes.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How much of an answer is read, so that its connection can be used again. What it says does not matter.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long a connection may wait for its next request.
const IDLE: Duration = Duration::from_secs(30);
/// How many connections of a receiver may wait.
const IDLE_PER_HOST: usize = 4;

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector<Resolver>>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector<Resolver>;

/// Posts to receivers. Its clones share their connections.
#[derive(Clone)]
pub(crate) struct WebhookClient {
    client: Client<Connector, Full<Bytes>>,
    rules: TargetRules,
}

/// The headers of a message.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) id: String,
    pub(crate) timestamp_s: i64,
    pub(crate) signature: String,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The receiver answered with a status, and may have asked to be left alone for a while.
    Status { status: u16, retry_after: Option<Duration> },
    /// There was no answer, for a reason with this code.
    None(&'static str),
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the certificates of this machine")]
pub struct NoCertificates(#[source] io::Error);

impl fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookClient").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl WebhookClient {
    /// Returns a client that goes where the rules allow.
    pub(crate) fn new(rules: TargetRules) -> Result<Self, NoCertificates> {
        Self::with_names(rules, Arc::new(SystemNames))
    }

    /// The same with other names than the system's.
    pub(crate) fn with_names(rules: TargetRules, names: Arc<dyn Names>) -> Result<Self, NoCertificates> {
        let resolver = Resolver { names, networks: rules.networks.clone() };
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector(tcp, rules.allows_http)?);
        Ok(Self { client, rules })
    }

    pub(crate) const fn rules(&self) -> &TargetRules {
        &self.rules
    }

    /// Posts a body, and waits for the answer for a bounded time.
    pub(crate) async fn post(&self, target: &TargetUrl, signed: &Signed, body: Bytes) -> Answer {
        let Ok(uri) = target.uri(&self.rules) else { return Answer::None("address-refused") };
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("order-engine/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &signed.id)
            .header("webhook-timestamp", signed.timestamp_s)
            .header("webhook-signature", &signed.signature)
            .body(Full::new(body));
        let Ok(request) = request else { return Answer::None("address-refused") };
        let answered = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            // An answer that is too long ends its connection, and its status counts all the same.
            let _ = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok(Answer::Status { status: head.status.as_u16(), retry_after: retry_after(&head.headers) })
        };
        match tokio::time::timeout(REQUEST_TIME_MAX, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::None(code(&error)),
            Err(_) => Answer::None("timed-out"),
        }
    }
}

#[cfg(feature = "tls")]
fn connector(mut tcp: HttpConnector<Resolver>, allows_http: bool) -> Result<Connector, NoCertificates> {
    tcp.enforce_http(false);
    let provider = rustls::crypto::ring::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(NoCertificates)?;
    let builder = if allows_http { builder.https_or_http() } else { builder.https_only() };
    Ok(builder.enable_http1().wrap_connector(tcp))
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature tls it may fail")]
fn connector(tcp: HttpConnector<Resolver>, _: bool) -> Result<Connector, NoCertificates> {
    Ok(tcp)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// Returns the code of a failure. It says what the user can do something about, and nothing of the server's network.
fn code(error: &hyper_util::client::legacy::Error) -> &'static str {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        match error.downcast_ref() {
            Some(Unresolved::NoAddress(_)) => return "name-unresolved",
            Some(Unresolved::Refused) => return "address-refused",
            None => {}
        }
        if is_tls(error) {
            return "tls-failed";
        }
        // An error of I/O that was made of another one names the source of that one.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as _).or_else(|| error.source());
    }
    if error.is_connect() { "unreachable" } else { "no-answer" }
}

#[cfg(feature = "tls")]
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error.is::<rustls::Error>()
}

#[cfg(not(feature = "tls"))]
fn is_tls(_: &(dyn Error + 'static)) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use tokio::net::TcpListener;

    use super::*;

    /// A name whose address changes with each look, in a circle.
    #[derive(Debug)]
    struct Turning {
        addresses: Vec<Vec<IpAddr>>,
        looks: AtomicUsize,
    }

    #[async_trait]
    impl Names for Turning {
        async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let look = self.looks.fetch_add(1, Ordering::Relaxed);
            Ok(self.addresses[look % self.addresses.len()].clone())
        }
    }

    fn names(addresses: &[&[&str]]) -> Arc<Turning> {
        let addresses =
            addresses.iter().map(|group| group.iter().map(|text| text.parse().unwrap()).collect()).collect();
        Arc::new(Turning { addresses, looks: AtomicUsize::new(0) })
    }

    fn rules(networks: &str) -> TargetRules {
        TargetRules { networks: networks.parse().unwrap(), allows_http: true }
    }

    async fn receiver() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = Router::new()
            .route("/", post(async || StatusCode::NO_CONTENT))
            .route("/busy", post(async || (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "7")])))
            .route("/elsewhere", post(async || axum::response::Redirect::temporary("/")))
            .route("/long", post(async || "x".repeat(64 * ANSWER_BYTES_MAX)));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        port
    }

    async fn posted(client: &WebhookClient, url: &str) -> Answer {
        let signed = Signed { id: "evt".to_owned(), timestamp_s: 1, signature: "v1,x".to_owned() };
        let target = TargetUrl::parse(url, client.rules()).unwrap();
        client.post(&target, &signed, Bytes::from_static(b"{}")).await
    }

    const fn status(status: u16) -> Answer {
        Answer::Status { status, retry_after: None }
    }

    #[tokio::test]
    async fn a_name_that_turns_private_after_it_was_registered_is_refused() {
        let port = receiver().await;
        let url = format!("http://hooks.example:{port}/");
        // The first look would be the check of a client that connects by a second one.
        let turning = names(&[&["8.8.8.8"], &["127.0.0.1"]]);
        turning.looks.store(1, Ordering::Relaxed);
        let client = WebhookClient::with_names(rules("192.0.2.0/24"), turning.clone()).unwrap();
        assert_eq!(posted(&client, &url).await, Answer::None("address-refused"));
        assert_eq!(
            turning.looks.load(Ordering::Relaxed),
            2,
            "one look a connection, whose answer is both checked and used"
        );
    }

    #[tokio::test]
    async fn of_several_addresses_only_the_allowed_ones_are_used() {
        let port = receiver().await;
        let url = format!("http://hooks.example:{port}/");
        let mixed = names(&[&["10.0.0.1", "169.254.169.254", "127.0.0.1", "::1"]]);
        let client = WebhookClient::with_names(rules("127.0.0.1"), mixed).unwrap();
        assert_eq!(posted(&client, &url).await, status(204));
        let client =
            WebhookClient::with_names(rules("192.0.2.0/24"), names(&[&["127.0.0.1", "::1"]])).unwrap();
        assert_eq!(posted(&client, &url).await, Answer::None("address-refused"));
        let client = WebhookClient::with_names(rules("127.0.0.1"), names(&[&[]])).unwrap();
        assert_eq!(posted(&client, &url).await, Answer::None("name-unresolved"));
    }

    /// Resolvers read more as an address than this server does.
    #[tokio::test]
    async fn other_spellings_of_the_loopback_are_refused() {
        let client = WebhookClient::new(rules("192.0.2.0/24")).unwrap();
        for host in ["localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0"] {
            let answer = posted(&client, &format!("http://{host}:8080/")).await;
            assert!(
                [Answer::None("address-refused"), Answer::None("name-unresolved")].contains(&answer),
                "{host}: {answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_is_its_status_and_no_redirection_is_followed() {
        let port = receiver().await;
        let client = WebhookClient::new(rules("127.0.0.1")).unwrap();
        let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
        assert_eq!(posted(&client, &url("/")).await, status(204));
        assert_eq!(posted(&client, &url("/elsewhere")).await, status(307));
        assert_eq!(posted(&client, &url("/long")).await, status(200));
        let busy = Answer::Status { status: 429, retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(posted(&client, &url("/busy")).await, busy);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        assert_eq!(
            posted(&client, &format!("http://127.0.0.1:{closed}/")).await,
            Answer::None("unreachable")
        );
        #[cfg(feature = "tls")]
        assert_eq!(posted(&client, &format!("https://127.0.0.1:{port}/")).await, Answer::None("tls-failed"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_says_nothing_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = WebhookClient::new(rules("127.0.0.1")).unwrap();
        assert_eq!(posted(&client, &format!("http://127.0.0.1:{port}/")).await, Answer::None("timed-out"));
        drop(listener);
    }
}
