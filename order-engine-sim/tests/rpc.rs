//! The chain behind JSON-RPC: the shape of its messages, and an engine that trades through it.
#![cfg(all(feature = "rpc-client", feature = "rpc-server"))]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use common::{order, token};
use order_engine_core::testing::LatestNonce;
use order_engine_core::{
    Amount, DexRouter, Engine, EngineConfig, Fence, MemoryStore, Observation, OrderRequest, PrepareRequest,
    Runtime, SignedTx, Status, StepError, Submission, SubmitReport, TxRef, Venue, best,
};
use order_engine_sim::rpc::{RpcClient, RpcOptions, RpcRouter, RpcVenue, serve};
use order_engine_sim::{FaultConfig, Rate, SimConfig, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::test]
async fn the_key_in_a_nodes_url_is_not_shown() {
    const SECRET: &str = "planted-canary";
    for node in ["127.0.0.1:1", "no-such-host.invalid", "["] {
        let options = RpcOptions::new(format!("http://a:{SECRET}@{node}/{SECRET}?key={SECRET}"));
        let client = RpcClient::new(options.clone().with_retries(0), Runtime::tokio()).unwrap();
        let router = RpcRouter::new(&client);
        let error = router.refresh().await.unwrap_err();
        let shown = format!("{options:?} {client:?} {router:?} {error} {error:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
            cause = error.source();
        }
    }
}

/// A chain with an RPC server.
struct Node {
    url: String,
    sim: Simulator,
}

impl Node {
    async fn start(config: SimConfig) -> Self {
        let sim = Simulator::open(config, Runtime::tokio()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, sim.clone(), std::future::pending()));
        Self { url, sim }
    }

    /// Calls a method as any client of a Solana node would.
    async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = reqwest::Client::new().post(&self.url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(1)));
        answer
    }

    async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn trading(&self) -> (RpcRouter, RpcVenue) {
        let client = RpcClient::new(RpcOptions::new(&self.url), Runtime::tokio()).unwrap();
        let router = RpcRouter::new(&client);
        let venue = RpcVenue::new(client, &router);
        (router, venue)
    }
}

/// Returns a chain whose transactions are final at once.
fn instant() -> SimConfig {
    SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() }
}

fn faulty(faults: FaultConfig) -> SimConfig {
    SimConfig { faults, ..instant() }
}

async fn prepare(router: &RpcRouter, venue: &RpcVenue, slippage_bps: u16) -> Result<SignedTx, StepError> {
    let order = order(1);
    let candidates = router.quote(&order.request.quote_request()).await?;
    let route = best(&candidates).expect("a pool takes the order").clone();
    let min_amount_out = route.amount_out.less_slippage(slippage_bps);
    let fence = Fence { epoch: 1, owner: 1 };
    venue.prepare(PrepareRequest::new(&order, &route, min_amount_out, fence, &LatestNonce)).await
}

