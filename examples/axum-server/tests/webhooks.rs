//! Webhooks of a server that runs as a process of its own, and their receivers.

mod common;
#[path = "webhooks/operators.rs"]
mod operators;
#[path = "webhooks/receiver.rs"]
mod receiver;
#[path = "webhooks/recipes.rs"]
mod recipes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::program::{Program, SimVenue};
use common::text;
use order_engine_server::KeyCommand;
use receiver::{Mode, Receiver};
use reqwest::Method;
use serde_json::{Value, json};

const FLAGS: [&str; 13] = [
    "--webhook-http",
    "--webhook-networks",
    "127.0.0.1",
    "--lease-ms",
    "1000",
    "--sim-delay-ms",
    "1",
    "--api-keys",
    "keys.json",
    // Tests ask again until something has happened.
    "--user-rate",
    "off",
    "--address-rate",
    "off",
];

/// A server, and its users.
struct Site {
    folder: tempfile::TempDir,
    args: Vec<&'static str>,
    program: Program,
    http: reqwest::Client,
    keys: BTreeMap<&'static str, String>,
}

/// Makes a key with scopes in the file of a folder.
fn key_with(folder: &Path, user: &str, scopes: &str) -> String {
    let (user, scopes) = (user.to_owned(), scopes.parse().unwrap());
    let (mut out, file) = (Vec::new(), folder.join("keys.json"));
    let command = KeyCommand::Create { user, scopes, expires: None };
    command.run(Some(file), &order_engine_server::AuditLog::default(), &mut out, &mut Vec::new()).unwrap();
    String::from_utf8(out).unwrap().trim().to_owned()
}

impl Site {
    async fn start(store: &'static str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &["--store", store]).await
    }

    async fn start_in(folder: tempfile::TempDir, args: &[&'static str]) -> Self {
        let keys = ["alice", "bob"].map(|user| (user, key_with(folder.path(), user, "read,trade")));
        let args = [&FLAGS[..], args].concat();
        let program = Program::start(folder.path(), &args).await;
        Self { folder, args, program, http: reqwest::Client::new(), keys: keys.into() }
    }

    /// Kills the server, and starts it again.
    async fn crash(self) -> Self {
        let Self { folder, args, program, http, keys } = self;
        program.kill().await;
        let program = Program::start(folder.path(), &args).await;
        Self { folder, args, program, http, keys }
    }

    async fn ask(&self, user: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.program.url);
        let mut request = self.http.request(method, url).bearer_auth(&self.keys[user]);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn get(&self, user: &str, path: &str) -> Value {
        let (status, body) = self.ask(user, Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, user: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.ask(user, Method::POST, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {body}");
        body
    }

    /// Registers a receiver, and returns the path of the endpoint.
    async fn register(&self, user: &str, receiver: &Receiver, events: &[&str]) -> String {
        let made = self.post(user, "/api/webhooks", json!({"url": receiver.url, "events": events})).await;
        receiver.trust(&text(&made, "secret"));
        format!("/api/webhooks/{}", text(&made, "id"))
    }

    async fn place(&self, user: &str, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let order = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "0.1"});
            ids.push(text(&self.post(user, "/api/orders/execute", order).await, "orderId"));
        }
        ids
    }

    /// Returns the events of orders as the server has them.
    async fn events(&self, user: &str, ids: &[String]) -> BTreeMap<String, Vec<Value>> {
        let mut orders = BTreeMap::new();
        for id in ids {
            let body = self.get(user, &format!("/api/orders/{id}/events")).await;
            orders.insert(id.clone(), body["events"].as_array().unwrap().clone());
        }
        orders
    }

