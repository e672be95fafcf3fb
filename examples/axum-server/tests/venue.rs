//! Servers and a venue in processes of their own.
//!
//! The test that kills the server has a long form:
//! `ORDERS=500 KILL_SECONDS=60 cargo test --release -p order-engine-server --test venue -- --nocapture`.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::program::{Program, SimVenue, executions, try_place};
use common::{Client, events_of};
use futures_util::future::join_all;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_process_and_two_workers_share_a_venue() {
    let folder = tempfile::tempdir().unwrap();
    let venue =
        SimVenue::start(folder.path(), &["--slot-ms", "5", "--step-ms", "5", "--ledger", "ledger.jsonl"])
            .await;
    let role =
        |role: &'static str| ["--store", "sqlite:orders.db", "--venue-url", &venue.url, "--role", role];
    let api = Program::start(folder.path(), &role("api")).await;
    let http = reqwest::Client::new();
    // This order is accepted before there is a worker.
    let first = api.place(&http, "first").await;
    let workers = [
        Program::start(folder.path(), &role("worker")).await,
        Program::start(folder.path(), &role("worker")).await,
    ];
    let mut ids = vec![first];
    for n in 0..20 {
        ids.push(api.place(&http, &n.to_string()).await);
    }
    for id in &ids {
        let (frames, code) = Client::connect(&api.ws(id)).await.drain().await;
        let events = events_of(&frames, id, 0);
        assert_eq!((code, events.last().unwrap()["type"].as_str()), (1000, Some("confirmed")), "{events:?}");
    }
    let expected: BTreeMap<String, usize> = ids.into_iter().map(|id| (id, 1)).collect();
    assert_eq!(executions(&folder.path().join("ledger.jsonl")), expected);

    // A worker serves the routes for operators, and none for clients.
    for (path, status) in
        [("/health", 200), ("/ready", 200), ("/metrics", 200), ("/api/orders", 404), ("/", 404)]
    {
        let answer = http.get(format!("{}{path}", workers[0].url)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    for program in workers.into_iter().chain([api]) {
        assert_eq!(program.terminate().await.0, Some(0));
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Clients that place orders while the server is killed and restarted.
struct Customers {
    http: reqwest::Client,
    waiting: Vec<String>,
    placed: Vec<String>,
}

impl Customers {
    fn new(orders: usize) -> Self {
        let waiting = (0..orders).rev().map(|n| format!("order-{n}")).collect();
        Self { http: reqwest::Client::new(), waiting, placed: Vec::new() }
    }

    /// Places up to `count` orders. One without an answer is placed again later, under the same client order
    /// id.
    async fn place(&mut self, url: &str, count: usize) {
        let keys = self.waiting.split_off(self.waiting.len().saturating_sub(count));
        let answers = join_all(keys.iter().map(|key| try_place(url, &self.http, key))).await;
        for (key, answer) in keys.into_iter().zip(answers) {
            match answer {
                Some(id) => self.placed.push(id),
                None => self.waiting.push(key),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_every_second_executes_each_order_at_most_once() {
    let (orders, kill_seconds) = (setting("ORDERS", 60), setting("KILL_SECONDS", 4));
    let folder = tempfile::tempdir().unwrap();
    let faults =
        ["--drop-rate", "10%", "--lost-reply-rate", "10%", "--reorg-rate", "10%", "--delay-rate", "10%"];
    let chain = ["--slot-ms", "20", "--step-ms", "40", "--fail-rate", "5%", "--ledger", "ledger.jsonl"];
    let venue = SimVenue::start(folder.path(), &[&faults[..], &chain].concat()).await;
    let args = ["--store", "sqlite:orders.db", "--venue-url", &venue.url, "--workers", "20"];
    let began = Instant::now();
    let mut customers = Customers::new(orders);
    for _ in 0..kill_seconds {
        let server = Program::start(folder.path(), &args).await;
        let life = tokio::time::sleep(Duration::from_secs(1));
        customers.place(&server.url, orders.div_ceil(kill_seconds)).await;
        life.await;
        server.kill().await;
    }
    let server = Program::start(folder.path(), &args).await;
    while !customers.waiting.is_empty() {
        customers.place(&server.url, orders).await;
    }
    let killed = began.elapsed();
    let statuses = settled(&server, &customers).await;
    let ledger = executions(&folder.path().join("ledger.jsonl"));
    let confirmed: BTreeMap<String, usize> =
        statuses.iter().filter(|(_, status)| *status == "confirmed").map(|(id, _)| (id.clone(), 1)).collect();
    println!(
        "{orders} orders, {kill_seconds} kills in {killed:.1?}, settled after {:.1?}: {} confirmed, {} failed, {} executed, at most {} times each",
        began.elapsed(),
        confirmed.len(),
        statuses.len() - confirmed.len(),
        ledger.len(),
        ledger.values().max().unwrap_or(&0),
    );
    assert_eq!(statuses.len(), orders, "no order is lost or duplicated");
    assert_eq!(ledger, confirmed, "the confirmed orders, and no others, are executed once each");
    assert_is_whole(folder.path());
}

/// Waits until every order has ended, and returns their last statuses.
async fn settled(server: &Program, customers: &Customers) -> BTreeMap<String, String> {
    let mut statuses = BTreeMap::new();
    for id in &customers.placed {
        loop {
            let url = format!("{}/api/orders/status/{id}", server.url);
            let order: Value = customers.http.get(url).send().await.unwrap().json().await.unwrap();
            let status = order["status"].as_str().unwrap().to_owned();
            if status == "confirmed" || status == "failed" {
                statuses.insert(id.clone(), status);
                break;
            }
            assert_eq!(order["attention"], Value::Null, "{order}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    statuses
}

/// Asserts that the ledger has complete lines only.
fn assert_is_whole(folder: &Path) {
    let ledger = std::fs::read_to_string(folder.join("ledger.jsonl")).unwrap();
    assert!(ledger.ends_with('\n') && ledger.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}
