//! What clients may do to their connections, and what they cannot do to those of others.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::wire::{Wire, frame, handshake};
use common::{Client, Hanging, TestServer};
use futures_util::future::join_all;
use order_engine_server::Options;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// How long health may take, whatever the others do.
const PROMPTLY: Duration = Duration::from_secs(5);
const UNKNOWN: &str = "/ws/orders/0190163d-8694-739b-aea5-966c26f8ad91";

/// Returns the status of an answer to a client of its own.
async fn status(server: &TestServer, path: &str) -> u16 {
    let answer = reqwest::Client::new().get(server.url(path)).send();
    timeout(PROMPTLY, answer).await.expect("the answer comes promptly").unwrap().status().as_u16()
}

/// Sends as much as the server takes without reading any answer.
async fn pipeline(wire: &mut Wire, address: &str) {
    let requests = format!("GET /api/tokens HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(100);
    while timeout(Duration::from_millis(300), wire.0.write_all(requests.as_bytes())).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_do_not_stop_the_answers_about_health() {
    let server = TestServer::with(Options { max_connections: 50, ..Options::default() }).await;
    let mut slow = join_all((0..50).map(|_| Wire::open(&server.host))).await;
    join_all(slow.iter_mut().map(|wire| pipeline(wire, &server.host))).await;
    for path in ["/health", "/ready", "/health"] {
        assert_eq!(status(&server, path).await, 200, "{path}");
    }
    // Others are told why they are not served.
    assert_eq!(status(&server, "/api/tokens").await, 503);
    // Connections that only lie there do not fill the reserve.
    let _idle = join_all((0..40).map(|_| Wire::open(&server.host))).await;
    assert_eq!(status(&server, "/health").await, 200);
    drop(slow);
    while status(&server, "/api/tokens").await == 503 {}
}

#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let options = Options { max_connections_per_address: Some(3), ..Options::default() };
    let server = TestServer::with(options).await;
    let id = server.place_any().await;
    // The connection of that request is one, the live stream is another one.
    let client = server.connect(&format!("/ws/orders/{id}")).await;
    let idle = Wire::open(&server.host).await;
    let mut refused =
        Wire::send(&server.host, &format!("GET /api/tokens HTTP/1.1\r\nHost: {}\r\n\r\n", server.host)).await;
    let answer = refused.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too-many-connections"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close\r\n"), "{answer}");
    assert_eq!(status(&server, "/health").await, 200);
    drop((client, idle));
    while status(&server, "/api/tokens").await == 503 {}
}

#[tokio::test]
async fn sockets_on_unknown_orders_lock_nobody_out() {
    let server = TestServer::with(Options { max_sockets: 4, ..Options::default() }).await;
    let id = server.place_any().await;
    // They do not answer the close, so that the server would wait for them.
    let strangers = join_all((0..16).flat_map(|_| ["/ws/orders/nonsense", UNKNOWN]).map(async |path| {
        let mut wire = Wire::upgrade(&server.host, path).await;
        assert_eq!(wire.close_code().await, 4404);
        wire
    }))
    .await;
    let url = server.ws_url(&format!("/ws/orders/{id}"));
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::try_connect(&url, ("x-test", "1")).await.expect("there is a place"));
    }
    for mut stranger in strangers {
        assert_eq!(stranger.rest().await, "", "the server closes the connection");
    }
}

#[tokio::test]
async fn frames_of_any_kind_count() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    // The first frame of a text and then empty continuations of it, pings, pongs, and empty texts.
    for (first, kind) in [(0x01, 0x00), (0x89, 0x89), (0x8a, 0x8a), (0x81, 0x81)] {
        let mut wire = Wire::upgrade(&server.host, &format!("/ws/orders/{id}")).await;
        wire.write(&frame(first, b"x")).await;
        wire.write(&frame(kind, b"").repeat(50)).await;
        assert_eq!(wire.close_code().await, 1008, "{kind:#x}");
    }
}

#[tokio::test]
async fn a_flood_of_frames_ends_at_once() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let mut wire = Wire::upgrade(&server.host, &format!("/ws/orders/{id}")).await;
    let flood = frame(0x00, b"").repeat(10_000);
    wire.write(&frame(0x01, b"x")).await;
    let flooding = async { while wire.0.write_all(&flood).await.is_ok() {} };
    timeout(Duration::from_secs(3), flooding).await.expect("the server closes the connection");
}

#[tokio::test]
async fn a_text_that_is_not_utf8_has_its_own_close_code() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let mut wire = Wire::upgrade(&server.host, &format!("/ws/orders/{id}")).await;
    wire.write(&frame(0x81, b"\xff\xfe")).await;
    assert_eq!(wire.close_code().await, 1007);
}

