//! A chain with nonces behind JSON-RPC: the shape of its messages, the program, and an engine that trades through it.
#![cfg(all(feature = "rpc-client", feature = "rpc-server"))]

mod common;

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::order;
use order_engine_core::testing::LatestNonce;
use order_engine_core::{
    Certainty, DexRouter, Engine, EngineConfig, Fence, FillRequest, MemoryStore, NonceValue, Observation,
    OrderRequest, PrepareRequest, ReplaceRequest, Runtime, SignedTx, Status, Submission, SubmitReport,
    TransactionBound, TxRef, Venue, best,
};
use order_engine_sim::rpc::{RpcClient, RpcOptions, RpcRouter, RpcVenue, serve};
use order_engine_sim::{FaultConfig, NonceConfig, NonceKind, NonceUse, Rate, SimConfig, Simulator, audit};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const FENCE: Fence = Fence { epoch: 1, owner: 1 };

/// Returns a chain with two accounts, which makes 100 blocks a second.
fn quick() -> SimConfig {
    let slot = Duration::from_millis(10);
    let nonces = NonceConfig { accounts: 2, ..NonceConfig::default() };
    SimConfig {
        slot,
        step_delay: Duration::ZERO,
        fail_rate: Rate::NEVER,
        nonces: Some(nonces),
        ..SimConfig::default()
    }
}

/// Serves a chain. Returns its URL.
async fn serving(sim: &Simulator) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, sim.clone(), std::future::pending()));
    url
}

async fn trading(url: &str) -> (RpcRouter, RpcVenue) {
    let client = RpcClient::new(RpcOptions::new(url), Runtime::tokio()).unwrap();
    let router = RpcRouter::new(&client);
    let venue = RpcVenue::connect(client, &router).await.unwrap();
    (router, venue)
}

/// Calls a method as any client would.
async fn call(url: &str, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    reqwest::Client::new().post(url).json(&body).send().await.unwrap().json().await.unwrap()
}

async fn prepared(router: &RpcRouter, venue: &RpcVenue) -> SignedTx {
    let order = order(1);
    let candidates = router.quote(&order.request.quote_request()).await.unwrap();
    let route = best(&candidates).unwrap();
    let min = route.amount_out.less_slippage(50);
    venue.prepare(PrepareRequest::new(&order, route, min, FENCE, &LatestNonce)).await.unwrap()
}

