//! An engine with a webhook, and its receiver, in one program.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use order_engine_core::{Amount, Clock, Engine, MemoryStore, OrderRequest, Runtime, Status, TokioClock};
use order_engine_sim::{SimConfig, Simulator};
use order_engine_webhook::{
    ID_HEADER, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, WebhookBody, WebhookConfig, WebhookSink, verify,
};
use tokio::sync::mpsc;

/// The secret of both sides. A real one is random and comes from a vault.
const SECRET: &str = "not a secret at all";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (received, mut bodies) = mpsc::unbounded_channel();
    let url = receive(received).await?;
    let sim_config = SimConfig::default();
    let (sol, usdc) = (sim_config.tokens[0].clone(), sim_config.tokens[1].clone());
    let sim = Simulator::open(sim_config, Runtime::tokio()).await?;
    let webhook = WebhookConfig {
        name: "webhook".into(),
        url,
        secrets: vec![Secret::new(SECRET)],
        timeout: Duration::from_secs(5),
    };
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .router(sim.router())
        .venue(sim.venue())
        .sink(Arc::new(WebhookSink::new(webhook)?))
        .build()
        .await?;
    tokio::spawn(engine.run(10));
    let amount = Amount::parse_human("1.5", sol.decimals)?;
    let request = OrderRequest::new("alice", sol, usdc, amount);
    engine.submit(request).await?;
    while let Some(body) = bodies.recv().await {
        for event in &body.events {
            println!("{} #{} {} {}", body.order_id, event.seq, event.status, event.message);
        }
        if body.events.last().is_some_and(|event| matches!(event.status, Status::Confirmed | Status::Failed))
        {
            break;
        }
    }
    Ok(engine.shutdown(Duration::from_secs(10)).await?)
}

/// Starts a receiver, and returns its URL.
async fn receive(received: mpsc::UnboundedSender<WebhookBody>) -> Result<String, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    let clock = Arc::new(TokioClock::new());
    let handler = move |headers: HeaderMap, body: Bytes| {
        let answer = take(&headers, &body, &*clock, &received);
        async move { answer }
    };
    let routes = Router::new().route("/orders", post(handler));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

/// Handles a request as a receiver should: checks the signature, takes the events, and only then answers 2xx.
fn take(
    headers: &HeaderMap,
    body: &Bytes,
    clock: &dyn Clock,
    received: &mpsc::UnboundedSender<WebhookBody>,
) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let headers = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].map(header);
    let tolerance = Duration::from_mins(5);
    if verify(&Secret::new(SECRET), headers, body, clock.now(), tolerance).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    match serde_json::from_slice(body) {
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Ok(body) => match received.send(body) {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        },
    }
}
