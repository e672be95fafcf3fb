//! The server on a real Solana runtime: what it says of the chain, and, with the real programs of the exchanges, orders on
//! their pools while servers are killed every second.
//!
//! The code of the programs is not part of this repository. `SOLANA_PROGRAMS` names a folder with it; without it the second part
//! is not run, which the output says. The long form:
//! `ORDERS=2000 KILLS=60 cargo test --release -p order-engine-server --all-features --test solana`.

mod common;
#[path = "chains/customers.rs"]
mod customers;
#[allow(dead_code, reason = "the clients here cancel nothing")]
#[path = "kills/servers.rs"]
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::program::{Program, fails};
use customers::{Customers, ended, setting};
use order_engine_core::{Order, OrderEvent, Status};
use order_engine_server::StoreUrl;
use order_engine_solana::instructions::memo;
use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::nonce_account_addresses;
use order_engine_solana::programs::TOKEN;
use order_engine_solana_market::faults::FaultyNode;
use order_engine_solana_market::market::{Market, TOKENS, WALLET_TOKENS};
use serde_json::{Value, json};
use servers::Servers;
use tokio::sync::watch;

/// How long a slot takes, in milliseconds: a transaction lives for a quarter as long as on a cluster.
const SLOT_MS: u32 = 100;
/// The workers of each server: so few that the one local node answers each of them in time.
const WORKERS: &str = "4";
/// What is sold, and what for: orders of both directions.
const PAIRS: [(&str, &str); 2] = [(TOKENS[0].0, TOKENS[1].0), (TOKENS[1].0, TOKENS[0].0)];

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.expect("the runtime starts").block_on(async {
        a_bad_configuration_is_refused_by_name().await;
        let programs = Market::programs();
        if programs.is_empty() {
            println!(
                "orders on real pools: NOT RUN, because SOLANA_PROGRAMS names no folder with the programs"
            );
            println!("`cargo run -p order-engine-solana-market -- FOLDER` says how to get them.");
            return;
        }
        clients_are_told_the_chain().await;
        orders_get_the_nonce_accounts_of_the_configuration().await;
        killed_servers_execute_each_order_at_most_once().await;
    });
}

async fn a_bad_configuration_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let venue = ["--store", "memory:", "--venue", "solana:solana.toml"];
    assert!(fails(folder.path(), &venue).await.contains("cannot trade as solana.toml says"));
    let secret = "chain = 5\n[nodes]\nurls = \"https://planted-canary\"\n";
    std::fs::write(folder.path().join("solana.toml"), secret).unwrap();
    let error = fails(folder.path(), &venue).await;
    assert!(error.contains("line 1: expected a string") && !error.contains("canary"), "{error}");
}

async fn clients_are_told_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let market = Market::open(&Market::programs(), SLOT_MS).await;
    market.write(folder.path(), &[&market.chain.url]);
    let server =
        Program::start(folder.path(), &["--store", "memory:", "--venue", "solana:solana.toml"]).await;
    let get = async |path: &str| -> Value {
        reqwest::get(format!("{}{path}", server.url)).await.unwrap().json().await.unwrap()
    };
    let chain = get("/api/chain").await;
    assert_eq!(
        chain,
        json!({ "name": "Solana on this machine (Surfpool)", "isSimulated": false, "explorer": null })
    );
    let tokens = get("/api/tokens").await;
    let symbols: Vec<_> = tokens["tokens"].as_array().unwrap().iter().map(|token| &token["symbol"]).collect();
    assert_eq!(symbols, TOKENS.map(|(symbol, _)| symbol));
    assert_eq!(server.terminate().await.0, Some(0));
}

