//! An engine, a webhook and its receiver, over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use order_engine_core::telemetry::chain;
use order_engine_core::testing::{ScriptedRouter, ScriptedVenue, request};
use order_engine_core::{
    Backoff, Clock, Engine, EngineConfig, MemoryStore, Order, OrderId, OrderUpdate, Status, StatusSink,
    Submission, TokioClock,
};
use order_engine_webhook::{
    ID_HEADER, InvalidWebhook, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, WebhookBody, WebhookConfig,
    WebhookSink, verify,
};

/// How the receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Takes,
    Fails,
    Hangs,
    Redirects,
}

/// A receiver that checks signatures, and keeps the bodies that it took.
#[derive(Clone)]
struct Receiver {
    mode: Arc<Mutex<Mode>>,
    taken: Arc<Mutex<Vec<WebhookBody>>>,
    requests: Arc<AtomicUsize>,
    secret: Secret,
    url: String,
}

impl Receiver {
    async fn start(mode: Mode, secret: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            mode: Arc::new(Mutex::new(mode)),
            taken: Arc::default(),
            requests: Arc::default(),
            secret: Secret::new(secret),
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
        };
        let inner = receiver.clone();
        let elsewhere = receiver.clone();
        let routes = Router::new()
            .route("/hook", post(move |headers, body| async move { inner.answer(headers, body).await }))
            .route("/elsewhere", post(move |headers, body| async move { elsewhere.take(&headers, &body) }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        receiver
    }

    async fn answer(&self, headers: HeaderMap, body: Bytes) -> Response {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Takes => self.take(&headers, &body),
            Mode::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Mode::Hangs => std::future::pending().await,
            Mode::Redirects => Redirect::temporary("/elsewhere").into_response(),
        }
    }