fn base64(tx: &SignedTx) -> String {
    serde_json::to_value(tx).unwrap()["bytes"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn methods_answer_in_the_shapes_of_solana() {
    let node = Node::start(instant()).await;
    assert_eq!(node.result("getHealth", Value::Null).await, "ok");
    let finalized = node.result("getBlockHeight", json!([])).await.as_u64().unwrap();
    let processed =
        node.result("getBlockHeight", json!([{ "commitment": "processed" }])).await.as_u64().unwrap();
    assert!(finalized + 32 <= processed, "{finalized} {processed}");
    assert!(node.result("getSlot", json!([{ "commitment": "confirmed" }])).await.as_u64() >= Some(finalized));

    let latest = node.result("getLatestBlockhash", json!([{ "commitment": "processed" }])).await;
    assert!(latest["context"]["slot"].is_u64());
    let blockhash = latest["value"]["blockhash"].as_str().unwrap();
    assert!(latest["value"]["lastValidBlockHeight"].as_u64().unwrap() >= processed + 150);
    assert_eq!(node.result("isBlockhashValid", json!([blockhash])).await["value"], true);
    let unknown = "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N";
    assert_eq!(node.result("isBlockhashValid", json!([unknown])).await["value"], false);

    let (router, venue) = node.trading();
    let tx = prepare(&router, &venue, 50).await.unwrap();
    let settings = json!({ "encoding": "base64" });
    let simulated = node.result("simulateTransaction", json!([base64(&tx), settings])).await;
    assert_eq!(simulated["value"], json!({ "err": null, "logs": [] }));
    assert_eq!(node.result("sendTransaction", json!([base64(&tx), settings])).await, json!(tx.id));
    assert_eq!(node.result("sendTransaction", json!([base64(&tx), settings])).await, json!(tx.id));

    let ids = json!([[tx.id, "unknown"], { "searchTransactionHistory": true }]);
    let statuses = node.result("getSignatureStatuses", ids).await;
    let [status, absent] = &statuses["value"].as_array().unwrap()[..] else { panic!("{statuses}") };
    assert_eq!(*absent, Value::Null);
    assert_eq!((&status["confirmationStatus"], &status["err"]), (&json!("finalized"), &Value::Null));
    assert_eq!((&status["status"], &status["confirmations"]), (&json!({ "Ok": null }), &Value::Null));
    assert_eq!(status["sim"]["executed"], true);

    let pools = node.result("simPools", Value::Null).await;
    assert!(pools.as_array().unwrap().iter().all(|pool| pool["id"].is_string()), "{pools}");
    let ledger = node.result("simLedger", json!([order(1).id])).await;
    assert_eq!(ledger.as_array().unwrap().len(), 1);
    assert_eq!((&ledger[0]["txId"], &ledger[0]["executed"]), (&json!(tx.id), &json!(true)));
}

#[tokio::test]
async fn invalid_calls_are_refused_with_the_codes_of_json_rpc() {
    let node = Node::start(instant()).await;
    let code = |answer: Value| answer["error"]["code"].as_i64().unwrap();
    assert_eq!(code(node.call("getNothing", Value::Null).await), -32_601);
    assert_eq!(code(node.call("sendTransaction", json!([])).await), -32_602);
    assert_eq!(code(node.call("sendTransaction", json!(["not base58: 0OIl"])).await), -32_602);
    assert_eq!(code(node.call("getBlockHeight", json!([{ "commitment": "soon" }])).await), -32_602);
    let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    assert_eq!(code(node.call("getSignatureStatuses", json!([many])).await), -32_602);
    let http = reqwest::Client::new();
    for (body, code) in [("{", -32_700), ("{}", -32_600), ("[]", -32_600), ("7", -32_600)] {
        let answer: Value = http.post(&node.url).body(body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["error"]["code"], code, "{body}");
    }
}

#[tokio::test]
async fn slippage_is_found_before_anything_is_sent() {
    let node = Node::start(instant()).await;
    let (router, venue) = node.trading();
    let order = order(1);
    let candidates = router.quote(&order.request.quote_request()).await.unwrap();
    let route = best(&candidates).unwrap().clone();
    let min_amount_out = Amount::new(route.amount_out.base_units() * 2);
    let fence = Fence { epoch: 1, owner: 1 };
    let request = PrepareRequest::new(&order, &route, min_amount_out, fence, &LatestNonce);
    let refused = venue.prepare(request).await.unwrap_err();
    assert_eq!(refused.failure.code.as_str(), "slippage");
    assert!(refused.failure.message.contains("below the minimum"), "{refused}");
    assert!(node.sim.executions(None).is_empty());
}

#[tokio::test]
async fn a_lost_reply_is_ambiguous_and_the_same_bytes_have_one_effect() {
    let node =
        Node::start(faulty(FaultConfig { lost_reply_rate: Rate::ALWAYS, ..FaultConfig::default() })).await;
    let (router, venue) = node.trading();
    let tx = prepare(&router, &venue, 50).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(venue.submit(&tx).await, SubmitReport::Ambiguous { .. }));
    }
    node.sim.set_faults(FaultConfig::default());
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    let observed = venue.observe(&[TxRef::from(&tx)]).await.unwrap();
    assert!(matches!(observed[..], [Observation::Landed { .. }]), "{observed:?}");
    assert_eq!(node.sim.executions(None).len(), 1);
}

#[tokio::test]
async fn a_history_with_gaps_proves_no_absence() {
    let pruned =
        FaultConfig { history_prune_rate: Rate::ALWAYS, history_kept_slots: 5, ..FaultConfig::default() };
    let lagging =
        FaultConfig { history_lag_rate: Rate::ALWAYS, history_lag_slots: 1_000, ..FaultConfig::default() };
    for (faults, is_complete) in [(FaultConfig::default(), true), (pruned, false), (lagging, false)] {
        let node = Node::start(faulty(faults)).await;
        let (_, venue) = node.trading();
        let view = venue.view().await.unwrap();
        assert!(view.finalized < view.confirmed && view.confirmed < view.processed);
        let observed = venue.observe(&[TxRef::by_id(&"unknown".into())]).await.unwrap();
        let [Observation::NotFound { searched_through, .. }] = observed[..] else { panic!("{observed:?}") };
        assert_eq!(searched_through.is_some(), is_complete, "{faults:?}");
        assert!(searched_through.is_none_or(|searched| searched >= view.finalized), "{faults:?}");
    }
}

#[tokio::test]
async fn a_node_that_lags_reports_its_own_heights() {
    let node = Node::start(instant()).await;
    let (router, venue) = node.trading();
    let view = venue.view().await.unwrap();
    let tx = prepare(&router, &venue, 50).await.unwrap();
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    // The next node is a thousand slots behind, and answers of other nodes do not count for it.
    let lagging =
        FaultConfig { node_lag_rate: Rate::ALWAYS, node_lag_slots: 1_000, ..FaultConfig::default() };
    node.sim.set_faults(lagging);
    let observed = venue.observe(&[TxRef::from(&tx)]).await.unwrap();
    let [Observation::NotFound { searched_through: Some(searched), .. }] = observed[..] else {
        panic!("{observed:?}")
    };
    assert!(searched < view.finalized && searched + 1_000 >= view.finalized, "{searched} {view:?}");
    let behind = venue.view().await.unwrap();
    assert!(behind.processed < view.finalized && behind.finalized < behind.confirmed, "{behind:?}");
    let raw = node.result("getSignatureStatuses", json!([[tx.id]])).await;
    assert!(raw["context"]["finalizedSlot"].as_u64() < Some(view.finalized), "{raw}");
}

