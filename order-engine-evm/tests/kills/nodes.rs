//! Nodes that lose, delay and repeat calls, are busy, lag behind, and lie about what they do not show. Each has a pool of transactions
//! of its own, from which blocks are made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use order_engine_evm::{Address, B256};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::dice::Dice;
use crate::pool::{RawTx, Refusal, TxPool};

/// What is known of the chain without asking it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) head: AtomicU64,
    /// The numbers of blocks by their hashes, as they are written.
    pub(crate) blocks: Mutex<BTreeMap<String, u64>>,
    /// The next nonce of each wallet.
    pub(crate) nonces: Mutex<BTreeMap<Address, u64>>,
    /// Every transaction that was sent to a node, also those that it has lost or refused.
    pub(crate) sent: Mutex<BTreeMap<B256, RawTx>>,
}

/// What goes wrong, in calls of a thousand.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Transactions that the node takes and forgets.
    dropped: u64,
    /// Calls that have their effect, but whose answer is lost.
    replies_lost: u64,
    /// Transactions that the node takes twice.
    doubled: u64,
    /// Calls that wait up to a third of a second.
    delayed: u64,
    /// Calls that are refused because the node is busy.
    busy: u64,
    /// Transactions and receipts of which the node says, in one answer, that it does not know them.
    denied: u64,
    /// By how many blocks the node is behind.
    lag: u64,
}

/// How often something went wrong, by its name.
pub(crate) type Struck = BTreeMap<&'static str, u64>;

/// A faulty node on a free port, which ends when this is dropped.
pub(crate) struct FaultyNode {
    pub(crate) url: String,
    behind: Arc<Behind>,
    task: JoinHandle<()>,
}

struct Behind {
    url: String,
    http: reqwest::Client,
    faults: Faults,
    dice: Mutex<Dice>,
    struck: Mutex<Struck>,
    known: Arc<Known>,
    pool: Arc<Mutex<TxPool>>,
}

impl FaultyNode {
    /// Starts three nodes, each of which does wrong what others do not: a quorum of two still tells what happens to an
    /// order.
    pub(crate) async fn three(url: &str, known: &Arc<Known>, seed: u64) -> [Self; 3] {
        let loses = Faults { dropped: 200, replies_lost: 60, delayed: 60, ..Faults::default() };
        let lies = Faults { denied: 300, lag: 2, replies_lost: 30, dropped: 300, ..Faults::default() };
        let busy = Faults { busy: 60, doubled: 300, delayed: 100, dropped: 200, ..Faults::default() };
        [
            Self::start(url, loses, known, seed).await,
            Self::start(url, lies, known, seed + 1).await,
            Self::start(url, busy, known, seed + 2).await,
        ]
    }

    async fn start(url: &str, faults: Faults, known: &Arc<Known>, seed: u64) -> Self {
        let behind = Arc::new(Behind {
            url: url.to_owned(),
            http: reqwest::Client::new(),
            faults,
            dice: Mutex::new(Dice::new(seed)),
            struck: Mutex::default(),
            known: Arc::clone(known),
            pool: Arc::default(),
        });
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&behind));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, behind, task }
    }

    pub(crate) fn pool(&self) -> Arc<Mutex<TxPool>> {
        Arc::clone(&self.behind.pool)
    }

    /// Returns how often something went wrong.
    pub(crate) fn struck(&self) -> Struck {
        self.behind.struck.lock().unwrap().clone()
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
    if node.strikes("busy", node.faults.busy) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    if node.strikes("delayed", node.faults.delayed) {
        let wait_ms = node.dice.lock().unwrap().below(333);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    let answer = match request {
        Value::Array(calls) => Value::Array(node.all(calls).await?),
        call if call["method"] == "eth_sendRawTransaction" => node.take(&call),
        call => node.all(vec![call]).await?.swap_remove(0),
    };
    if node.strikes("replies lost", node.faults.replies_lost) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(answer))
}

impl Behind {
    /// Throws the dice, and counts if it strikes.
    fn strikes(&self, what: &'static str, per_mille: u64) -> bool {
        let strikes = self.dice.lock().unwrap().strikes(per_mille);
        if strikes {
            self.count(what);
        }
        strikes
    }