    /// Waits until orders have ended.
    async fn have_ended(&self, user: &str, ids: &[String]) {
        for id in ids {
            while !["confirmed", "failed"].contains(
                &text(&self.get(user, &format!("/api/orders/status/{id}")).await, "status").as_str(),
            ) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Starts another process over the same store, and kills the one that there was.
    async fn hand_over(self, before_the_kill: impl FnOnce()) -> Self {
        let Self { folder, args, program, http, keys } = self;
        let other = Program::start(folder.path(), &args).await;
        before_the_kill();
        program.kill().await;
        Self { folder, args, program: other, http, keys }
    }

    /// Waits until an endpoint has a status.
    async fn has_status(&self, user: &str, path: &str, status: &str) -> Value {
        loop {
            let endpoint = self.get(user, path).await;
            if endpoint["status"] == status {
                return endpoint;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn seqs(orders: &BTreeMap<String, Vec<Value>>) -> BTreeMap<String, Vec<u64>> {
    let seqs = |events: &Vec<Value>| events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    orders.iter().map(|(id, events)| (id.clone(), seqs(events))).collect()
}

async fn users_get_their_own(store: &'static str) {
    let site = Site::start(store).await;
    let [alices, bobs] = [Receiver::start(Mode::Takes).await, Receiver::start(Mode::Takes).await];
    let path = site.register("alice", &alices, &[]).await;
    site.register("bob", &bobs, &["order.confirmed", "order.failed"]).await;
    let of_alice = site.place("alice", 8).await;
    let of_bob = site.place("bob", 3).await;
    alices.has_ends(8).await;
    bobs.has_ends(3).await;
    let events = site.events("alice", &of_alice).await;
    assert_eq!(alices.first_arrivals(), seqs(&events), "in order, and none is missing");
    for taken in alices.taken() {
        let data = &taken.body["data"];
        let event =
            &events[&text(data, "orderId")][usize::try_from(data["seq"].as_u64().unwrap()).unwrap() - 1];
        for (field, value) in event.as_object().unwrap() {
            assert_eq!(&data[field], value, "{field} is as the server shows it");
        }
        assert_eq!(taken.body["type"], format!("order.{}", text(event, "type")));
        assert_eq!((&taken.body["timestamp"], &data["userId"]), (&event["timestamp"], &json!("alice")));
        let id = format!("evt_{}_{}", text(data, "orderId").replace('-', ""), data["seq"]);
        assert_eq!(taken.id, id);
    }
    let ends: BTreeSet<String> =
        bobs.taken().iter().map(|taken| text(&taken.body["data"], "orderId")).collect();
    assert_eq!(ends, of_bob.into_iter().collect(), "only theirs");
    assert_eq!(bobs.taken().len(), 3, "and only the kinds that were asked for");
    assert_eq!((alices.forged(), bobs.forged()), (0, 0));
    for (method, below) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "/test"),
        (Method::GET, "/deliveries"),
        (Method::POST, "/rotate-secret"),
        (Method::POST, "/redeliver"),
    ] {
        let (status, problem) = site.ask("bob", method, &format!("{path}{below}"), Some(json!({}))).await;
        assert_eq!((status, &problem["code"]), (404, &json!("webhook-not-found")), "{below}");
    }
    let listed = site.get("alice", "/v1/api/webhooks").await;
    assert_eq!(listed["webhooks"].as_array().unwrap().len(), 1);
    assert!(!listed.to_string().contains("whsec_"), "a secret is shown once");
    assert_eq!(site.program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_users_events_arrive_signed_and_in_order() {
    users_get_their_own("memory:").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_users_events_arrive_from_a_postgres_store() {
    let url = order_engine_postgres::testing::shared_url();
    users_get_their_own(format!("{url}?schema={}", order_engine_postgres::testing::fresh_name()).leak())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_users_events_arrive_from_a_redis_store() {
    let redis = order_engine_redis::testing::RedisServer::start(&order_engine_redis::testing::DURABLE);
    users_get_their_own(redis.url().leak()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_although_the_receiver_is_down_and_the_server_is_killed() {
    let site = Site::start("sqlite:orders.db").await;
    let receiver = Receiver::start(Mode::Takes).await;
    let path = site.register("alice", &receiver, &[]).await;
    let mut ids = site.place("alice", 3).await;
    receiver.has_requests(2).await;
    receiver.set(Mode::Fails);
    ids.extend(site.place("alice", 3).await);
    site.has_status("alice", &path, "failing").await;
    let site = site.crash().await;
    ids.extend(site.place("alice", 3).await);
    receiver.set(Mode::Takes);
    receiver.has_ends(9).await;
    assert_eq!(receiver.first_arrivals(), seqs(&site.events("alice", &ids).await));
    assert_eq!(receiver.forged(), 0);
    let endpoint = site.has_status("alice", &path, "enabled").await;
    assert_eq!((&endpoint["failures"], &endpoint["lastError"]), (&json!(0), &Value::Null));
    let log = site.get("alice", &format!("{path}/deliveries?limit=200")).await;
    let failed: Vec<&Value> =
        log["deliveries"].as_array().unwrap().iter().filter(|entry| entry["status"] == 500).collect();
    assert!(!failed.is_empty() && failed.iter().all(|entry| entry["error"] == "status"), "{log}");
}

/// Of two processes over one store, the one that delivers is killed in the middle of a request: the other goes on, where it was.
async fn another_process_delivers_on(store: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let venue = SimVenue::start(folder.path(), &["--slot-ms", "5", "--step-ms", "5"]).await;
    let mut site = Site::start_in(folder, &["--store", store, "--venue-url", venue.url.clone().leak()]).await;
    let receiver = Receiver::start(Mode::Takes).await;
    site.register("alice", &receiver, &[]).await;
    let mut ids = site.place("alice", 2).await;
    receiver.has_ends(2).await;
    for _ in 0..2 {
        let requests = receiver.requests();
        receiver.set(Mode::Hangs);
        let placed = site.place("alice", 2).await;
        site.have_ended("alice", &placed).await;
        receiver.has_requests(requests + 1).await;
        ids.extend(placed);
        site = site.hand_over(|| receiver.set(Mode::Takes)).await;
        receiver.has_ends(ids.len()).await;
        assert_eq!(receiver.first_arrivals(), seqs(&site.events("alice", &ids).await));
    }
    assert_eq!(receiver.forged(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_delivers_on_from_a_postgres_store() {
    let url = order_engine_postgres::testing::shared_url();
    let store = format!("{url}?schema={}", order_engine_postgres::testing::fresh_name());
    another_process_delivers_on(store.leak()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_delivers_on_from_a_redis_store() {
    let redis = order_engine_redis::testing::RedisServer::start(&order_engine_redis::testing::DURABLE);
    another_process_delivers_on(redis.url().leak()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_receiver_keeps_nobody_waiting() {
    let site = Site::start("memory:").await;
    let dead = Receiver::start(Mode::Hangs).await;
    let mut living = Vec::new();
    site.register("alice", &dead, &[]).await;
    for user in ["alice", "bob"] {
        let receiver = Receiver::start(Mode::Takes).await;
        site.register(user, &receiver, &[]).await;
        living.push(receiver);
    }
    dead.set(Mode::Hangs);
    for user in ["alice", "bob"] {
        site.place(user, 10).await;
    }
    dead.has_requests(1).await;
    for receiver in &living {
        receiver.has_ends(10).await;
    }
    assert_eq!(dead.requests(), 1, "one request waits, and nothing more is begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_disabled_and_starts_again_where_it_stopped() {
    let site = Site::start("memory:").await;
    let receiver = Receiver::start(Mode::IsGone).await;
    let path = site.register("alice", &receiver, &[]).await;
    let mut ids = site.place("alice", 2).await;
    let endpoint = site.has_status("alice", &path, "disabled").await;
    assert_eq!((&endpoint["disabledReason"], &endpoint["lastError"]), (&json!("gone"), &json!("status-410")));
    receiver.set(Mode::Takes);
    ids.extend(site.place("alice", 1).await);
    let (status, endpoint) = site.ask("alice", Method::PATCH, &path, Some(json!({"enabled": true}))).await;
    assert_eq!((status, &endpoint["status"]), (200, &json!("enabled")));
    receiver.has_ends(3).await;
    assert_eq!(receiver.first_arrivals(), seqs(&site.events("alice", &ids).await));
    // What waits while it is off may be left out.
    let off = site.ask("alice", Method::PATCH, &path, Some(json!({"enabled": false}))).await;
    assert_eq!(off.1["status"], "off");
    let left_out = site.place("alice", 1).await;
    while site.get("alice", &format!("/api/orders/status/{}", left_out[0])).await["status"] != "confirmed" {
        tokio::task::yield_now().await;
    }
    let on = site.ask("alice", Method::PATCH, &path, Some(json!({"enabled": true, "skip": true}))).await;
    assert_eq!(on.0, 200);
    let last = site.place("alice", 1).await;
    receiver.has_ends(4).await;
    let arrived = receiver.first_arrivals();
    assert!(arrived.contains_key(&last[0]) && !arrived.contains_key(&left_out[0]), "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_receiver_need_not_wait_for_the_first_ones_pause() {
    let site = Site::start("memory:").await;
    let [broken, sound] = [Receiver::start(Mode::Fails).await, Receiver::start(Mode::Takes).await];
    let path = site.register("alice", &broken, &[]).await;
    sound.trust_as(&broken);
    let ids = site.place("alice", 2).await;
    let endpoint = site.has_status("alice", &path, "failing").await;
    assert!(endpoint["nextAttemptAt"].is_string() && endpoint["failures"] == 1, "{endpoint}");
    let moved = site.ask("alice", Method::PATCH, &path, Some(json!({"url": sound.url}))).await.1;
    assert_eq!((&moved["status"], &moved["nextAttemptAt"]), (&json!("enabled"), &Value::Null));
    sound.has_ends(2).await;
    assert_eq!(sound.first_arrivals(), seqs(&site.events("alice", &ids).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_test_redeliver_rotate_and_delete() {
    let site = Site::start("memory:").await;
    let receiver = Receiver::start(Mode::Takes).await;
    let path = site.register("alice", &receiver, &["order.confirmed"]).await;
    let tested = site.post("alice", &format!("{path}/test"), json!({})).await;
    assert_eq!(
        (&tested["status"], &tested["error"], &tested["trigger"]),
        (&json!(204), &Value::Null, &json!("test"))
    );
    assert_eq!(receiver.taken()[0].body["type"], "webhook.test");
    let ids = site.place("alice", 1).await;
    receiver.has_ends(1).await;
    let event = receiver.taken()[1].clone();
    // Any event of the order may be asked for, also of a kind that is not sent by itself.
    for seq in [&event.body["data"]["seq"], &json!(1)] {
        let asked = json!({"orderId": ids[0], "seq": seq});
        let again = site.post("alice", &format!("{path}/redeliver"), asked).await;
        assert_eq!((&again["trigger"], &again["attempt"]), (&json!("redelivery"), &json!(1)));
    }
    let taken = receiver.taken();
    assert_eq!(
        (&taken[2].id, &taken[2].body),
        (&event.id, &event.body),
        "the same event under the same name"
    );
    assert_eq!(taken[3].body["type"], "order.pending");
    let bobs = site.place("bob", 1).await;
    for (order, seq) in [(&bobs[0], 1), (&ids[0], 99), (&ids[0], 0)] {
        let asked = json!({"orderId": order, "seq": seq});
        let (status, _) = site.ask("alice", Method::POST, &format!("{path}/redeliver"), Some(asked)).await;
        assert_eq!(status, 404, "{order} {seq}");
    }
    // The old secret is valid for a day.
    let rotated = site.post("alice", &format!("{path}/rotate-secret"), json!({})).await;
    assert!(rotated["previousSecretUntil"].is_string(), "{rotated}");
    site.post("alice", &format!("{path}/test"), json!({})).await;
    receiver.trust(&text(&rotated, "secret"));
    site.post("alice", &format!("{path}/test"), json!({})).await;
    let taken = receiver.taken();
    assert_eq!((receiver.forged(), taken.len(), taken[5].signatures.split(' ').count()), (0, 6, 2));
    // Six attempts are in the log, the newest first.
    let first = site.get("alice", &format!("{path}/deliveries?limit=4")).await;
    let rest = site.get("alice", &format!("{path}/deliveries?cursor={}", first["nextCursor"])).await;
    let triggers = |page: &Value| -> Vec<String> {
        page["deliveries"].as_array().unwrap().iter().map(|entry| text(entry, "trigger")).collect()
    };
    assert_eq!(triggers(&first), ["test", "test", "redelivery", "redelivery"]);
    assert_eq!(
        (triggers(&rest), &rest["nextCursor"]),
        (vec!["event".to_owned(), "test".to_owned()], &Value::Null)
    );
    assert_eq!(site.ask("alice", Method::DELETE, &path, None).await.0, 204);
    assert_eq!(site.ask("alice", Method::GET, &path, None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipes_of_the_documentation_accept_what_the_server_signs() {
    let site = Site::start("memory:").await;
    let receiver = Receiver::start(Mode::Takes).await;
    let made = site.post("alice", "/api/webhooks", json!({"url": receiver.url})).await;
    let first = text(&made, "secret");
    receiver.trust(&first);
    let path = format!("/api/webhooks/{}", text(&made, "id"));
    let second = text(&site.post("alice", &format!("{path}/rotate-secret"), json!({})).await, "secret");
    site.post("alice", &format!("{path}/test"), json!({})).await;
    let [taken] = &receiver.taken()[..] else { panic!("one message") };
    for secret in [&first, &second] {
        recipes::check(secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", taken).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_called_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &["--store", "memory:", "--max-webhooks", "3"]).await;
    let http = reqwest::Client::new();
    let create = async |body: Value| {
        let response = http.post(format!("{}/api/webhooks", program.url)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    for (body, field, code) in [
        (json!({}), "url", "required"),
        (json!({"url": 1}), "url", "invalid"),
        (json!({"url": "http://hooks.example/"}), "url", "scheme-refused"),
        (json!({"url": "https://a:b@hooks.example/"}), "url", "credentials-refused"),
        (json!({"url": "https://hooks.example:22/"}), "url", "port-refused"),
        (json!({"url": "https://169.254.169.254/latest"}), "url", "address-refused"),
        (json!({"url": "https://[::ffff:10.0.0.1]/"}), "url", "address-refused"),
        (json!({"url": "https://hooks.example/", "events": ["order.any"]}), "events", "invalid"),
        (json!({"url": "https://hooks.example/", "secret": "mine"}), "secret", "unknown"),
    ] {
        let (status, problem) = create(body.clone()).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{body}: {problem}");
        assert_eq!(problem["errors"][0]["code"], code, "{body}");
    }
    // A name is registered, and nothing is sent to it: it is the loopback's.
    let (status, made) = create(json!({"url": "https://localhost/x"})).await;
    assert_eq!(status, 201);
    let url = format!("{}/api/webhooks/{}/test", program.url, text(&made, "id"));
    let tested: Value = http.post(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&tested["error"], &tested["status"]), (&json!("address-refused"), &Value::Null));
    for expected in [201, 201, 409] {
        let (status, body) = create(json!({"url": "https://hooks.example/x"})).await;
        assert_eq!(status, expected, "{body}");
    }
    assert_eq!(program.terminate().await.0, Some(0));
}