    fn take(&self, headers: &HeaderMap, body: &Bytes) -> Response {
        let header = |name: &str| headers[name].to_str().unwrap();
        let headers = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].map(header);
        let now = TokioClock::new().now();
        if verify(&self.secret, headers, body, now, Duration::from_mins(5)).is_err() {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        self.taken.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        StatusCode::NO_CONTENT.into_response()
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn seqs_of(&self, id: OrderId) -> Vec<u64> {
        let taken = self.taken.lock().unwrap();
        let events = taken.iter().filter(|body| body.order_id == id).flat_map(|body| &body.events);
        events.map(|event| event.seq).collect()
    }

    async fn has_tried(&self, requests: usize) {
        while self.requests.load(Ordering::SeqCst) < requests {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// How long senders wait for a receiver that answers. It is long enough for the slowest machine.
const TIMEOUT: Duration = Duration::from_secs(10);

fn config(url: &str, secrets: &[&str]) -> WebhookConfig {
    let secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    WebhookConfig { name: "webhook".into(), url: url.to_owned(), secrets, timeout: TIMEOUT }
}

async fn engine(url: &str, secrets: &[&str], timeout: Duration) -> Engine {
    let webhook = WebhookConfig { timeout, ..config(url, secrets) };
    let mut engine_config = EngineConfig::default();
    engine_config.sink_backoff =
        Backoff::default().with_initial(Duration::from_millis(5)).with_max(Duration::from_millis(20));
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .router(Arc::new(ScriptedRouter::new()))
        .venue(Arc::new(ScriptedVenue::new()))
        .sink(Arc::new(WebhookSink::new(webhook).unwrap()))
        .config(engine_config)
        .build()
        .await
        .unwrap();
    tokio::spawn(engine.run(10));
    engine
}

/// Runs orders to their end, and returns their ids with the numbers of their last events.
async fn run_orders(engine: &Engine, count: usize) -> Vec<(OrderId, u64)> {
    let mut orders = Vec::new();
    for _ in 0..count {
        let Submission::Created(order) = engine.submit(request()).await.unwrap() else { panic!() };
        orders.push(order.id);
    }
    let mut ended = Vec::new();
    for id in orders {
        let mut events = engine.subscribe(id, 0).await.unwrap().unwrap();
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event.unwrap());
        }
        let last = last.unwrap();
        assert_eq!(last.status, Status::Confirmed);
        ended.push((id, last.seq));
    }
    ended
}

/// Asserts that every event arrived, and none before its predecessor. An event may arrive again, because on a
/// busy machine its answer may be late.
async fn assert_all_taken(receiver: &Receiver, orders: &[(OrderId, u64)]) {
    for (id, last) in orders {
        while !receiver.seqs_of(*id).contains(last) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let seqs = receiver.seqs_of(*id);
        let mut highest = 0;
        for seq in &seqs {
            assert!((1..=highest + 1).contains(seq), "#{seq} came after #{highest}: {seqs:?}");
            highest = highest.max(*seq);
        }
        assert_eq!(highest, *last);
    }
}

#[tokio::test]
async fn everything_arrives_in_order() {
    let receiver = Receiver::start(Mode::Takes, "new").await;
    let engine = engine(&receiver.url, &["new"], TIMEOUT).await;
    let orders = run_orders(&engine, 20).await;
    assert_all_taken(&receiver, &orders).await;
    let taken = receiver.taken.lock().unwrap();
    let events: Vec<_> =
        taken.iter().filter(|body| body.order_id == orders[0].0).flat_map(|body| &body.events).collect();
    assert!(events.iter().any(|event| event.kind == "transaction_signed" && event.tx_hash.is_some()));
    assert!(events.iter().any(|event| event.kind == "confirmed" && event.fill.is_some()));
    assert!(events.iter().all(|event| event.error.is_none()));
}

#[tokio::test]
async fn a_receiver_that_is_down_delays_no_order_and_misses_nothing() {
    for mode in [Mode::Fails, Mode::Hangs, Mode::Redirects] {
        let receiver = Receiver::start(mode, "secret").await;
        // The sender waits only briefly for a receiver that hangs.
        let timeout = if mode == Mode::Hangs { Duration::from_millis(100) } else { TIMEOUT };
        let engine = engine(&receiver.url, &["secret"], timeout).await;
        let orders = run_orders(&engine, 10).await;
        receiver.has_tried(12).await;
        assert!(receiver.taken.lock().unwrap().is_empty(), "{mode:?}: the sender follows no redirect");
        receiver.set(Mode::Takes);
        assert_all_taken(&receiver, &orders).await;
    }
}

#[tokio::test]
async fn secrets_can_be_changed_while_requests_are_under_way() {
    let receiver = Receiver::start(Mode::Takes, "old").await;
    let engine = engine(&receiver.url, &["new", "old"], TIMEOUT).await;
    let orders = run_orders(&engine, 1).await;
    assert_all_taken(&receiver, &orders).await;
}

#[tokio::test]
async fn a_receiver_with_another_secret_takes_nothing() {
    let receiver = Receiver::start(Mode::Takes, "another").await;
    let engine = engine(&receiver.url, &["secret"], TIMEOUT).await;
    run_orders(&engine, 1).await;
    receiver.has_tried(3).await;
    assert!(receiver.taken.lock().unwrap().is_empty());
}

#[test]
fn an_invalid_webhook_is_refused() {
    let webhook = |url, secrets: &[&str]| WebhookSink::new(config(url, secrets)).map(|_| ());
    for url in ["", "orders", "ftp://127.0.0.1/", "httpx://127.0.0.1/", "http://"] {
        assert!(matches!(webhook(url, &["secret"]), Err(InvalidWebhook::Url)), "{url}");
    }
    assert!(matches!(webhook("https://127.0.0.1/", &["secret"]), Err(InvalidWebhook::NoTls)));
    for secrets in [&[][..], &[""], &["secret", ""]] {
        assert!(matches!(webhook("http://127.0.0.1/", secrets), Err(InvalidWebhook::NoSecret)));
    }
    assert!(webhook("http://127.0.0.1/", &["secret"]).is_ok());
}

#[tokio::test]
async fn errors_and_logs_have_the_cause_and_no_token() {
    // The listener is closed at once, so connections to its address are refused.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = config(&format!("http://{address}/hook?token=t0ken"), &["s3cret"]);
    let shown = format!("{config:?}");
    let sink = WebhookSink::new(config).unwrap();
    let now = TokioClock::new().now();
    let (order, accepted) = Order::accept(OrderId::new(now, 1), request(), 3, now);
    let update = OrderUpdate::new(order.head(), Arc::new(accepted));
    let error = sink.deliver(&[update]).await.unwrap_err();
    assert!(chain(&error).to_string().contains("refused"), "{error:?}");
    for text in [shown, format!("{sink:?} {error:?}"), chain(&error).to_string()] {
        assert!(!text.contains("t0ken") && !text.contains("s3cret"), "{text}");
    }
}
