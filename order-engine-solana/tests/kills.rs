//! An engine on a real Solana runtime behind three faulty nodes is killed again and again. In the end every order is compared
//! with what the chain has.
//!
//! The nodes lose, delay and double calls, are busy, lag, and lie about absence. The program starts itself again as the engine
//! that is killed. The long form:
//! `ORDERS=1000 KILLS=60 cargo test --release -p order-engine-solana --all-features --test kills`.

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::desk::Desk;
use common::orders::token;
use common::trading::DeskRouter;
use futures_util::future::join_all;
use order_engine_core::{
    Amount, Engine, EngineConfig, FailureCode, Order, OrderRequest, Runtime, Status, Submission,
};
use order_engine_solana::instructions::memo;
use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::programs::TOKEN;
use order_engine_solana::{
    Cluster, ClusterOptions, KeypairSigner, Pubkey, SolanaVenue, SolanaVenueOptions, WalletSigner as _,
};
use order_engine_solana_market::ONE_SOL;
use order_engine_solana_market::faults::FaultyNode;
use order_engine_solana_market::pulse::Pulse;
use order_engine_solana_market::surfpool::Surfpool;
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The variable that makes this program the engine that is killed: its setup as JSON.
const SETUP: &str = "KILLED_ENGINE";
/// What the engine says when all orders have ended.
const ENDED: &str = "all orders have ended";
/// What the wallet and the desk have of each token.
const TOKENS: u64 = 1 << 50;

/// What the engine that is killed has to know.
#[derive(Serialize, Deserialize)]
struct Setup {
    nodes: Vec<String>,
    key: Vec<u8>,
    desk: String,
    mints: [String; 2],
    busy_account: String,
    store: String,
    orders: u64,
}

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let threads = threads.expect("the runtime starts");
    match std::env::var(SETUP) {
        Ok(setup) => threads.block_on(trade(serde_json::from_str(&setup).expect("it was written below"))),
        Err(_) => threads.block_on(check()),
    }
}

/// Places all orders, unless they were placed before, and executes them until all have ended. It is killed meanwhile.
async fn trade(setup: Setup) {
    let engine = engine(&setup).await;
    tokio::spawn(engine.run(20));
    let ended = (0..setup.orders).map(|n| place_and_wait(&engine, &setup, n));
    join_all(ended).await;
    println!("{ENDED}");
    engine.shutdown(Duration::from_secs(10)).await.expect("it ends in order");
}

async fn engine(setup: &Setup) -> Engine {
    let nodes = ClusterOptions::new(&setup.nodes).with_timeout(Duration::from_secs(5));
    let cluster = Arc::new(Cluster::new(nodes, Runtime::tokio()).expect("there are nodes"));
    let key = serde_json::to_string(&setup.key).expect("it is a list");
    let signer = Arc::new(KeypairSigner::from_text(&key).expect("it is a key"));
    let desk = Arc::new(Desk { owner: address(&setup.desk) });
    let options = SolanaVenueOptions::default()
        .with_busy_account(address(&setup.busy_account))
        .with_complete_from_slot(31);
    let venue = SolanaVenue::new(cluster, signer, desk, options);
    let mut config = EngineConfig::default();
    config.lease_duration = Duration::from_secs(2);
    config.observe_interval = Duration::from_millis(200);
    let store = SqliteStore::open(SqliteOptions::new(&setup.store)).await.expect("the store opens");
    let engine = Engine::builder().store(store).router(DeskRouter).venue(venue).config(config);
    engine.build().await.expect("the engine starts")
}

async fn place_and_wait(engine: &Engine, setup: &Setup, n: u64) -> Order {
    let [input, output] = [0, 1].map(|side| token(address(&setup.mints[side])));
    let request = OrderRequest::new("alice", input, output, Amount::new(u128::from(amount(n))));
    let request = request.with_client_order_id(format!("order-{n}"));
    match engine.submit(request).await.expect("the store answers") {
        Submission::Created(order) | Submission::Existing(order) => {
            engine.wait(order.id).await.expect("the store answers").expect("it was placed")
        }
        Submission::Conflict(other) => panic!("{other:?}"),
    }
}

/// Returns what an order sells: most a little, and some more than the wallet has.
fn amount(n: u64) -> u64 {
    if is_too_much(n) { TOKENS + 1 } else { 1_000 + n }
}