    fn count(&self, what: &'static str) {
        *self.struck.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Returns the newest block that this node shows.
    fn head(&self) -> u64 {
        self.known.head.load(Relaxed).saturating_sub(self.faults.lag)
    }

    /// Passes calls on, and changes the answers to those of a node that is behind and lies.
    async fn all(&self, mut calls: Vec<Value>) -> Result<Vec<Value>, StatusCode> {
        let head = self.head();
        if self.faults.lag > 0 {
            for call in &mut calls {
                self.as_of(call, head);
            }
        }
        let lost = |_| StatusCode::BAD_GATEWAY;
        let answers = self.http.post(&self.url).json(&calls).send().await.map_err(lost)?;
        let mut answers: Vec<Value> = answers.json().await.map_err(lost)?;
        for call in &calls {
            let answer = answers.iter_mut().find(|answer| answer["id"] == call["id"]);
            self.distort(call, &mut answer.ok_or(StatusCode::BAD_GATEWAY)?["result"], head);
        }
        Ok(answers)
    }

    fn distort(&self, call: &Value, result: &mut Value, head: u64) {
        let is_later =
            |number: &Value| self.faults.lag > 0 && quantity(number).is_some_and(|number| number > head);
        match call["method"].as_str().unwrap_or_default() {
            "eth_blockNumber" if is_later(result) => *result = hex(head),
            "eth_getBlockByNumber" if is_later(&result["number"]) => *result = Value::Null,
            "eth_getTransactionReceipt" | "eth_getTransactionByHash"
                if !result.is_null()
                    && (is_later(&result["blockNumber"]) || self.strikes("denied", self.faults.denied)) =>
            {
                *result = Value::Null;
            }
            _ => {}
        }
    }

    /// Makes a call one about the state in this block, where it asks for the newest one or what is counted from it, and about one that
    /// nobody has, where it asks for a later one.
    fn as_of(&self, call: &mut Value, head: u64) {
        let place = match call["method"].as_str().unwrap_or_default() {
            "eth_getBlockByNumber" => 0,
            "eth_getTransactionCount"
            | "eth_call"
            | "eth_estimateGas"
            | "eth_getBalance"
            | "eth_simulateV1" => 1,
            _ => return,
        };
        let block = &mut call["params"][place];
        let by_hash = block["blockHash"].as_str();
        if by_hash.is_some_and(|hash| self.known.blocks.lock().unwrap().get(hash) > Some(&head)) {
            block["blockHash"] = json!(B256::ZERO);
            return;
        }
        match block.as_str() {
            Some(_) if quantity(block).is_some_and(|number| number > head) => {
                *block = hex(u64::from(u32::MAX));
            }
            Some("latest" | "pending") => *block = hex(head),
            Some("safe") => *block = hex(head.saturating_sub(4)),
            Some("finalized") => *block = hex(head.saturating_sub(8)),
            _ => {}
        }
    }

    /// Takes a transaction into the pool, or says why not in the words of a real node.
    fn take(&self, call: &Value) -> Value {
        let bytes = call["params"][0].as_str().expect("the transaction is text");
        let tx = RawTx::read(bytes.parse().expect("it is in hexadecimal digits"));
        self.known.sent.lock().unwrap().insert(tx.hash, tx.clone());
        let refused = |message: String| json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32_000, "message": message } });
        let taken = json!({ "jsonrpc": "2.0", "id": call["id"], "result": tx.hash });
        let next = self.known.nonces.lock().unwrap().get(&tx.sender).copied().unwrap_or(0);
        if tx.nonce < next {
            return refused(format!("nonce too low: next nonce {next}, tx nonce {}", tx.nonce));
        }
        if self.strikes("dropped", self.faults.dropped) {
            return taken;
        }
        let mut pool = self.pool.lock().unwrap();
        let added = pool.add(&tx);
        if self.strikes("doubled", self.faults.doubled) {
            assert_ne!(pool.add(&tx), Ok(()), "the same bytes have no second effect");
        }
        match added {
            Ok(()) => taken,
            Err(Refusal::Known) => refused("already known".into()),
            Err(Refusal::Underpriced) => {
                self.count("refused as underpriced");
                refused("replacement transaction underpriced".into())
            }
        }
    }
}

pub(crate) fn hex(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

pub(crate) fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