/// Observes a transaction until it is final.
async fn settled(venue: &RpcVenue, tx: &SignedTx) -> Observation {
    for _ in 0..1_000 {
        let observed = venue.observe(&[TxRef::from(tx)]).await.unwrap().remove(0);
        if matches!(observed, Observation::Landed { certainty: Certainty::Finalized, .. }) {
            return observed;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not final after 10 seconds");
}

#[tokio::test]
async fn methods_answer_in_the_shapes_of_the_evm() {
    let sim = Simulator::open(quick(), Runtime::tokio()).await.unwrap();
    let url = serving(&sim).await;
    let result = async |method, params| call(&url, method, params).await["result"].clone();
    assert_eq!(result("eth_accounts", json!([])).await, json!(sim.accounts()));
    assert_eq!(result("eth_gasPrice", json!([])).await, "0xc8");
    let finalized = result("eth_getBlockByNumber", json!(["finalized", false])).await;
    let latest = result("eth_getBlockByNumber", json!(["latest", false])).await;
    let height = |block: &Value| {
        u64::from_str_radix(block["number"].as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
    };
    assert!(height(&finalized) + 32 <= height(&latest));

    let (router, venue) = trading(&url).await;
    let tx = prepared(&router, &venue).await;
    let nonce = tx.validity.nonce().unwrap().clone();
    let count = async |tag: &str| result("eth_getTransactionCount", json!([nonce.account, tag])).await;
    assert_eq!((count("latest").await, count("finalized").await), (json!("0x0"), json!("0x0")));
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    settled(&venue, &tx).await;
    assert_eq!((count("latest").await, count("finalized").await), (json!("0x1"), json!("0x1")));
    let [used] = &serde_json::from_value::<Vec<NonceUse>>(result("simNonces", json!([])).await).unwrap()[..]
    else {
        panic!("one nonce is used")
    };
    assert_eq!((&used.nonce, &used.tx_id), (&nonce, &tx.id));
    assert_eq!(result("simWaiting", json!([])).await, json!([]));
    let ledger = result("simLedger", json!([order(1).id])).await;
    assert_eq!(ledger[0]["nonce"], json!({ "account": nonce.account, "value": 0 }));

    let code = async |method, params| call(&url, method, params).await["error"]["code"].clone();
    assert_eq!(code("eth_sendRawTransaction", json!(["0xzz"])).await, -32_602);
    assert_eq!(code("eth_sendRawTransaction", json!(["0x00"])).await, -32_602);
    assert_eq!(code("eth_getTransactionCount", json!([nonce.account, "soon"])).await, -32_602);
    assert_eq!(code("eth_nothing", json!([])).await, -32_601);
}

#[tokio::test]
async fn a_venue_asks_the_node_what_bounds_its_transactions() {
    let sim = Simulator::open(SimConfig { nonces: None, ..quick() }, Runtime::tokio()).await.unwrap();
    let (_, venue) = trading(&serving(&sim).await).await;
    assert_eq!(venue.capabilities().bound, TransactionBound::Height);
    venue.accounts(&["0x00".into()]).await.unwrap_err();
    let sim = Simulator::open(quick(), Runtime::tokio()).await.unwrap();
    let url = serving(&sim).await;
    let (router, venue) = trading(&url).await;
    assert_eq!(venue.capabilities(), sim.venue().capabilities());
    let client = RpcClient::new(RpcOptions::new(&url), Runtime::tokio()).unwrap();
    assert_eq!(
        RpcVenue::new(client, &router).with_nonces(NonceKind::Numbers).capabilities(),
        venue.capabilities()
    );
}

#[tokio::test]
async fn a_cancel_replaces_and_lands_instead() {
    let sim = Simulator::open(quick(), Runtime::tokio()).await.unwrap();
    let (router, venue) = trading(&serving(&sim).await).await;
    // No block takes anything while the replacements are sent.
    let spike = FaultConfig {
        fee_spike_rate: Rate::ALWAYS,
        fee_spike_slots: 1,
        fee_spike_percent: 100_000,
        ..FaultConfig::default()
    };
    let tx = prepared(&router, &venue).await;
    sim.set_faults(spike);
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    assert_eq!(venue.submit(&tx).await, SubmitReport::AlreadyKnown);
    let order = order(1);
    let cheap = venue.replace(ReplaceRequest::new(&order, &tx, 109, FENCE)).await.unwrap();
    let report = venue.submit(&cheap).await;
    let SubmitReport::DefinitelyNotAccepted { message } = report else { panic!("{report:?}") };
    assert!(message.contains("replacement transaction underpriced"), "{message}");
    let cancel = venue.cancel_transaction(ReplaceRequest::new(&order, &tx, 125, FENCE)).await.unwrap();
    assert_eq!(venue.submit(&cancel).await, SubmitReport::Accepted);
    sim.set_faults(FaultConfig::default());
    let account = tx.validity.nonce().unwrap().account.clone();
    settled(&venue, &cancel).await;
    assert_eq!(venue.find(order.id).await.unwrap(), [cancel.id]);
    let [view] = &venue.accounts(&[account]).await.unwrap()[..] else { panic!("one account") };
    assert_eq!((&view.latest, &view.finalized), (&NonceValue::Number(1), &NonceValue::Number(1)));
    assert!(view.finalized_height > 0);
    assert!(sim.executions(None).is_empty());
}

#[tokio::test]
async fn a_filler_uses_up_a_nonce_and_lets_the_next_one_land() {
    let sim = Simulator::open(quick(), Runtime::tokio()).await.unwrap();
    let (router, venue) = trading(&serving(&sim).await).await;
    let (first, second) = (prepared(&router, &venue).await, order(1));
    let nonce = first.validity.nonce().unwrap().clone();
    let filler = venue.fill_nonce(FillRequest::new(&second, &nonce, FENCE)).await.unwrap();
    assert_eq!(filler.validity.nonce(), Some(&nonce));
    assert_eq!(venue.submit(&filler).await, SubmitReport::Accepted);
    settled(&venue, &filler).await;
    let [view] = &venue.accounts(&[nonce.account]).await.unwrap()[..] else { panic!("one account") };
    assert_eq!(view.latest, NonceValue::Number(1));
}

#[tokio::test]
async fn nodes_with_gaps_in_their_history_find_nothing() {
    let sim = Simulator::open(quick(), Runtime::tokio()).await.unwrap();
    let (_, venue) = trading(&serving(&sim).await).await;
    sim.set_faults(FaultConfig {
        history_prune_rate: Rate::ALWAYS,
        history_kept_slots: 5,
        ..FaultConfig::default()
    });
    venue.find(order(1).id).await.unwrap_err();
    let unproven = Observation::NotFound { searched_through: None, seen_through: None };
    assert_eq!(venue.observe(&[TxRef::by_id(&"unknown".into())]).await.unwrap(), [unproven]);
}

/// Runs an engine through a node until some orders are confirmed.
async fn trade(url: &str, orders: usize) {
    let (router, venue) = trading(url).await;
    let mut config = EngineConfig::default();
    config.observe_interval = Duration::from_millis(20);
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
    let worker = tokio::spawn(engine.run(10));
    let mut subscriptions = Vec::new();
    for number in 0..orders {
        let request = OrderRequest::clone(&order(number as u64).request).with_slippage_bps(500);
        let Submission::Created(order) = engine.submit(request).await.unwrap() else { panic!() };
        subscriptions.push(engine.subscribe(order.id, 0).await.unwrap().unwrap());
    }
    for mut events in subscriptions {
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event.unwrap().status);
        }
        assert_eq!(last, Some(Status::Confirmed));
    }
    engine.shutdown(Duration::from_secs(5)).await.unwrap();
    worker.abort();
}

#[tokio::test]
async fn an_engine_trades_over_it_without_gaps() {
    let sim = Simulator::open(quick(), Runtime::tokio()).await.unwrap();
    trade(&serving(&sim).await, 20).await;
    let uses = sim.nonce_uses();
    assert_eq!((uses.len(), audit(&uses)), (20, Ok(())));
    assert_eq!(sim.waiting(), []);
}

/// The program, which ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_program_serves_a_chain_with_nonces() {
    serves("nonce").await;
}

#[tokio::test]
async fn the_program_serves_a_chain_with_durable_nonces() {
    serves("durable-nonce").await;
}

/// Checks that the program serves a chain on which an engine trades.
async fn serves(validity: &str) {
    let arguments = "--port 0 --slot-ms 10 --step-ms 0 --accounts 3 --block-capacity 5 \
                     --base-fee 7 --reorg-rate 1% --reorg-slots 3 --validity";
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim-venue"));
    command.args(arguments.split_whitespace()).arg(validity).stdout(Stdio::piped());
    let mut program = Program(command.spawn().unwrap());
    let mut line = String::new();
    std::io::BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap();
    assert_eq!(call(url, "eth_accounts", json!([])).await["result"].as_array().unwrap().len(), 3);
    assert_eq!(call(url, "eth_gasPrice", json!([])).await["result"], "0xe");
    trade(url, 10).await;
    let uses = call(url, "simNonces", json!([])).await["result"].clone();
    let uses: Vec<NonceUse> = serde_json::from_value(uses).unwrap();
    assert_eq!((uses.len(), audit(&uses)), (10, Ok(())));
}