const fn is_too_much(n: u64) -> bool {
    n % 40 == 39
}

fn address(text: &str) -> Pubkey {
    text.parse().expect("it is an address")
}

/// Kills engines while they trade, and audits what came of the orders.
async fn check() {
    let (orders, kills) = (setting("ORDERS", 80), setting("KILLS", 8));
    let chain = Surfpool::start(20);
    let (wallet, desk) = (solana_keypair::Keypair::new(), KeypairSigner::random().address());
    let owner = solana_keypair::Signer::pubkey(&wallet);
    let mints = [KeypairSigner::random().address(), KeypairSigner::random().address()];
    chain.fund(owner, 1_000 * ONE_SOL).await;
    for mint in mints {
        chain.make_mint(mint, 6).await;
        chain.give(desk, mint, TOKENS, Some(owner)).await;
    }
    chain.give(owner, mints[0], TOKENS, None).await;
    let (pulse, nodes) = (Pulse::start(&chain).await, FaultyNode::three(&chain.url).await);
    let folder = tempfile::tempdir().expect("there is room");
    let setup = Setup {
        nodes: nodes.iter().map(|node| node.url.clone()).collect(),
        key: wallet.to_bytes().to_vec(),
        desk: desk.to_string(),
        mints: mints.map(|mint| mint.to_string()),
        busy_account: pulse.account.to_string(),
        store: folder.path().join("orders.db").display().to_string(),
        orders,
    };
    let began = Instant::now();
    kill_and_finish(&setup, kills, Duration::from_secs(120 + 4 * kills + orders)).await;
    let took = began.elapsed();
    let [input, output] = mints.map(|mint| associated_account(owner, mint, TOKEN));
    let balances = [chain.tokens(input).await, chain.tokens(output).await].map(Option::unwrap_or_default);
    let found = audit(&setup, &chain.executions(owner).await, balances).await;
    let struck = nodes.iter().map(FaultyNode::struck).collect::<Vec<_>>();
    println!("{orders} orders, {kills} kills in {took:.1?}: {found}; what the nodes did: {struck:?}");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Kills an engine once a second, and lets the last one finish.
async fn kill_and_finish(setup: &Setup, kills: u64, limit: Duration) {
    for _ in 0..kills {
        let mut engine = start(setup);
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.kill().await.expect("it can be killed");
    }
    let mut engine = start(setup);
    let mut lines = BufReader::new(engine.stdout.take().expect("it is piped")).lines();
    let said = tokio::time::timeout(limit, lines.next_line()).await.expect("all orders end in time");
    assert_eq!(said.expect("it is text").as_deref(), Some(ENDED));
    assert!(engine.wait().await.expect("it ends").success());
}

fn start(setup: &Setup) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
    command.env(SETUP, serde_json::to_string(setup).expect("it is JSON"));
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("this program runs")
}

/// Asserts that every order has ended as the chain says, and returns how many were confirmed and failed.
async fn audit(setup: &Setup, executions: &BTreeMap<String, usize>, balances: [u64; 2]) -> String {
    let engine = engine(setup).await;
    let (mut confirmed, mut failed, mut traded) = (BTreeMap::new(), 0, [0_u128; 2]);
    for n in 0..setup.orders {
        let order = place_and_wait(&engine, setup, n).await;
        match (order.status(), is_too_much(n)) {
            (Status::Confirmed, false) => {
                let fill = order.state.fill().expect("it is filled");
                traded[0] += fill.amount_in.base_units();
                traded[1] += fill.amount_out.base_units();
                assert_eq!(fill.amount_in, order.request.amount);
                confirmed.insert(memo::tag(order.id), 1);
            }
            (Status::Failed, true) => {
                let code = order.state.failure().map(|failure| failure.code.clone());
                assert_eq!(code, Some(FailureCode::INSUFFICIENT_FUNDS));
                failed += 1;
            }
            (status, _) => panic!("order {n} is {status}: {:?}", order.state.failure()),
        }
    }
    assert_eq!(*executions, confirmed, "the confirmed orders, and no others, took effect once each");
    let [sold, bought] = [u128::from(TOKENS - balances[0]), u128::from(balances[1])];
    assert_eq!([sold, bought], traded, "the wallet has what the events say");
    format!("{} confirmed, each executed once, {failed} refused", confirmed.len())
}
