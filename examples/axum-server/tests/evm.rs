//! The server on a real node of the EVM, with Uniswap's own contracts: what it says of the chain, and orders on real pools while
//! servers are killed every second behind faulty nodes.
//!
//! The long form: `ORDERS=1000 KILLS=60 cargo test --release -p order-engine-server --all-features --test evm`.

mod common;
#[path = "chains/customers.rs"]
mod customers;
#[path = "chains/evm_audit.rs"]
mod evm_audit;
#[allow(dead_code, reason = "the clients here cancel nothing")]
#[path = "kills/servers.rs"]
mod servers;

use std::path::Path;
use std::time::{Duration, Instant};

use common::program::{Program, fails};
use customers::{Customers, ended, setting};
use evm_audit::Audit;
use order_engine_evm_market::faults::FaultyNode;
use order_engine_evm_market::market::{Market, TOKENS};
use order_engine_server::StoreUrl;
use serde_json::{Value, json};
use servers::Servers;

/// How long a block takes, in milliseconds.
const BLOCK_MS: u64 = 250;
const FLAGS: [&str; 2] = ["--venue", "evm:evm.toml"];
/// What is sold, and what for: both directions, ETH, and a way through two pools.
const PAIRS: [(&str, &str); 5] =
    [("APPLE", "PEAR"), ("PEAR", "APPLE"), ("ETH", "APPLE"), ("APPLE", "ETH"), ("PEAR", "ETH")];

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.expect("the runtime starts").block_on(async {
        a_bad_configuration_is_refused_by_name().await;
        clients_are_told_the_chain_and_wrong_settings_are_refused().await;
        killed_servers_execute_each_order_at_most_once().await;
    });
}

async fn a_bad_configuration_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let args = [&["--store", "memory:"][..], &FLAGS].concat();
    assert!(fails(folder.path(), &args).await.contains("cannot trade as evm.toml says"));
    let secret = "chain = \"x\"\nchain_id = 1\n[nodes]\nurls = \"https://planted-canary\"\n";
    std::fs::write(folder.path().join("evm.toml"), secret).unwrap();
    let error = fails(folder.path(), &args).await;
    assert!(
        error.contains("nodes.urls, line 4: expected a sequence") && !error.contains("canary"),
        "{error}"
    );
}

async fn clients_are_told_the_chain_and_wrong_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let market = Market::open(BLOCK_MS).await;
    market.write(folder.path(), &[&market.chain.url]);
    change(folder.path(), "chain_id", "explorer = \"https://explorer.example/tx/{tx}\"\nchain_id");
    let args = [&["--store", "memory:"][..], &FLAGS].concat();
    let server = Program::start(folder.path(), &args).await;
    let get = async |path: &str| -> Value {
        reqwest::get(format!("{}{path}", server.url)).await.unwrap().json().await.unwrap()
    };
    let expected = json!({
        "name": "a chain on this machine (anvil)", "isSimulated": false, "explorer": "https://explorer.example/tx/{tx}",
    });
    assert_eq!(get("/api/chain").await, expected);
    let tokens = get("/api/tokens").await;
    let symbols: Vec<_> = tokens["tokens"].as_array().unwrap().iter().map(|token| &token["symbol"]).collect();
    assert_eq!(symbols, TOKENS);
    assert_eq!(server.terminate().await.0, Some(0));
    // Amounts would be wrong by powers of ten.
    change(folder.path(), "decimals = 18", "decimals = 6");
    assert!(fails(folder.path(), &args).await.contains("ETH has 18 decimals, and not 6"));
    change(folder.path(), "decimals = 6", "decimals = 18");
    change(folder.path(), "chain_id = 31337", "chain_id = 1");
    assert!(fails(folder.path(), &args).await.contains("the chain 31337, and not 1"));
}

/// Changes the configuration where a text stands first.
fn change(folder: &Path, from: &str, to: &str) {
    let path = folder.join("evm.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Trades through servers of which one is killed each second, behind faulty nodes, and compares each order and the wallet with
/// the chain.
async fn killed_servers_execute_each_order_at_most_once() {
    let (orders, kills) = (setting("ORDERS", 60), setting("KILLS", 6));
    let folder = tempfile::tempdir().unwrap();
    let market = Market::open(BLOCK_MS).await;
    let audit = Audit::begin(&market).await;
    let nodes = FaultyNode::three(&market.chain.url).await;
    let urls: Vec<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
    market.write(folder.path(), &urls);
    let store = format!("sqlite:{}", folder.path().join("orders.db").display());
    let store = std::env::var("STORE").unwrap_or(store);
    let began = Instant::now();
    let mut servers = Servers::start(folder.path(), &store, "20", FLAGS).await;
    let customers = Customers { http: reqwest::Client::new(), urls: servers.urls(), pairs: &PAIRS };
    let time = Duration::from_secs(kills);
    let (placed, ()) =
        tokio::join!(customers.trade(orders, time), servers.are_killed(usize::try_from(kills).unwrap()));
    let traded = began.elapsed();
    let opened = store.parse::<StoreUrl>().unwrap().open().await.unwrap();
    // A wallet has few transactions under way, and an order that waits for its turn waits longer each time.
    let limit = Duration::from_secs(120 + 3 * orders);
    let ended = tokio::time::timeout(limit, ended(&*opened, &placed)).await.expect("every order ends");
    let settled = began.elapsed();
    servers.terminate().await;
    let found = audit.compare(&market, &ended).await;
    println!("{orders} orders, {kills} kills in {traded:.1?}, settled after {settled:.1?}: {found}");
    for node in &nodes {
        println!("    a node's faults: {:?}", node.struck());
    }
}