/// Trades with fewer nonce accounts than orders. The server makes the accounts, which the wallet pays, and gives each to one
/// order after the other.
async fn orders_get_the_nonce_accounts_of_the_configuration() {
    const ACCOUNTS: usize = 2;
    let folder = tempfile::tempdir().unwrap();
    let market = Market::open(&Market::programs(), SLOT_MS).await;
    market.write(folder.path(), &[&market.chain.url]);
    let path = folder.path().join("solana.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}\nnonce_accounts = {ACCOUNTS}\n")).unwrap();
    let store = format!("sqlite:{}", folder.path().join("orders.db").display());
    let server = Program::start(folder.path(), &["--store", &store, "--venue", "solana:solana.toml"]).await;
    let (_, urls) = watch::channel(vec![server.url.clone()]);
    let customers = Customers { http: reqwest::Client::new(), urls, pairs: &PAIRS };
    let placed = customers.trade(6, Duration::ZERO).await;
    let opened = store.parse::<StoreUrl>().unwrap().open().await.unwrap();
    let limit = Duration::from_mins(2);
    let ended = tokio::time::timeout(limit, ended(&*opened, &placed)).await.expect("every order ends");
    let found = audit(&market, &ended).await;
    let mut used = BTreeMap::new();
    for order in &ended {
        let history = opened.events(order.id, 0, u32::MAX).await.unwrap();
        let signed = history.iter().filter_map(|record| match &record.event {
            OrderEvent::TransactionSigned { tx } => tx.validity.nonce().cloned(),
            _ => None,
        });
        for nonce in signed {
            *used.entry(nonce.account.to_string()).or_insert(0) += 1;
        }
    }
    let accounts = nonce_account_addresses(market.wallet(), ACCOUNTS);
    let accounts: BTreeSet<String> = accounts.iter().map(ToString::to_string).collect();
    assert_eq!(used.keys().cloned().collect::<BTreeSet<_>>(), accounts, "{used:?}");
    assert_eq!(used.values().sum::<usize>(), ended.len(), "each order has one transaction");
    println!("{ACCOUNTS} nonce accounts: {found}");
    assert_eq!(server.terminate().await.0, Some(0));
}

/// Trades through servers of which one is killed each second, behind faulty nodes, and compares each order and the wallet with
/// the chain.
async fn killed_servers_execute_each_order_at_most_once() {
    let (orders, kills) = (setting("ORDERS", 60), setting("KILLS", 6));
    let folder = tempfile::tempdir().unwrap();
    let market = Market::open(&Market::programs(), SLOT_MS).await;
    let nodes = FaultyNode::three(&market.chain.url).await;
    let urls: Vec<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
    market.write(folder.path(), &urls);
    let store = format!("sqlite:{}", folder.path().join("orders.db").display());
    let store = std::env::var("STORE").unwrap_or(store);
    let began = Instant::now();
    let mut servers = Servers::start(folder.path(), &store, WORKERS, ["--venue", "solana:solana.toml"]).await;
    let customers = Customers { http: reqwest::Client::new(), urls: servers.urls(), pairs: &PAIRS };
    let time = Duration::from_secs(kills);
    let (placed, ()) =
        tokio::join!(customers.trade(orders, time), servers.are_killed(usize::try_from(kills).unwrap()));
    let traded = began.elapsed();
    let opened = store.parse::<StoreUrl>().unwrap().open().await.unwrap();
    let limit = Duration::from_secs(120 + orders);
    let ended = tokio::time::timeout(limit, ended(&*opened, &placed)).await.expect("every order ends");
    let settled = began.elapsed();
    servers.terminate().await;
    let found = audit(&market, &ended).await;
    println!("{orders} orders, {kills} kills in {traded:.1?}, settled after {settled:.1?}: {found}");
    for node in &nodes {
        println!("    a node's faults: {:?}", node.struck());
    }
}

/// Asserts that the chain and the wallet have what the orders say.
async fn audit(market: &Market, orders: &[Order]) -> String {
    let (mut confirmed, mut failed, mut dexes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut balances = [WALLET_TOKENS, WALLET_TOKENS].map(i128::from);
    for order in orders {
        if order.status() == Status::Failed {
            let failure = order.state.failure().expect("it has failed");
            *failed.entry(failure.code.as_str().to_owned()).or_insert(0) += 1;
            continue;
        }
        let fill = order.state.fill().expect("it is filled");
        let sold = market.mints.iter().position(|mint| mint.to_string() == order.request.input.mint).unwrap();
        balances[sold] -= i128::try_from(fill.amount_in.base_units()).unwrap();
        balances[1 - sold] += i128::try_from(fill.amount_out.base_units()).unwrap();
        assert!(Some(fill.amount_out) >= order.worst_price(), "{}", order.id);
        confirmed.insert(memo::tag(order.id), 1);
        *dexes.entry(order.state.chosen_dex().unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    let executions = market.chain.executions(market.wallet()).await;
    assert_eq!(executions, confirmed, "the confirmed orders, and no others, took effect once each");
    for (mint, balance) in market.mints.into_iter().zip(balances) {
        let account = associated_account(market.wallet(), mint, TOKEN);
        let has = market.chain.tokens(account).await.map(i128::from);
        assert_eq!(has, Some(balance), "the wallet has what the events say");
    }
    // No price moves by as much as the orders allow, and neither dying servers nor faulty nodes use up their attempts.
    assert_eq!(failed, BTreeMap::<String, u32>::new(), "every order is filled");
    format!("{} confirmed {dexes:?}, balances equal to the unit", confirmed.len())
}
