//! The kill switch: every process obeys, and a restart forgets nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::program::{Program, SimVenue, executions, order_form};
use super::common::{Client, events_of};

/// A server and its client.
struct Server {
    program: Program,
    http: reqwest::Client,
}

impl Server {
    async fn start(folder: &std::path::Path, venue: &SimVenue) -> Self {
        let args = ["--store", "sqlite:orders.db", "--venue-url", &venue.url];
        Self { program: Program::start(folder, &args).await, http: reqwest::Client::new() }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.program.url)).json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn stats(&self) -> Value {
        let url = format!("{}/api/operator/stats", self.program.url);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Returns whether it refuses new orders because accepting is paused.
    async fn refuses(&self, key: &str) -> bool {
        let (status, answer) = self.post("/api/orders/execute", &order_form(key)).await;
        assert!(status == 202 || answer["code"] == "paused", "{answer}");
        status == 503
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_stops_every_process_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let venue =
        SimVenue::start(folder.path(), &["--slot-ms", "5", "--step-ms", "5", "--ledger", "ledger.jsonl"]);
    let venue = venue.await;
    let start = || Server::start(folder.path(), &venue);
    let (first, second) = (start().await, start().await);
    let (status, halted) = first.post("/api/operator/halt", &json!({"reason": "a test"})).await;
    assert_eq!((status, halted["pauses"].as_array().unwrap().len()), (200, 2), "{halted}");
    assert!(first.refuses("none-1").await, "the process that was asked obeys at once");
    let asked_at = Instant::now();
    let mut placed = 0;
    while !second.refuses(&format!("race-{placed}")).await {
        placed += 1;
    }
    println!("the other process obeyed after {:?}, and took {placed} orders until then", asked_at.elapsed());
    assert!(asked_at.elapsed() < Duration::from_secs(3), "{:?}", asked_at.elapsed());

    // Orders are accepted again, and sending stays off: they wait, although workers are there.
    let (status, _) = first.post("/api/operator/pauses/end", &json!({"activity": "accepting"})).await;
    assert_eq!(status, 200);
    let mut expected = BTreeMap::new();
    for n in 0..5 {
        let id = first.program.place(&first.http, &format!("waits-{n}")).await;
        expected.insert(id, 1);
    }
    let (status, _) = second.post("/api/operator/halt", &json!({"reason": "a test"})).await;
    assert_eq!(status, 200);
    for server in [first, second] {
        assert_eq!(server.program.terminate().await.0, Some(0));
    }

    let (first, second) = (start().await, start().await);
    assert!(first.refuses("none-2").await && second.refuses("none-3").await, "it is known from the start on");
    for server in [&first, &second] {
        let told = loop {
            let told = server.stats().await;
            if told["backlog"]["execute"]["dueForMs"].as_u64() > Some(1_000) {
                break told;
            }
        };
        assert_eq!((&told["isHalted"], &told["workers"]), (&json!(true), &json!(1)));
    }
    let sent = executions(&ledger);
    assert!(expected.keys().all(|id| !sent.contains_key(id)), "{sent:?}");

    let (status, left) = second.post("/api/operator/halt/end", &json!({})).await;
    assert_eq!((status, left), (200, json!({"pauses": []})));
    for id in expected.keys() {
        let (frames, _) = Client::connect(&first.program.ws(id)).await.drain().await;
        assert_eq!(events_of(&frames, id, 0).last().unwrap()["type"], "confirmed");
    }
    let sent = executions(&ledger);
    assert!(expected.iter().all(|(id, times)| sent.get(id) == Some(times)), "{sent:?}");
    for server in [first, second] {
        assert_eq!(server.program.terminate().await.0, Some(0));
    }
}
