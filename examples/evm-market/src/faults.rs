//! A node that loses, delays and doubles calls, is busy, lags behind, and lies about what it does not show.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{hex, keccak256};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What goes wrong, in calls of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Transactions that the node takes and forgets.
    pub dropped: u64,
    /// Calls that have their effect, but whose answer is lost.
    pub replies_lost: u64,
    /// Transactions that the node sends on twice.
    pub doubled: u64,
    /// Requests that wait up to half a second.
    pub delayed: u64,
    /// Requests that are refused because the node is busy.
    pub busy: u64,
    /// Receipts of which the node says that there are none.
    pub denied: u64,
    /// By how many blocks the node is behind.
    pub lag_blocks: u64,
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
    /// Requests that waited.
    pub delayed: u64,
    /// Requests that were refused.
    pub busy: u64,
    /// Receipts that were denied.
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
    dice: Mutex<u64>,
    struck: Mutex<Struck>,
}

impl FaultyNode {
    /// Starts a node before another one.
    pub async fn start(url: &str, faults: Faults, seed: u64) -> Self {
        let behind = Arc::new(Behind {
            url: url.to_owned(),
            http: reqwest::Client::new(),
            faults,
            dice: Mutex::new(0x9e37_79b9_7f4a_7c15 ^ seed),
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
        let lies = Faults { denied: 300, lag_blocks: 3, replies_lost: 50, dropped: 300, ..Faults::default() };
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

async fn answer(
    State(node): State<Arc<Behind>>,
    Json(request): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    if node.strikes(node.faults.busy, |struck| &mut struck.busy) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    if node.strikes(node.faults.delayed, |struck| &mut struck.delayed) {
        let wait_ms = node.below(500);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    let answer = match request {
        Value::Array(calls) => {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                answers.push(node.one(call).await?);
            }
            Value::Array(answers)
        }
        call => node.one(call).await?,
    };
    if node.strikes(node.faults.replies_lost, |struck| &mut struck.replies_lost) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(answer))
}

impl Behind {
    /// Throws the dice: Marsaglia's xorshift.
    fn below(&self, end: u64) -> u64 {
        let mut state = self.dice.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % end
    }

    /// Throws the dice, and counts if it strikes.
    fn strikes(&self, rate: u64, count: impl FnOnce(&mut Struck) -> &mut u64) -> bool {
        let strikes = self.below(1_000) < rate;
        if strikes {
            *count(&mut self.struck.lock().unwrap()) += 1;
        }
        strikes
    }

    async fn pass_on(&self, call: &Value) -> Result<Value, StatusCode> {
        let lost = |_| StatusCode::BAD_GATEWAY;
        self.http.post(&self.url).json(call).send().await.map_err(lost)?.json().await.map_err(lost)
    }

    /// Answers one call.
    async fn one(&self, call: Value) -> Result<Value, StatusCode> {
        let Faults { dropped, doubled, denied, .. } = self.faults;
        let method = call["method"].as_str().unwrap_or_default().to_owned();
        if method == "eth_sendRawTransaction" {
            if self.strikes(dropped, |struck| &mut struck.dropped) {
                return Ok(taken(&call));
            }
            if self.strikes(doubled, |struck| &mut struck.doubled) {
                self.pass_on(&call).await?;
            }
        }
        let mut honest = self.pass_on(&self.lagging(&method, call).await?).await?;
        if method == "eth_getTransactionReceipt" && !honest["result"].is_null() {
            let is_ahead = self.is_ahead(&honest["result"]["blockNumber"]).await?;
            if is_ahead || self.strikes(denied, |struck| &mut struck.denied) {
                honest["result"] = Value::Null;
            }
        }
        Ok(honest)
    }

    /// Returns the call with the blocks that this node has in the place of those that it should have.
    async fn lagging(&self, method: &str, mut call: Value) -> Result<Value, StatusCode> {
        let place = match method {
            "eth_getBlockByNumber" => 0,
            "eth_getTransactionCount" => 1,
            _ => return Ok(call),
        };
        let Some(tag @ ("latest" | "safe" | "finalized")) = call["params"][place].as_str() else {
            return Ok(call);
        };
        if self.faults.lag_blocks > 0 {
            let height = self.height(tag).await?.saturating_sub(self.faults.lag_blocks);
            call["params"][place] = json!(format!("{height:#x}"));
        }
        Ok(call)
    }

    /// Whether a block is one that this node does not have yet.
    async fn is_ahead(&self, block: &Value) -> Result<bool, StatusCode> {
        if self.faults.lag_blocks == 0 {
            return Ok(false);
        }
        Ok(number(block) + self.faults.lag_blocks > self.height("latest").await?)
    }

    async fn height(&self, tag: &str) -> Result<u64, StatusCode> {
        let call =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": [tag, false] });
        Ok(number(&self.pass_on(&call).await?["result"]["number"]))
    }
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()).unwrap_or(0)
}

/// Returns the answer of a node that took a transaction.
fn taken(call: &Value) -> Value {
    let bytes = hex::decode(call["params"][0].as_str().unwrap()).unwrap();
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": keccak256(bytes) })
}
