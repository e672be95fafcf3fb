//! A server in this process, on a free port, over the memory store and the simulator.

// Each test program compiles this as its own module and uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod program;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apalis::prelude::{Monitor, WorkerBuilder};
use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use order_engine_core::testing::{Call, Intercept, InterceptedStore, Outage};
use order_engine_core::{Engine, MemoryStore, Runtime, StoreError, execute_order};
use order_engine_server::{AppState, Options, TokenRegistry, serve};
use order_engine_sim::{Rate, SimConfig, Simulator};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Makes every call of the store hang while it is on.
#[derive(Debug, Default)]
pub struct Hanging(pub AtomicBool);

#[async_trait]
impl Intercept for Hanging {
    async fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        if self.0.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// A running server. Dropping it leaves it running until the test ends.
pub struct TestServer {
    pub app: AppState,
    /// Makes the store fail.
    pub outage: Arc<Outage>,
    pub http: reqwest::Client,
    pub host: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// Starts a server that executes orders.
    pub async fn start() -> Self {
        let server = Self::idle().await;
        server.work();
        server
    }

    /// Starts a server whose orders stay pending until [`work`](Self::work) is called.
    pub async fn idle() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts a server with options, whose orders stay pending until [`work`](Self::work) is called.
    pub async fn with(options: Options) -> Self {
        let outage = Arc::new(Outage::new());
        Self::over(options, outage.clone(), outage).await
    }

    /// Starts a server whose store hangs when the switch is on.
    pub async fn that_may_hang(hanging: Arc<Hanging>) -> Self {
        Self::over(Options::default(), hanging, Arc::new(Outage::new())).await
    }

    async fn over(options: Options, intercept: Arc<dyn Intercept>, outage: Arc<Outage>) -> Self {
        let sim = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
        let simulator = Simulator::open(sim, Runtime::tokio()).await.unwrap();
        let store = InterceptedStore::new(Arc::new(MemoryStore::new()), intercept);
        let engine = Engine::builder()
            .store(Arc::new(store))
            .router(simulator.router())
            .venue(simulator.venue())
            .build()
            .await
            .unwrap();
        Self { outage, ..Self::of(engine, options).await }
    }

    /// Starts a server over an engine.
    pub async fn of(engine: Engine, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(options.access.clone().upkeep());
        let app = AppState::new(engine, TokenRegistry::default(), addr, options);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, app.clone(), async {
            let _ = stopped.await;
        }));
        let (outage, http) = (Arc::default(), reqwest::Client::new());
        Self { app, outage, http, host: addr.to_string(), stop, serving }
    }

    /// Starts to execute orders.
    pub fn work(&self) {
        let engine = self.app.engine().clone();
        let monitor = Monitor::new().register(move |n| {
            WorkerBuilder::new(format!("worker-{n}")).backend(engine.backend(10)).build(execute_order)
        });
        tokio::spawn(monitor.run());
    }

    /// Asks the server to stop. The returned task ends when all connections are closed.
    pub fn begin_to_stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.serving
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    pub fn ws_url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.host)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    pub async fn get_json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Posts a text as JSON.
    pub async fn post(&self, path: &str, body: impl Into<String>) -> reqwest::Response {
        let request = self.http.post(self.url(path)).header("Content-Type", "application/json");
        request.body(body.into()).send().await.unwrap()
    }

    /// Places an order, and returns the answer, which must be 202.
    pub async fn place(&self, body: &Value) -> Value {
        let response = self.post("/api/orders/execute", body.to_string()).await;
        assert_eq!(response.status(), 202, "{body}");
        response.json().await.unwrap()
    }

    /// Places an order, and returns its id.
    pub async fn place_any(&self) -> String {
        let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1.5"});
        text(&self.place(&body).await, "orderId")
    }

    pub async fn connect(&self, path: &str) -> Client {
        Client::connect(&self.ws_url(path)).await
    }

    /// Returns how many orders are due. Only for a server that does not execute orders.
    pub async fn count_due(&self) -> usize {
        self.app.engine().due_orders(1_000).await.unwrap().len()
    }
}

/// A WebSocket client.
pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub async fn connect(url: &str) -> Self {
        Self(connect_async(url).await.unwrap().0)
    }

    /// Connects with an additional header. The error is the HTTP status with which the server refuses.
    pub async fn try_connect(url: &str, header: (&'static str, &str)) -> Result<Self, u16> {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert(header.0, header.1.parse().unwrap());
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the next frame, or the code with which the server closes.
    pub async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match self.0.next().await.expect("the server sends a close frame").unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.expect("a close has a code").code.into()),
                _ => {}
            }
        }
    }

    pub async fn send(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    /// Returns all frames up to the close, and its code.
    pub async fn drain(mut self) -> (Vec<Value>, u16) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(code) => return (frames, code),
            }
        }
    }
}

/// Returns the value of a text field.
#[track_caller]
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

/// Checks the first two frames of a stream and the numbers of its events, which begin after `after`, and
/// returns the events.
#[track_caller]
pub fn events_of(frames: &[Value], order_id: &str, after: u64) -> Vec<Value> {
    assert_eq!(frames[0]["type"], "connection");
    assert_eq!(frames[0]["message"], "Connected to order status stream");
    assert_eq!(frames[1]["type"], "subscribed");
    assert!(frames[1]["lastSeq"].is_u64());
    for frame in frames {
        assert_eq!(frame["orderId"], order_id);
    }
    let events = frames[2..].to_vec();
    for (event, seq) in events.iter().zip(after + 1..) {
        assert_eq!(event["seq"], seq, "{events:?}");
    }
    events
}