/// Starts a server that answers every call with a status. Returns its URL and its count of calls.
async fn answering(status: StatusCode) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let handler = move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        status
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    (url, calls)
}

/// Returns a client with a short time-out.
fn impatient(url: &str) -> RpcClient {
    let mut options = RpcOptions::new(url);
    options.timeout = Duration::from_millis(50);
    options.backoff.initial = Duration::from_millis(1);
    RpcClient::new(options, Runtime::tokio()).unwrap()
}

fn some_tx() -> SignedTx {
    serde_json::from_value(json!({
        "id": "tx", "bytes": "AQID", "validity": { "until_height": 7 }, "min_amount_out": "1",
    }))
    .unwrap()
}

#[tokio::test]
async fn queries_are_retried_and_submissions_are_not() {
    for (status, tries) in
        [(StatusCode::SERVICE_UNAVAILABLE, 4), (StatusCode::TOO_MANY_REQUESTS, 4), (StatusCode::FORBIDDEN, 1)]
    {
        let (url, calls) = answering(status).await;
        let client = impatient(&url);
        let venue = RpcVenue::new(client.clone(), &RpcRouter::new(&client));
        venue.view().await.unwrap_err();
        assert_eq!(calls.swap(0, Ordering::SeqCst), tries, "{status}");
        assert!(matches!(venue.submit(&some_tx()).await, SubmitReport::Ambiguous { .. }), "{status}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{status}");
    }
}

#[tokio::test]
async fn calls_to_a_node_that_never_answers_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = impatient(&format!("http://{}", listener.local_addr().unwrap()));
    let router = RpcRouter::new(&client);
    let venue = RpcVenue::new(client, &router);
    let refused = router.quote(&order(1).request.quote_request()).await.unwrap_err();
    assert_eq!(refused.failure.code.as_str(), "quote-unavailable");
    assert!(venue.view().await.is_err());
    assert!(matches!(venue.submit(&some_tx()).await, SubmitReport::Ambiguous { .. }));
    drop(listener);
}

#[tokio::test]
async fn an_engine_trades_over_it_and_the_ledger_agrees() {
    const ORDERS: usize = 40;
    let tenth = Rate::from_percent(10).unwrap();
    let faults = FaultConfig {
        lost_request_rate: tenth,
        lost_reply_rate: tenth,
        drop_rate: tenth,
        reorg_rate: tenth,
        ..FaultConfig::default()
    };
    let slot = Duration::from_millis(4);
    let config = SimConfig { slot, step_delay: slot, fail_rate: tenth, faults, ..SimConfig::default() };
    let node = Node::start(config).await;
    let (router, venue) = node.trading();
    let mut config = EngineConfig::default();
    config.observe_interval = Duration::from_millis(20);
    config.resend_interval = Duration::from_millis(100);
    config.retry.transient.backoff.initial = Duration::from_millis(5);
    config.retry.requote.backoff.initial = Duration::from_millis(5);
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .router(Arc::new(router))
        .venue(Arc::new(venue))
        .config(config)
        .build()
        .await
        .unwrap();
    tokio::spawn(engine.run(10));
    let mut subscriptions = Vec::new();
    for _ in 0..ORDERS {
        let request = OrderRequest::clone(&order(1).request).with_pair(token("SOL"), token("USDC"));
        let Submission::Created(order) = engine.submit(request).await.unwrap() else { panic!() };
        subscriptions.push((order.id, engine.subscribe(order.id, 0).await.unwrap().unwrap()));
    }
    for (id, mut events) in subscriptions {
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event.unwrap().status);
        }
        let ledger = node.result("simLedger", json!([id])).await;
        let executed = ledger.as_array().unwrap().iter().filter(|line| line["executed"] == true).count();
        assert_eq!(executed, usize::from(last == Some(Status::Confirmed)), "{id}: {last:?}");
    }
}

#[tokio::test]
async fn a_restarted_node_remembers_its_executions() {
    let folder = tempfile::tempdir().unwrap();
    let config = || SimConfig { ledger: Some(folder.path().join("ledger.jsonl")), ..instant() };
    let node = Node::start(config()).await;
    let (router, venue) = node.trading();
    let tx = prepare(&router, &venue, 50).await.unwrap();
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    // The first chain still holds its ledger, so the next one opens a copy.
    let copy = folder.path().join("copy.jsonl");
    std::fs::copy(folder.path().join("ledger.jsonl"), &copy).unwrap();
    let node = Node::start(SimConfig { ledger: Some(copy), ..instant() }).await;
    let (_, venue) = node.trading();
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    assert!(matches!(venue.observe(&[TxRef::from(&tx)]).await.unwrap()[..], [Observation::Landed { .. }]));
    assert_eq!(node.result("simLedger", Value::Null).await.as_array().unwrap().len(), 1);
}
