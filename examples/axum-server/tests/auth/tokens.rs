//! The keys of an identity provider at a URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use order_engine_server::{Access, AuthSettings, InvalidAccess};
use serde_json::json;
use tokio::net::TcpListener;

use super::common::TestServer;
use super::issuer::{AUDIENCE, ISSUER, Issuer, SECRET, claims};
use super::options;

/// A provider that counts how often it is asked for its keys. It has none before it is up.
struct Provider {
    url: String,
    asked: Arc<AtomicUsize>,
    is_up: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(issuer: &Issuer) -> Self {
        let (asked, is_up) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let keys = issuer.jwks().to_string();
        let (counting, state) = (asked.clone(), is_up.clone());
        let answer = move || {
            counting.fetch_add(1, Ordering::AcqRel);
            let is_up = state.load(Ordering::Acquire) == 1;
            let response =
                if is_up { keys.clone().into_response() } else { StatusCode::BAD_GATEWAY.into_response() };
            async move { response }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let serving = axum::serve(listener, Router::new().route("/jwks.json", get(answer)));
        tokio::spawn(async move { serving.await.unwrap() });
        Self { url, asked, is_up }
    }
}

fn settings(jwks: &str) -> AuthSettings {
    let mut settings = AuthSettings::default();
    settings.jwks = Some(jwks.parse().unwrap());
    settings.jwt_issuer = Some(ISSUER.to_owned());
    settings.jwt_audience = Some(AUDIENCE.to_owned());
    settings
}

#[tokio::test]
async fn tokens_of_unknown_keys_do_not_have_the_provider_asked_for_each() {
    let issuer = Issuer::new();
    let provider = Provider::start(&issuer).await;
    provider.is_up.store(1, Ordering::Release);
    let server = TestServer::with(options(Access::open(&settings(&provider.url)).unwrap())).await;
    let ask = async |token: String| {
        server.http.get(server.url("/api/orders")).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    for algorithm in ["RS256", "EdDSA"] {
        assert_eq!(ask(issuer.sign(algorithm, &claims("alice", "read"))).await, 200, "{algorithm}");
    }
    for n in 0..50 {
        let header = json!({"alg": "EdDSA", "kid": format!("made-up-{n}")});
        assert_eq!(ask(issuer.sign_as(&header, &claims("alice", "read"))).await, 401);
    }
    let asked = provider.asked.load(Ordering::Acquire);
    assert!((1..=2).contains(&asked), "asked {asked} times");
    // A key without an id is found if it is the only one of its algorithm.
    assert_eq!(ask(issuer.sign_as(&json!({"alg": "EdDSA"}), &claims("alice", "read"))).await, 200);
    // There is no secret, so nothing is signed with one.
    assert_eq!(ask(issuer.sign("HS256", &claims("alice", "read"))).await, 401);
}

#[tokio::test]
async fn a_server_starts_without_its_provider_and_says_that_it_cannot_check() {
    let issuer = Issuer::new();
    let provider = Provider::start(&issuer).await;
    let server = TestServer::with(options(Access::open(&settings(&provider.url)).unwrap())).await;
    let token = issuer.token("alice", "read");
    let response = server.http.get(server.url("/api/orders")).bearer_auth(token).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(server.get("/health").await.status(), 200);
}

#[test]
fn settings_that_take_any_token_are_refused() {
    let mut any = settings("https://id.example/jwks.json");
    any.jwt_audience = None;
    assert!(matches!(Access::open(&any), Err(InvalidAccess::AnyToken)));
    let mut any = AuthSettings::default();
    any.jwt_secret = Some(SECRET.parse().unwrap());
    assert!(matches!(Access::open(&any), Err(InvalidAccess::AnyToken)));
    let mut none = AuthSettings::default();
    none.jwt_issuer = Some(ISSUER.to_owned());
    assert!(matches!(Access::open(&none), Err(InvalidAccess::NoTokenKey)));
    assert!(matches!(Access::open(&settings("missing.json")), Err(InvalidAccess::Jwks(_))));
    assert!(Access::open(&AuthSettings::default()).unwrap().is_open());
}
