//! The program itself: crashes, signals, and the errors with which it does not start.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::program::{Program, command, executions, fails, order_form};
use common::{Client, events_of};
use futures_util::future::join_all;
use serde_json::Value;

const ORDERS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_orders_survive_kill_9_and_execute_at_most_once() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["--store", "sqlite:orders.db", "--sim-delay-ms", "20", "--sim-fail-rate", "10%", "--workers", "20"];
    let http = reqwest::Client::new();
    let first = Program::start(folder.path(), &args).await;
    let keys: Vec<String> = (0..ORDERS).map(|n| format!("order-{n}")).collect();
    let ids = join_all(keys.iter().map(|key| first.place(&http, key))).await;
    // When one of them ends, others are at every step.
    let (_, code) = Client::connect(&first.ws(&ids[ORDERS / 4])).await.drain().await;
    assert_eq!(code, 1000);
    first.kill().await;

    let second = Program::start(folder.path(), &args).await;
    // A client that got no answer places its orders again, and gets the same ones.
    assert_eq!(join_all(keys.iter().map(|key| second.place(&http, key))).await, ids);
    let streams =
        join_all(ids.iter().map(|id| async { Client::connect(&second.ws(id)).await.drain().await })).await;
    let mut confirmed = BTreeMap::new();
    for (id, (frames, code)) in ids.iter().zip(&streams) {
        assert_eq!(*code, 1000);
        let events = events_of(frames, id, 0);
        let last = events.last().unwrap();
        match last["type"].as_str().unwrap() {
            "confirmed" => _ = confirmed.insert(id.clone(), 1),
            "failed" => assert_eq!(last["error"]["code"], "retries-exhausted", "{last}"),
            other => panic!("{id} ends with {other}"),
        }
        assert!(events.iter().rev().skip(1).all(|event| event["status"] != "confirmed"));
    }
    assert_eq!(
        executions(&folder.path().join("orders.ledger.jsonl")),
        confirmed,
        "the confirmed orders, and no others, are executed once each"
    );
    let (exit_code, _) = second.terminate().await;
    assert_eq!(exit_code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_closes_the_streams_and_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", "memory:", "--sim-delay-ms", "60000"];
    let program = Program::start(folder.path(), &args).await;
    let id = program.place(&reqwest::Client::new(), "k").await;
    let mut client = Client::connect(&program.ws(&id)).await;
    assert_eq!(client.next().await.unwrap()["type"], "connection");
    let (ended, (_, close_code)) = tokio::join!(program.terminate(), client.drain());
    assert_eq!(close_code, 1001);
    assert_eq!(ended.0, Some(0), "{}", ended.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_gives_nonces_of_some_accounts_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", "sqlite:orders.db", "--sim-validity", "nonce", "--sim-accounts", "2"];
    let quick = ["--sim-delay-ms", "0", "--sim-fail-rate", "0"];
    let program = Program::start(folder.path(), &[&args[..], &quick].concat()).await;
    let http = reqwest::Client::new();
    let keys: Vec<String> = (0..10).map(|n| format!("order-{n}")).collect();
    for id in join_all(keys.iter().map(|key| program.place(&http, key))).await {
        let (frames, _) = Client::connect(&program.ws(&id)).await.drain().await;
        assert_eq!(events_of(&frames, &id, 0).last().unwrap()["type"], "confirmed");
    }
    let uses = order_engine_sim::read_nonce_uses(folder.path().join("orders.ledger.jsonl")).unwrap();
    let accounts: BTreeSet<_> = uses.iter().map(|used| used.nonce.account.clone()).collect();
    assert_eq!((uses.len(), accounts.len()), (10, 2));
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", "memory:", "--max-daily-notional", "100"];
    let missing = fails(folder.path(), &args).await;
    assert!(missing.contains("--prices"), "{missing}");
    let file = folder.path().join("prices.json");
    std::fs::write(&file, r#"{"SOL": "1000000"}"#).unwrap();
    let program = Program::start(folder.path(), &[&args[..], &["--prices", "prices.json"]].concat()).await;
    let http = reqwest::Client::new();
    let place = async || {
        let order = http.post(format!("{}/api/orders/execute", program.url)).json(&order_form("k"));
        order.send().await.unwrap().status().as_u16()
    };
    assert_eq!(place().await, 422, "the order is worth more than a day");
    // A file that cannot be read changes nothing, and another one does.
    std::fs::write(&file, "{").unwrap();
    program.logged("the prices stay as they were").await;
    assert_eq!(place().await, 422);
    std::fs::write(&file, r#"{"SOL": "0.5"}"#).unwrap();
    while place().await != 202 {
        tokio::task::yield_now().await;
    }
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_start_reports_why_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    std::fs::write(folder.path().join("file"), "[]").unwrap();
    for (args, expected) in [
        (vec!["--port", &port, "--store", "memory:"], "cannot listen on"),
        (vec!["--port", "0", "--store", "sqlite:file/orders.db"], "cannot open the store"),
        (vec!["--port", "0", "--store", "memory:", "--host", "0.0.0.0"], "--allow-public-unauthenticated"),
        (vec!["--port", "0", "--store", "memory:", "--tokens", "file"], "at least two tokens"),
        (vec!["--port", "0", "--store", "memory:", "--allowed-origin", "nowhere"], "no origin"),
        (vec!["--port", "0", "--store", "memory:", "--allowed-host", "http://a"], "no host"),
        (vec!["--port", "0", "--store", "memory:", "--prices", "file"], "is not a JSON object"),
        (vec!["--port", "0", "--store", "memory:", "--prices", "missing"], "cannot read the prices"),
        (vec!["--port", "0", "--role", "worker"], "--role worker needs --venue-url"),
        (vec!["--port", "0", "--role", "api"], "--role api needs --venue-url"),
        (
            vec![
                "--port",
                "0",
                "--role",
                "worker",
                "--store",
                "memory:",
                "--venue-url",
                "http://127.0.0.1:1",
            ],
            "--role worker needs a store that processes share",
        ),
    ] {
        let error = fails(folder.path(), &args).await;
        assert!(error.contains(expected), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    }
    // An error in the command line itself has more lines.
    let error = fails(folder.path(), &["--store", "mysql://host/db"]).await;
    assert!(error.contains("--store"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_variable_is_one_that_is_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let empty =
        ["VENUE_URL", "PUBLIC_URL", "ALLOWED_ORIGINS", "ALLOWED_HOSTS", "TOKENS", "ACCEPT_BOUNDED_LOSS"];
    let mut variables: Vec<_> = empty.iter().map(|name| (*name, "")).collect();
    variables.extend([("STORE_URL", "memory:"), ("WORKERS", " "), ("HOST", "localhost")]);
    let program = Program::start_with(folder.path(), &[], &variables).await;
    assert!(program.url.starts_with("http://127.0.0.1:"), "{}", program.url);
    program.place(&reqwest::Client::new(), "k").await;
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_in_the_environment_is_a_word_for_yes_or_no() {
    let folder = tempfile::tempdir().unwrap();
    for word in ["1", "yes", "TRUE", "0", "no", "false"] {
        let variables = [("STORE_URL", "memory:"), ("ALLOW_PUBLIC_UNAUTHENTICATED", word)];
        assert_eq!(
            Program::start_with(folder.path(), &[], &variables).await.terminate().await.0,
            Some(0),
            "{word}"
        );
    }
    for (name, junk) in [
        ("ACCEPT_BOUNDED_LOSS", "perhaps"),
        ("PUBLIC_URL", "dex.example.org"),
        ("VENUE_URL", "nowhere"),
        ("ALLOWED_HOSTS", "http://a"),
        ("ALLOWED_ORIGINS", "a.example"),
        ("HOST", "example.org"),
        ("WORKERS", "many"),
    ] {
        let output = command(folder.path(), &["--port", "0", "--store", "memory:"])
            .env(name, junk)
            .output()
            .await
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{name}");
        assert!(error.lines().next().unwrap().len() < 200 && !error.contains("listening"), "{name}: {error}");
    }
}

/// The limit that the program starts with would be reached by the clients alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_of_open_files_is_raised_and_the_clients_stay_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "--store",
        "memory:",
        "--sim-delay-ms",
        "600000",
        "--max-sockets-per-order",
        "1000",
        "--shutdown-timeout",
        "0",
    ];
    let program = Program::start_limited(folder.path(), &args, [96, 560]).await;
    let http = reqwest::Client::new();
    let id = program.place(&http, "k").await;
    let mut clients = Vec::new();
    let refused = loop {
        match tokio_tungstenite::connect_async(program.ws(&id)).await {
            Ok(connected) => clients.push(connected),
            Err(error) => break error.to_string(),
        }
    };
    assert!(refused.contains("503"), "{refused}");
    assert_eq!(clients.len(), 300, "three quarters of what is left of 560");
    assert_eq!(http.get(format!("{}/health", program.url)).send().await.unwrap().status(), 200);
    drop(clients);
    assert_eq!(program.terminate().await.0, Some(0));
}

/// A balancer has to see that the server is not ready before connections are refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_goes_on_serving_and_a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["--store", "memory:", "--sim-delay-ms", "600000", "--drain", "600", "--shutdown-timeout", "600"];
    let program = Program::start(folder.path(), &args).await;
    let http = reqwest::Client::new();
    let status =
        async |path: &str| http.get(format!("{}{path}", program.url)).send().await.unwrap().status().as_u16();
    program.place(&http, "before").await;
    assert_eq!(status("/ready").await, 200);
    program.signal().await;
    while status("/ready").await == 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!((status("/ready").await, status("/health").await), (503, 200));
    program.place(&http, "meanwhile").await;
    let (code, log) = program.terminate().await;
    assert_eq!(code, Some(0));
    assert!(log.contains("draining") && log.contains("a second signal"), "{log}");
}

/// What is written to the removed file is lost with the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_takes_no_orders() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &["--store", "sqlite:orders.db"]).await;
    let http = reqwest::Client::new();
    program.place(&http, "before").await;
    for name in ["orders.db", "orders.db-wal", "orders.db-shm"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let post = http.post(format!("{}/api/orders/execute", program.url)).json(&order_form("after"));
    assert_eq!(post.send().await.unwrap().status(), 503);
    assert_eq!(http.get(format!("{}/ready", program.url)).send().await.unwrap().status(), 503);
    assert_eq!(http.get(format!("{}/health", program.url)).send().await.unwrap().status(), 200);
    program.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &["--store", "memory:", "--log-format", "json"]).await;
    let (_, log) = program.terminate().await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "ended"), "{log}");
}
