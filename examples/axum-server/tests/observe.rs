//! What can be told of a request and of an order afterwards: ids, the log, and what the venue is told.

mod common;

use common::program::{Program, SimVenue};
use common::wire::Wire;
use common::{Client, TestServer, text};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traceparent() -> String {
    format!("00-{TRACE}-b7ad6b7169203331-01")
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let get = |path: &str| server.http.get(server.url(path));
    for path in [
        "/health",
        "/",
        "/api/orders",
        "/nowhere",
        &format!("/api/orders/status/{id}"),
        "/api/orders/execute",
    ] {
        let own = get(path).send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(own.len() == 32 && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{path}: {own}");
        let traced = get(path).header("traceparent", traceparent()).send().await.unwrap();
        assert_eq!(traced.headers()["x-request-id"], TRACE, "{path}");
    }
    let junk = get("/health").header("traceparent", "00-x-y-01").send().await.unwrap();
    assert_eq!(junk.headers()["x-request-id"].len(), 32);
    // A live stream, and a request that could not be read.
    let events = get(&format!("/api/orders/{id}/events")).header("Accept", "text/event-stream");
    assert_eq!(
        events.header("traceparent", traceparent()).send().await.unwrap().headers()["x-request-id"],
        TRACE
    );
    let refused = Wire::send(&server.host, "nonsense\r\n\r\n").await.rest().await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("\r\nx-request-id: "), "{refused}");
}

fn line(log: &[Value], is_it: impl Fn(&Value) -> bool) -> &Value {
    log.iter().find(|line| is_it(line)).unwrap_or_else(|| panic!("no such line in {log:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_of_each_request_and_of_the_end_of_each_order_and_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "--store",
        "memory:",
        "--sim-delay-ms",
        "0",
        "--sim-fail-rate",
        "0",
        "--log-format",
        "json",
        "--access-log",
    ];
    let program = Program::start(folder.path(), &args).await;
    let http = reqwest::Client::new();
    let id = program.place(&http, "k").await;
    let (frames, _) = Client::connect(&program.ws(&id)).await.drain().await;
    assert_eq!(frames.last().unwrap()["type"], "confirmed");
    let status = http.get(format!("{}/api/orders/status/{id}?ticket=not-to-be-logged", program.url));
    let status = status.bearer_auth("nor-is-this").header("traceparent", traceparent()).send().await.unwrap();
    assert_eq!(status.headers()["x-request-id"], TRACE);
    let (code, log) = program.terminate().await;
    assert_eq!(code, Some(0));
    assert!(!log.contains("not-to-be-logged") && !log.contains("nor-is-this"), "{log}");
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let access =
        line(&log, |line| line["target"] == "order_engine::access" && line["span"]["request.id"] == TRACE);
    assert_eq!(access["http.request.path"], format!("/api/orders/status/{id}"));
    assert_eq!(access["level"], "INFO");
    assert_eq!(access["span"]["http.route"], "/api/orders/status/{orderId}");
    assert_eq!(access["span"]["http.request.method"], "GET");
    assert_eq!(access["span"]["order.id"], id);
    assert_eq!(access["client.address"], "127.0.0.1");
    assert!(access["http.response.status"].is_u64() && access["http.duration_ms"].is_f64(), "{access}");
    let posted = line(&log, |line| line["span"]["http.route"] == "/api/orders/execute");
    assert_eq!(
        (&posted["span"]["order.id"], &posted["http.response.status"]),
        (&Value::from(&*id), &202.into())
    );

    let ended = line(&log, |line| line["target"] == "order_engine::orders");
    assert_eq!((&ended["order.id"], &ended["order.status"]), (&Value::from(&*id), &"confirmed".into()));
    assert_eq!((&ended["order.attempts"], &ended["venue"]), (&1.into(), &"main".into()));
    assert!(ended["order.duration_s"].as_f64().is_some_and(|taken| taken < 60.0), "{ended}");
    assert_eq!(log.iter().filter(|line| line["target"] == "order_engine::orders").count(), 1);
}

/// Passes what comes to an address on to a venue, and what the client has sent to the test as well.
async fn listen_in(venue: &str) -> (String, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let venue = venue.strip_prefix("http://").unwrap().to_owned();
    let (heard, hearing) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let node = TcpStream::connect(&venue).await.unwrap();
            let heard = heard.clone();
            tokio::spawn(async move {
                let ((mut asks, mut gets), (mut answers, mut takes)) =
                    (client.into_split(), node.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut answers, &mut gets).await });
                let mut bytes = vec![0; 16 * 1024];
                while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut asks, &mut bytes).await {
                    // The test may have heard enough.
                    let _ = heard.send(bytes[..count].to_vec());
                    takes.write_all(&bytes[..count]).await.unwrap();
                }
            });
        }
    });
    (url, hearing)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_venue_is_told_of_which_order_a_call_is() {
    let folder = tempfile::tempdir().unwrap();
    let venue = SimVenue::start(folder.path(), &[]).await;
    let (url, mut hearing) = listen_in(&venue.url).await;
    let program = Program::start(folder.path(), &["--store", "sqlite:orders.db", "--venue-url", &url]).await;
    let http = reqwest::Client::new();
    let id = program.place(&http, "k").await;
    let (frames, _) = Client::connect(&program.ws(&id)).await.drain().await;
    assert!(
        text(frames.last().unwrap(), "type") == "confirmed"
            || text(frames.last().unwrap(), "type") == "failed"
    );
    assert_eq!(program.terminate().await.0, Some(0));
    let mut heard = Vec::new();
    while let Ok(bytes) = hearing.try_recv() {
        heard.extend(bytes);
    }
    let heard = String::from_utf8_lossy(&heard).to_ascii_lowercase();
    let expected = format!("\r\ntraceparent: 00-{}-", id.replace('-', ""));
    assert!(heard.contains(&expected), "no {expected} in {heard}");
}
