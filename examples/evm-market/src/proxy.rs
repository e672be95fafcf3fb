//! A node that is not what it should be: it passes calls on to an honest one, and changes the answers.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::task::JoinHandle;

/// What a node does with a call and the honest answer to it: it changes the answer, or says the status of an error instead.
type Change = Box<dyn FnMut(&Value, &mut Value) -> Result<(), u16> + Send>;

/// A node on a free port, which ends when this is dropped.
pub struct Proxy {
    /// Where it is called.
    pub url: String,
    task: JoinHandle<()>,
}

struct Behind {
    url: String,
    http: reqwest::Client,
    /// The methods that never reach the honest node; the answer to them is `null` before it is changed.
    kept: &'static [&'static str],
    change: Mutex<Change>,
}

impl Proxy {
    /// Starts a node that changes the answers of the one behind it.
    pub async fn start(
        url: &str,
        change: impl FnMut(&Value, &mut Value) -> Result<(), u16> + Send + 'static,
    ) -> Self {
        Self::keeping(url, &[], change).await
    }

    /// Starts a node that does not pass on calls of some methods.
    pub async fn keeping(
        url: &str,
        kept: &'static [&'static str],
        change: impl FnMut(&Value, &mut Value) -> Result<(), u16> + Send + 'static,
    ) -> Self {
        let change: Mutex<Change> = Mutex::new(Box::new(change));
        let behind = Behind { url: url.to_owned(), http: reqwest::Client::new(), kept, change };
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

/// Answers a call, or each call of a batch.
async fn answer(
    State(behind): State<Arc<Behind>>,
    Json(request): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    match request {
        Value::Array(calls) => {
            let mut answers = Vec::with_capacity(calls.len());
            for call in &calls {
                answers.push(one(&behind, call).await?);
            }
            Ok(Json(Value::Array(answers)))
        }
        call => Ok(Json(one(&behind, &call).await?)),
    }
}

async fn one(behind: &Behind, call: &Value) -> Result<Value, StatusCode> {
    let lost = |_| StatusCode::BAD_GATEWAY;
    let method = call["method"].as_str().unwrap_or_default();
    let mut answer = if behind.kept.contains(&method) {
        serde_json::json!({ "jsonrpc": "2.0", "id": call["id"], "result": null })
    } else {
        let honest = behind.http.post(&behind.url).json(call).send().await.map_err(lost)?;
        honest.json().await.map_err(lost)?
    };
    let changed = (behind.change.lock().unwrap())(call, &mut answer);
    changed.map(|()| answer).map_err(|status| StatusCode::from_u16(status).unwrap())
}
