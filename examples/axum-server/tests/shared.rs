//! Several servers on one store: a client of any server sees the events of all servers.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::program::{Program, SimVenue, executions, fails, try_place};
use common::{Client, events_of, text};
use order_engine_postgres::testing::{PostgresServer, fresh_name};
use order_engine_redis::testing::{DURABLE, RedisServer};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const ORDERS: usize = 30;

async fn venue(folder: &Path) -> SimVenue {
    SimVenue::start(folder, &["--slot-ms", "5", "--step-ms", "5", "--ledger", "ledger.jsonl"]).await
}

/// Two processes accept orders, two others execute them, and clients follow each order at both of the first.
async fn four_processes_share(store: &str, fanout: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let venue = venue(folder.path()).await;
    let mut shared = vec!["--store", store, "--venue-url", &venue.url];
    shared.extend(fanout.iter().flat_map(|url| ["--fanout", url]));
    let role = |role| [&shared[..], &["--role", role]].concat();
    let apis = [
        Program::start(folder.path(), &role("api")).await,
        Program::start(folder.path(), &role("api")).await,
    ];
    let workers = [
        Program::start(folder.path(), &role("worker")).await,
        Program::start(folder.path(), &role("worker")).await,
    ];
    let http = reqwest::Client::new();
    let mut watching = JoinSet::new();
    let mut expected = BTreeMap::new();
    for n in 0..ORDERS {
        let id = apis[n % 2].place(&http, &n.to_string()).await;
        for api in &apis {
            let (id, url) = (id.clone(), api.ws(&id));
            watching.spawn(async move {
                let (frames, code) = Client::connect(&url).await.drain().await;
                let events = events_of(&frames, &id, 0);
                assert_eq!((code, events.last().unwrap()["type"].as_str()), (1000, Some("confirmed")));
            });
        }
        expected.insert(id, 1);
    }
    while let Some(watched) = watching.join_next().await {
        watched.unwrap();
    }
    assert_eq!(executions(&folder.path().join("ledger.jsonl")), expected);
    for program in workers.into_iter().chain(apis) {
        assert_eq!(program.terminate().await.0, Some(0));
    }
}

fn postgres_url() -> String {
    let url = order_engine_postgres::testing::shared_url();
    format!("{url}?schema={}", fresh_name())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_postgres_store() {
    four_processes_share(&postgres_url(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_postgres_store_and_a_redis_fanout() {
    let redis = RedisServer::start(&[]);
    four_processes_share(&postgres_url(), Some(&redis.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_redis_store() {
    let redis = RedisServer::start(&DURABLE);
    four_processes_share(&redis.url(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_file_and_a_redis_fanout() {
    let redis = RedisServer::start(&[]);
    four_processes_share("sqlite:orders.db", Some(&redis.url())).await;
}

#[tokio::test]
async fn a_store_that_may_lose_orders_must_be_accepted_explicitly() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start(&[]);
    let url = redis.url();
    let refused = fails(folder.path(), &["--store", &url]).await;
    assert!(refused.contains("--accept-bounded-loss"), "{refused}");
    let server = Program::start(folder.path(), &["--store", &url, "--accept-bounded-loss"]).await;
    let http = reqwest::Client::new();
    let id = server.place(&http, "one").await;
    let (frames, _) = Client::connect(&server.ws(&id)).await.drain().await;
    assert!(events_of(&frames, &id, 0).last().unwrap()["type"].is_string());
    assert_eq!(server.terminate().await.0, Some(0));
}

/// The server reports that its store does not answer, and goes on when it answers again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_survives_an_outage_of_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let venue = venue(folder.path()).await;
    let postgres = PostgresServer::start();
    let url = postgres.url();
    let server = Program::start(folder.path(), &["--store", &url, "--venue-url", &venue.url]).await;
    let http = reqwest::Client::new();
    let mut expected = BTreeMap::new();
    for round in 0..2 {
        let id = server.place(&http, &format!("before-{round}")).await;
        expected.insert(id, 1);
        if round == 0 {
            postgres.kill();
        } else {
            postgres.stop();
        }
        for (path, status) in [("/health", 200), ("/ready", 503)] {
            let answer = http.get(format!("{}{path}", server.url)).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
        let body = serde_json::json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "0.1"});
        let refused =
            http.post(format!("{}/api/orders/execute", server.url)).json(&body).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        postgres.restart();
        while http.get(format!("{}/ready", server.url)).send().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let id = try_place(&server.url, &http, &format!("after-{round}")).await.unwrap();
        expected.insert(id, 1);
        for id in expected.keys() {
            let (frames, code) = Client::connect(&server.ws(id)).await.drain().await;
            let events = events_of(&frames, id, 0);
            assert_eq!((code, events.last().unwrap()["type"].as_str()), (1000, Some("confirmed")));
        }
    }
    assert_eq!(executions(&folder.path().join("ledger.jsonl")), expected);
    assert_eq!(server.terminate().await.0, Some(0));
}

/// A store that stands still for a while has taken the order or has not; whoever obeys the answer trades once.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_doubt_names_the_order_and_the_key_to_repeat_with() {
    let folder = tempfile::tempdir().unwrap();
    let venue = venue(folder.path()).await;
    let redis = RedisServer::start(&DURABLE);
    let server = Program::start(folder.path(), &["--store", &redis.url(), "--venue-url", &venue.url]).await;
    let http = reqwest::Client::new();
    let post = |key: Option<&str>| {
        let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "0.1"});
        let request = http.post(format!("{}/api/orders/execute", server.url)).json(&body);
        key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key)).send()
    };
    redis.pause();
    let in_doubt = post(None).await.unwrap();
    assert_eq!(in_doubt.status(), 503);
    let problem: Value = in_doubt.json().await.unwrap();
    assert_eq!(problem["code"], "outcome-unknown", "{problem}");
    let (named, key) = (text(&problem, "orderId"), text(&problem, "idempotencyKey"));
    redis.unpause();
    let repeated = post(Some(&key)).await.unwrap();
    assert!(repeated.status().is_success(), "{}", repeated.status());
    let id = text(&repeated.json().await.unwrap(), "orderId");
    let (frames, _) = Client::connect(&server.ws(&id)).await.drain().await;
    assert_eq!(frames.last().unwrap()["type"], "confirmed");
    let first = http.get(format!("{}/api/orders/status/{named}", server.url)).send().await.unwrap();
    assert!(first.status() == 404 || named == id, "{named} and {id}");
    assert_eq!(server.terminate().await.0, Some(0));
    assert_eq!(executions(&folder.path().join("ledger.jsonl")), BTreeMap::from([(id, 1)]));
}
