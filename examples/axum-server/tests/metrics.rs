//! The metrics of the server. They are tested in a program of their own, because a process has one recorder.

mod common;

use common::{TestServer, text};
use order_engine_server::{Metrics, Options};
use serde_json::json;

/// Returns the value of a metric in the text format of Prometheus.
fn value(metrics: &str, name_and_labels: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name_and_labels} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn orders_steps_and_lags_are_measured() {
    let metrics = Metrics::install().unwrap();
    let server = TestServer::with(Options { metrics: Some(metrics), ..Options::default() }).await;
    server.work();
    let order = server.place(&json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1.5"})).await;
    let client = server.connect(&format!("/ws/orders/{}", text(&order, "orderId"))).await;
    let (frames, _) = client.drain().await;
    assert_eq!(frames.last().unwrap()["type"], "confirmed");

    let response = server.get("/metrics").await;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let body = response.text().await.unwrap();
    for status in ["pending", "routing", "building", "submitted", "confirmed"] {
        let reached = value(&body, &format!("order_engine_orders_total{{status=\"{status}\"}}"));
        assert_eq!(reached, Some(1.0), "{status}\n{body}");
    }
    for step in ["create", "quote", "prepare", "append", "submit", "observe"] {
        let count = value(&body, &format!("order_engine_step_seconds_count{{step=\"{step}\"}}"));
        assert!(count.is_some_and(|count| count >= 1.0), "{step}\n{body}");
    }
    let ended = value(&body, "order_engine_order_seconds_count{status=\"confirmed\"}");
    assert_eq!(ended, Some(1.0), "{body}");
    assert!(
        value(&body, "order_engine_fanout_lag_seconds_count").is_some_and(|events| events >= 8.0),
        "{body}"
    );
    assert!(value(&body, "order_engine_server_streams").is_some(), "{body}");
    assert!(body.contains("# HELP order_engine_orders_total "), "{body}");
}