#[tokio::test]
async fn a_handshake_of_another_version_is_told_the_right_one() {
    let server = TestServer::idle().await;
    let mut wire = Wire::send(&server.host, &handshake(&server.host, UNKNOWN, "8")).await;
    let head = wire.head().await.to_lowercase();
    assert!(head.starts_with("http/1.1 426 ") && head.contains("sec-websocket-version: 13\r\n"), "{head}");
    let without_key = handshake(&server.host, UNKNOWN, "13").replace("Sec-WebSocket-Key", "X-Key");
    let head = Wire::send(&server.host, &without_key).await.head().await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_read() {
    let server = TestServer::idle().await;
    let mut request =
        handshake(&server.host, &format!("/ws/orders/{}", server.place_any().await), "13").into_bytes();
    request.extend(frame(0x81, b"\xff"));
    let mut wire = Wire::open(&server.host).await;
    wire.write(&request).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(wire.close_code().await, 1007);
}

/// What HTTP's library refuses by itself has no body.
#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_with_a_problem() {
    let server = TestServer::idle().await;
    let get = format!("GET / HTTP/1.1\r\nHost: {}\r\n", server.host);
    for (request, status, code) in [
        (format!("{get}X: {}\r\n\r\n", "x".repeat(20_000)), 431, "headers-too-large"),
        (format!("{get}{}\r\n", "X: x\r\n".repeat(200)), 431, "headers-too-large"),
        (format!("{get}no header\r\n\r\n"), 400, "malformed-request"),
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed-request"),
    ] {
        let answer = Wire::send(&server.host, &request).await.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()));
        for header in
            ["content-type: application/problem+json", "connection: close", "x-content-type-options: nosniff"]
        {
            assert!(head.contains(header), "{header} in {head}");
        }
    }
    // The refusal of a second request does not spoil the answer to the first one.
    let answer = Wire::send(&server.host, &format!("{get}\r\nnonsense\r\n\r\n")).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn server_sent_events_go_to_clients_of_http_1_0_without_chunks() {
    let server = TestServer::start().await;
    let id = server.place_any().await;
    server.connect(&format!("/ws/orders/{id}")).await.drain().await;
    let request = |version| {
        let head = format!("GET /api/orders/{id}/events HTTP/{version}\r\nHost: {}\r\n", server.host);
        format!("{head}Accept: text/event-stream\r\n\r\n")
    };
    let old = Wire::send(&server.host, &request("1.0")).await.rest().await;
    let (head, body) = old.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("chunked") && body.starts_with("retry: 1000\n"), "{old}");
    let new = Wire::send(&server.host, &request("1.1")).await.rest().await;
    assert!(new.contains("transfer-encoding: chunked") && new.ends_with("\r\n0\r\n\r\n"), "{new}");
    let head = Wire::send(&server.host, &request("1.1").replace("GET", "HEAD")).await.rest().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    while server.app.streams() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn server_sent_events_have_the_headers_that_proxies_need() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let accepting = async |accept: &str| {
        let request = server.http.get(server.url(&format!("/api/orders/{id}/events")));
        request.header("Accept", accept).send().await.unwrap()
    };
    let events = accepting("text/event-stream").await;
    let of_events = events.headers();
    assert_eq!(of_events["content-type"], "text/event-stream");
    assert_eq!(
        (&of_events["x-accel-buffering"], &of_events["cache-control"]),
        (&"no".parse().unwrap(), &"no-cache".parse().unwrap())
    );
    let json = accepting("text/event-stream;q=0, application/json").await;
    assert_eq!(json.headers()["content-type"], "application/json");
    for answer in [&events, &json] {
        let varies = answer
            .headers()
            .get_all("vary")
            .iter()
            .any(|by| by.to_str().unwrap().eq_ignore_ascii_case("accept"));
        assert!(varies, "{:?}", answer.headers());
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_told_within_two_seconds() {
    let hanging = Arc::new(Hanging::default());
    let server = TestServer::that_may_hang(hanging.clone()).await;
    let id = server.place_any().await;
    hanging.0.store(true, Ordering::Release);
    let http = &server.http;
    let events = format!("/api/orders/{id}/events");
    let requests = [
        http.get(server.url("/ready")),
        http.get(server.url("/api/orders")),
        http.get(server.url(&format!("/api/orders/status/{id}"))),
        http.get(server.url(&events)),
        http.get(server.url(&events)).header("Accept", "text/event-stream"),
        http.post(server.url(&format!("/api/orders/{id}/cancel"))),
    ];
    let begun = Instant::now();
    for answer in join_all(requests.map(reqwest::RequestBuilder::send)).await {
        let answer = answer.unwrap();
        let path = answer.url().path().to_owned();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"1".parse().unwrap()),
            "{path}"
        );
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (frames, code) = server.connect(&format!("/ws/orders/{id}")).await.drain().await;
    assert_eq!((code, &frames[0]["code"]), (1013, &"store-unavailable".into()));
    hanging.0.store(false, Ordering::Release);
    assert_eq!(status(&server, &events).await, 200);
}

#[tokio::test]
async fn every_answer_keeps_other_pages_out_and_files_are_sent_once() {
    let server = TestServer::idle().await;
    for path in ["/", "/operate", "/assets/trade.js", "/health", "/api/orders", "/nowhere"] {
        let headers = server.get(path).await.headers().clone();
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
        assert!(headers["permissions-policy"].to_str().unwrap().contains("camera=()"), "{path}");
    }
    for path in ["/", "/operate", "/assets/trade.js", "/assets/app.css", "/assets/icon.svg"] {
        let first = server.get(path).await;
        let tag = first.headers()["etag"].clone();
        let again = server.http.get(server.url(path)).header("If-None-Match", &tag).send().await.unwrap();
        assert_eq!((first.status().as_u16(), again.status().as_u16()), (200, 304), "{path}");
        assert_eq!(again.headers()["etag"], tag, "{path}");
        assert_eq!(again.bytes().await.unwrap().len(), 0, "{path}");
    }
}
