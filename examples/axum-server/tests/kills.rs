//! Servers that share a store, a chain and its wallets are killed again and again while clients place orders, cancel
//! some and bound others by deadlines. In the end every order is compared with the chain's own record.
//!
//! The long form:
//! `ORDERS=500 KILLS=60 STORE=postgres cargo test --release -p order-engine-server --all-features --test kills --
//! --nocapture --test-threads 1`. `STORE` may also be `sqlite` or `redis`.

#[path = "kills/audit.rs"]
mod audit;
mod common;
#[path = "kills/customers.rs"]
mod customers;
#[path = "kills/servers.rs"]
mod servers;

use std::path::Path;
use std::time::{Duration, Instant};

use audit::Audit;
use common::program::SimVenue;
use customers::Customers;
use order_engine_postgres::testing::fresh_name;
use order_engine_redis::testing::{DURABLE, RedisServer};
use servers::Servers;

/// How many wallets share the orders.
const ACCOUNTS: &str = "5";
/// What every chain does wrong, with a block every 50 ms that is final after some 1.6 seconds.
const FAULTS: &str = "--slot-ms 50 --step-ms 800 --ledger ledger.jsonl --fail-rate 5% --drop-rate 10% \
                      --lost-reply-rate 10% --delay-rate 5% --node-lag-rate 5% --node-lag-slots 20";
/// What is wrong where transactions expire: each may land in a block that is abandoned.
const BY_HEIGHT: &str = "--validity height --reorg-rate 10%";
/// What is wrong where they have nonces. Rates are for each block: there is a reorganisation every other second,
/// somebody else uses a wallet as often, and every fifth second is five times as dear.
const BY_NONCE: &str = "--validity nonce --block-capacity 1 --reorg-rate 2% --reorg-slots 10 --reorg-loss-rate 20% \
                        --eviction-rate 1% --foreign-rate 0.5% --fee-spike-rate 20% --fee-spike-slots 20 \
                        --fee-spike-percent 500";

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_leave_no_gap_in_their_wallets_and_execute_each_order_at_most_once() {
    check(&format!("{FAULTS} {BY_NONCE} --accounts {ACCOUNTS}"), "postgres").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_execute_each_order_at_most_once_where_transactions_expire() {
    check(&format!("{FAULTS} {BY_HEIGHT}"), "sqlite").await;
}

/// Returns a number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Trades on a chain while servers are killed once a second, and audits what came of it.
async fn check(chain: &str, store: &str) {
    let (orders, kills) = (setting("ORDERS", 60), setting("KILLS", 8));
    let store = std::env::var("STORE").unwrap_or_else(|_| store.to_owned());
    let limit = Duration::from_secs(120 + (orders + 2 * kills) as u64);
    let checked = tokio::time::timeout(limit, run(chain, &store, orders, kills));
    checked.await.expect("every order ends");
}

async fn run(chain: &str, store: &str, orders: usize, kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let redis = (store == "redis").then(|| RedisServer::start(&DURABLE));
    let url = store_url(store, folder.path(), redis.as_ref());
    let venue = SimVenue::start(folder.path(), &chain.split_whitespace().collect::<Vec<_>>()).await;
    let mut servers = Servers::start(folder.path(), &url, "20", ["--venue-url", &venue.url]).await;
    let began = Instant::now();
    let time = Duration::from_secs(kills as u64);
    let customers = Customers::new(servers.urls());
    let (placed, ()) = tokio::join!(customers.trade(orders, time), servers.are_killed(kills));
    let traded = began.elapsed();

    let store_of_orders = url.parse::<order_engine_server::StoreUrl>().unwrap().open().await.unwrap();
    let audit = Audit::when_ended(&*store_of_orders, &placed).await;
    let settled = began.elapsed();
    servers.terminate().await;
    let found = audit.check(folder.path(), &venue.url).await;
    println!(
        "{store}, {chain}:\n{orders} orders, {kills} kills in {traded:.1?}, settled after {settled:.1?}: {found}"
    );
}

/// Returns the URL of a store in which nothing is yet.
fn store_url(store: &str, folder: &Path, redis: Option<&RedisServer>) -> String {
    match (store, redis) {
        ("redis", Some(redis)) => redis.url(),
        ("postgres", _) => {
            format!("{}?schema={}", order_engine_postgres::testing::shared_url(), fresh_name())
        }
        _ => format!("sqlite:{}", folder.join("orders.db").display()),
    }
}
