//! Servers and a venue in processes of their own.

mod common;

use std::collections::BTreeMap;

use common::program::{Program, SimVenue, command, executions};
use common::{Client, events_of};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

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

/// Where the venue's kind is known, orders are accepted while it is away.
#[tokio::test(flavor = "multi_thread")]
async fn orders_are_accepted_before_their_venue_starts() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let server = |more: [&'static str; 2]| {
        let args = [&["--store", "sqlite:orders.db", "--venue-url", &url][..], &more[..]].concat();
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let folder = folder.path();
        async move { Program::start(folder, &args.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let (api, all) = (server(["--role", "api"]).await, server(["--venue-validity", "nonce"]).await);
    let http = reqwest::Client::new();
    let ids = [api.place(&http, "one").await, all.place(&http, "other").await];
    let venue = SimVenue::start_at(
        &port,
        folder.path(),
        &["--slot-ms", "5", "--step-ms", "5", "--validity", "nonce"],
    )
    .await;
    for id in &ids {
        let (frames, _) = Client::connect(&api.ws(id)).await.drain().await;
        let events = events_of(&frames, id, 0);
        assert_eq!(events.last().unwrap()["type"].as_str(), Some("confirmed"), "{events:?}");
    }
    drop(venue);
    for program in [api, all] {
        assert_eq!(program.terminate().await.0, Some(0));
    }
}

/// Otherwise the venue says what bounds its transactions, and nothing begins before.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_its_venue() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let args = ["--port", "0", "--store", "sqlite:orders.db", "--venue-url", &url];
    let mut child = command(folder.path(), &args).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut until = async |text: &str| {
        let mut line = String::new();
        while !line.contains(text) {
            line = lines.next_line().await.unwrap().expect("the server goes on");
            assert!(text.starts_with("listening") || !line.contains("listening"), "{line}");
        }
    };
    until("the venue does not answer yet").await;
    let venue = SimVenue::start_at(&port, folder.path(), &["--validity", "nonce"]).await;
    assert_eq!(venue.url, url);
    until("listening on").await;

    // A signal ends the wait.
    drop(venue);
    let args = ["--port", "0", "--store", "memory:", "--venue-url", &url];
    let mut child = command(folder.path(), &args).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("the server waits").contains("does not answer yet") {}
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
