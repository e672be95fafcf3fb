//! A node that loses, delays and doubles calls, is busy, lags behind, and lies about what it does not show.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::pools::Dice;

/// What goes wrong, in calls of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Transactions that the node takes and forgets.
    pub dropped: u64,
    /// Calls that have their effect, but whose answer is lost.
    pub replies_lost: u64,
    /// Transactions that the node sends on twice.
    pub doubled: u64,
    /// Calls that wait up to half a second.
    pub delayed: u64,
    /// Calls that are refused because the node is busy.
    pub busy: u64,
    /// Transactions of which the node says, in one answer, that it does not know them.
    pub denied: u64,
    /// By how many slots the node is behind.
    pub lag_slots: u64,
}

/// How often something went wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Struck {
    /// Transactions that were dropped.
    pub dropped: u64,
    /// Answers that were lost.
    pub replies_lost: u64,
    /// Transactions that were sent on twice.
    pub doubled: u64,
    /// Calls that waited.
    pub delayed: u64,
    /// Calls that were refused.
    pub busy: u64,
    /// Transactions that were denied.
    pub denied: u64,
}

/// A faulty node on a free port, which ends when this is dropped.
pub struct FaultyNode {
    /// Where it is.
    pub url: String,
    behind: Arc<Behind>,
    task: JoinHandle<()>,
}

struct Behind {
    url: String,
    http: reqwest::Client,
    faults: Faults,
    dice: Mutex<Dice>,
    struck: Mutex<Struck>,
}

impl FaultyNode {
    /// Starts a node before another one.
    pub async fn start(url: &str, faults: Faults, seed: u64) -> Self {
        let behind = Arc::new(Behind {
            url: url.to_owned(),
            http: reqwest::Client::new(),
            faults,
            dice: Mutex::new(Dice::new(seed)),
            struck: Mutex::default(),
        });
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&behind));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, behind, task }
    }

    /// Starts three nodes, each of which does wrong what others do not: with a quorum of two, what happens to an order is
    /// still told right.
    pub async fn three(url: &str) -> [Self; 3] {
        let loses = Faults { dropped: 200, replies_lost: 100, delayed: 100, ..Faults::default() };
        let lies = Faults { denied: 300, lag_slots: 20, replies_lost: 50, dropped: 300, ..Faults::default() };
        let busy = Faults { busy: 100, doubled: 300, delayed: 200, dropped: 200, ..Faults::default() };
        [Self::start(url, loses, 1).await, Self::start(url, lies, 2).await, Self::start(url, busy, 3).await]
    }

    /// Returns how often something went wrong.
    pub fn struck(&self) -> Struck {
        *self.behind.struck.lock().unwrap()
    }
}

impl Drop for FaultyNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Behind {
    /// Throws the dice, and counts if it strikes.
    fn strikes(&self, rate: u64, count: impl FnOnce(&mut Struck) -> &mut u64) -> bool {
        let strikes = self.dice.lock().unwrap().below(1_000) < rate;
        if strikes {
            *count(&mut self.struck.lock().unwrap()) += 1;
        }
        strikes
    }

    async fn pass_on(&self, call: &Value) -> Result<Value, StatusCode> {
        let lost = |_| StatusCode::BAD_GATEWAY;
        self.http.post(&self.url).json(call).send().await.map_err(lost)?.json().await.map_err(lost)
    }
}

async fn answer(State(node): State<Arc<Behind>>, Json(call): Json<Value>) -> Result<Json<Value>, StatusCode> {
    let Faults { dropped, replies_lost, doubled, delayed, busy, .. } = node.faults;
    let method = call["method"].as_str().unwrap_or_default();
    if node.strikes(busy, |struck| &mut struck.busy) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    if node.strikes(delayed, |struck| &mut struck.delayed) {
        let wait_ms = node.dice.lock().unwrap().below(500);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    if method == "sendTransaction" {
        if node.strikes(dropped, |struck| &mut struck.dropped) {
            return Ok(Json(taken(&call)));
        }
        if node.strikes(doubled, |struck| &mut struck.doubled) {
            node.pass_on(&call).await?;
        }
    }
    let mut honest = node.pass_on(&call).await?;
    if node.strikes(replies_lost, |struck| &mut struck.replies_lost) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    node.distort(method, &mut honest["result"]);
    Ok(Json(honest))
}

/// Returns the answer of a node that took a transaction.
pub(crate) fn taken(call: &Value) -> Value {
    let bytes = STANDARD.decode(call["params"][0].as_str().unwrap()).unwrap();
    let id = bs58::encode(&bytes[1..65]).into_string();
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": id })
}

impl Behind {
    /// Makes the answer that of a node that is behind, and that denies what it knows.
    fn distort(&self, method: &str, result: &mut Value) {
        let lag = self.faults.lag_slots;
        let behind = |number: &mut Value| {
            if let Some(honest) = number.as_u64() {
                *number = honest.saturating_sub(lag).into();
            }
        };
        match method {
            "getBlockHeight" => behind(result),
            "getEpochInfo" => {
                behind(&mut result["absoluteSlot"]);
                behind(&mut result["blockHeight"]);
            }
            "getSignatureStatuses" => {
                let newest = result["context"]["slot"].as_u64().unwrap_or(0).saturating_sub(lag);
                behind(&mut result["context"]["slot"]);
                for status in result["value"].as_array_mut().into_iter().flatten() {
                    let is_ahead = status["slot"].as_u64().is_some_and(|slot| slot > newest);
                    if is_ahead
                        || (!status.is_null()
                            && self.strikes(self.faults.denied, |struck| &mut struck.denied))
                    {
                        *status = Value::Null;
                    }
                }
            }
            _ => {}
        }
    }
}
