//! A node that is not what it should be: it passes calls on to an honest one, and changes the answers.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::faults::taken;

/// What a node does with the honest answer to a method: it changes it, or says the status of an error instead.
type Change = Box<dyn FnMut(&str, &mut Value) -> Result<(), u16> + Send>;

/// A node on a free port, which ends when this is dropped.
pub struct Proxy {
    /// Where it is.
    pub url: String,
    task: JoinHandle<()>,
}

/// Whether a node keeps this call for itself, and what it answers then.
type Keep = Box<dyn FnMut(&Value) -> Option<Value> + Send>;

struct Behind {
    url: String,
    http: reqwest::Client,
    keep: Mutex<Keep>,
    change: Mutex<Change>,
}

impl Proxy {
    /// Starts a node that changes the answers of the one behind it.
    pub async fn start(
        url: &str,
        change: impl FnMut(&str, &mut Value) -> Result<(), u16> + Send + 'static,
    ) -> Self {
        Self::with(url, Box::new(|_| None), Box::new(change)).await
    }

    /// Starts a node that takes as many transactions as `lost` says, and drops them.
    pub async fn losing(url: &str, lost: Arc<AtomicUsize>) -> Self {
        let keep = move |call: &Value| {
            let is_lost = call["method"] == "sendTransaction"
                && lost.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            is_lost.then(|| taken(call))
        };
        Self::with(url, Box::new(keep), Box::new(|_, _| Ok(()))).await
    }

    async fn with(url: &str, keep: Keep, change: Change) -> Self {
        let (keep, change) = (Mutex::new(keep), Mutex::new(change));
        let behind = Behind { url: url.to_owned(), http: reqwest::Client::new(), keep, change };
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
    if let Some(kept) = (behind.keep.lock().unwrap())(&call) {
        return Ok(Json(kept));
    }
    let lost = |_| StatusCode::BAD_GATEWAY;
    let honest = behind.http.post(&behind.url).json(&call).send().await.map_err(lost)?;
    let mut answer: Value = honest.json().await.map_err(lost)?;
    let method = call["method"].as_str().unwrap_or_default();
    let changed = (behind.change.lock().unwrap())(method, &mut answer);
    changed.map(|()| Json(answer)).map_err(|status| StatusCode::from_u16(status).unwrap())
}
