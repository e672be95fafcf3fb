//! A node that is not what it should be: it passes calls on to an honest one, and changes the answers.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::task::JoinHandle;

/// What a node does with the honest answer to a method: it changes it, or says the status of an error instead.
type Change = Box<dyn FnMut(&str, &mut Value) -> Result<(), u16> + Send>;

/// A node on a free port, which ends when this is dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

struct Behind {
    url: String,
    http: reqwest::Client,
    change: Mutex<Change>,
}

impl Proxy {
    pub(crate) async fn start(
        url: &str,
        change: impl FnMut(&str, &mut Value) -> Result<(), u16> + Send + 'static,
    ) -> Self {
        let behind = Behind {
            url: url.to_owned(),
            http: reqwest::Client::new(),
            change: Mutex::new(Box::new(change)),
        };
        let router = Router::new().route("/", post(answer)).with_state(Arc::new(behind));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(behind): State<Arc<Behind>>,
    Json(call): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let lost = |_| StatusCode::BAD_GATEWAY;
    let honest = behind.http.post(&behind.url).json(&call).send().await.map_err(lost)?;
    let mut answer: Value = honest.json().await.map_err(lost)?;
    let method = call["method"].as_str().unwrap_or_default();
    let changed = (behind.change.lock().unwrap())(method, &mut answer);
    changed.map(|()| Json(answer)).map_err(|status| StatusCode::from_u16(status).unwrap())
}
