//! A receiver of webhooks, which checks signatures as a user's does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::Utc;
use order_engine_webhook::{ID_HEADER, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, verify};
use serde_json::Value;
use tokio::sync::watch;

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Takes,
    Fails,
    Hangs,
    IsGone,
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signatures: String,
    pub(crate) text: String,
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
struct Seen {
    taken: Vec<Taken>,
    requests: usize,
    /// Requests whose signature was not valid.
    forged: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    mode: Arc<Mutex<Mode>>,
    secret: Arc<Mutex<Option<Secret>>>,
    seen: watch::Sender<Seen>,
    pub(crate) url: String,
}

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_mins(1);

impl Receiver {
    pub(crate) async fn start(mode: Mode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            mode: Arc::new(Mutex::new(mode)),
            secret: Arc::default(),
            seen: watch::Sender::default(),
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
        };
        let inner = receiver.clone();
        let routes = Router::new()
            .route("/hook", post(move |headers, body| async move { inner.answer(headers, body).await }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        receiver
    }

    async fn answer(&self, headers: HeaderMap, body: Bytes) -> Response {
        self.seen.send_modify(|seen| seen.requests += 1);
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Takes => self.take(&headers, &body).into_response(),
            Mode::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Mode::Hangs => std::future::pending().await,
            Mode::IsGone => StatusCode::GONE.into_response(),
        }
    }

    fn take(&self, headers: &HeaderMap, body: &Bytes) -> StatusCode {
        let header = |name: &str| headers[name].to_str().unwrap();
        let signed = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].map(header);
        let secret = self.secret.lock().unwrap().clone().expect("the endpoint is registered");
        if verify(&secret, signed, body, Utc::now(), Duration::from_mins(5)).is_err() {
            self.seen.send_modify(|seen| seen.forged += 1);
            return StatusCode::UNAUTHORIZED;
        }
        let [id, timestamp, signatures] = signed.map(str::to_owned);
        let text = String::from_utf8(body.to_vec()).unwrap();
        let body = serde_json::from_slice(body).unwrap();
        self.seen.send_modify(|seen| seen.taken.push(Taken { id, timestamp, signatures, text, body }));
        StatusCode::NO_CONTENT
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Checks signatures with this secret from now on.
    pub(crate) fn trust(&self, secret: &str) {
        *self.secret.lock().unwrap() = Some(Secret::parse(secret).unwrap());
    }

    /// Checks signatures with the secret of another receiver from now on.
    pub(crate) fn trust_as(&self, other: &Self) {
        self.secret.lock().unwrap().clone_from(&other.secret.lock().unwrap());
    }

    async fn wait(&self, what: &str, is_there: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(is_there)).await;
        assert!(waited.is_ok(), "{what}: {:?}", *self.seen.borrow());
    }

    pub(crate) async fn has_requests(&self, count: usize) {
        self.wait("requests", |seen| seen.requests >= count).await;
    }

    /// Waits until the last event of so many orders is there.
    pub(crate) async fn has_ends(&self, count: usize) {
        let is_end =
            |taken: &&Taken| matches!(taken.body["type"].as_str(), Some("order.confirmed" | "order.failed"));
        let ends = |seen: &Seen| {
            let ids: std::collections::BTreeSet<_> =
                seen.taken.iter().filter(is_end).map(|taken| taken.id.clone()).collect();
            ids.len() >= count
        };
        self.wait("the last events", ends).await;
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.seen.borrow().taken.clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.borrow().requests
    }

    pub(crate) fn forged(&self) -> usize {
        self.seen.borrow().forged
    }

    /// Returns the numbers of the events of each order as they first arrived.
    pub(crate) fn first_arrivals(&self) -> BTreeMap<String, Vec<u64>> {
        let mut orders: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for Taken { body, .. } in self.taken() {
            let Some(seq) = body["data"]["seq"].as_u64() else { continue };
            let seqs = orders.entry(super::common::text(&body["data"], "orderId")).or_default();
            if !seqs.contains(&seq) {
                seqs.push(seq);
            }
        }
        orders
    }
}
