//! The live half of the wire contract: WebSocket and server-sent events.

mod common;

use common::{Client, TestServer, events_of, text};
use order_engine_server::Options;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Asserts that the events are those of an order that was confirmed in its first attempt.
#[track_caller]
fn assert_confirmed(events: &[Value]) {
    let shape: Vec<_> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), &event["progress"])).collect();
    let progress: Vec<u64> = events.iter().map(|event| event["progress"].as_u64().unwrap()).collect();
    assert!(progress.is_sorted(), "{progress:?}");
    for (expected, at) in [
        ("pending", 0),
        ("routing", 10),
        ("routing", 30),
        ("building", 50),
        ("building", 70),
        ("submitted", 75),
        ("confirmed", 100),
    ] {
        assert!(shape.contains(&(expected, &json!(at))), "{expected} {at} in {shape:?}");
    }
    for event in events {
        let has_begun = event["type"] != "pending";
        assert_eq!(event["attempt"].is_u64(), has_begun, "{event}");
        assert_eq!(event["maxAttempts"].is_u64(), has_begun, "{event}");
    }
    let last = events.last().unwrap();
    // The number has all digits of the text. A reader may round it to a float.
    let rounded: f64 = text(last, "executionPriceExact").parse().unwrap();
    assert_eq!(last["executionPrice"].as_f64().map(f64::to_bits), Some(rounded.to_bits()));
    assert!(!text(last, "txHash").is_empty());
}

#[tokio::test]
async fn orders_of_all_forms_are_confirmed_on_all_paths() {
    let server = TestServer::start().await;
    let bodies = [
        json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 1.5, "slippageBps": 100}),
        json!({"inputToken": "SOL", "outputToken": "USDC", "amount": "1.5", "slippage": 1, "orderType": "market", "userId": "u"}),
        json!({"tokenIn": "BTC", "tokenOut": "ETH", "amountBaseUnits": "1000000", "clientOrderId": "c", "ttlMs": 600_000}),
        json!({"tokenIn": "USDT", "tokenOut": "SOL", "amount": 25, "slippage": 0.5, "expiresAt": "2999-01-01T00:00:00Z"}),
    ];
    for body in bodies {
        let accepted = server.place(&body).await;
        let id = text(&accepted, "orderId");
        let ws_url = text(&accepted, "wsUrl");
        let urls = [
            ws_url,
            server.ws_url(&format!("/api/orders/status/{id}")),
            server.ws_url(&format!("/api/orders/execute?orderId={id}")),
        ];
        let mut histories = Vec::new();
        for url in urls {
            let (frames, code) = Client::connect(&url).await.drain().await;
            assert_eq!(code, 1000);
            let events = events_of(&frames, &id, 0);
            assert_confirmed(&events);
            histories.push(events);
        }
        assert_eq!(histories[0], histories[1]);
        assert_eq!(histories[0], histories[2]);
    }
}

#[tokio::test]
async fn history_comes_first_and_live_events_follow() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let mut client = server.connect(&format!("/ws/orders/{id}")).await;
    let mut frames = Vec::new();
    for _ in 0..3 {
        frames.push(client.next().await.unwrap());
    }
    assert_eq!(frames[1]["lastSeq"], 1);
    assert_eq!(frames[2]["type"], "pending");
    server.work();
    let (rest, code) = client.drain().await;
    frames.extend(rest);
    assert_eq!(code, 1000);
    assert_confirmed(&events_of(&frames, &id, 0));
}

#[tokio::test]
async fn a_client_resumes_where_it_stopped() {
    let server = TestServer::start().await;
    let id = server.place_any().await;
    let (frames, _) = server.connect(&format!("/ws/orders/{id}")).await.drain().await;
    let events = events_of(&frames, &id, 0);
    for after in 0..=events.len() {
        let (frames, code) = server.connect(&format!("/ws/orders/{id}?after={after}")).await.drain().await;
        assert_eq!(code, 1000);
        assert_eq!(events_of(&frames, &id, after as u64), events[after..]);
    }
    let refused =
        Client::try_connect(&server.ws_url(&format!("/ws/orders/{id}?after=x")), ("x-test", "1")).await;
    assert_eq!(refused.err(), Some(422));
}

#[tokio::test]
async fn an_unknown_order_gets_an_error_frame_and_a_close() {
    let server = TestServer::idle().await;
    for path in
        ["/ws/orders/0190163d-8694-739b-aea5-966c26f8ad91", "/ws/orders/nonsense", "/api/orders/execute"]
    {
        let (frames, code) = server.connect(path).await.drain().await;
        assert_eq!(code, 4404, "{path}");
        assert_eq!(frames.len(), 1);
        assert_eq!((&frames[0]["type"], &frames[0]["code"]), (&json!("error"), &json!("order-not-found")));
    }
}

#[tokio::test]
async fn a_failing_store_closes_a_stream_with_try_again() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    server.outage.set(true);
    let (frames, code) = server.connect(&format!("/ws/orders/{id}")).await.drain().await;
    assert_eq!((code, &frames[0]["code"]), (1013, &json!("store-unavailable")));
}

#[tokio::test]
async fn a_shutdown_closes_streams_and_then_ends() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let mut client = server.connect(&format!("/ws/orders/{id}")).await;
    client.next().await.unwrap();
    assert_eq!(server.app.streams(), 1);
    let stopping = server.begin_to_stop();
    let (_, code) = client.drain().await;
    assert_eq!(code, 1001);
    stopping.await.unwrap();
}

#[tokio::test]
async fn clients_that_send_too_much_are_closed() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let path = format!("/ws/orders/{id}");
    // The first message is larger than a session allows, the second is larger than the largest that is read.
    for bytes in [5 * 1024, 64 * 1024] {
        let mut client = server.connect(&path).await;
        client.send(Message::text("x".repeat(bytes))).await;
        assert_eq!(client.drain().await.1, 1009, "{bytes}");
    }
    let mut client = server.connect(&path).await;
    for _ in 0..30 {
        client.send(Message::text("hello")).await;
    }
    assert_eq!(client.drain().await.1, 1008);
}

#[tokio::test]
async fn streams_are_counted_limited_and_get_notices() {
    let options = Options { max_sockets: 3, max_sockets_per_order: 2, ..Options::default() };
    let server = TestServer::with(options).await;
    let (first, second) = (server.place_any().await, server.place_any().await);
    let url = |id: &str| server.ws_url(&format!("/ws/orders/{id}"));
    let mut clients = Vec::new();
    for id in [&first, &first, &second] {
        let mut client = Client::connect(&url(id)).await;
        // A stream that has sent its first event receives notices.
        for _ in 0..3 {
            client.next().await.unwrap();
        }
        clients.push(client);
    }
    assert_eq!((server.app.streams(), server.app.streams_of(first.parse().unwrap())), (3, 2));
    for id in [&first, &second] {
        assert_eq!(Client::try_connect(&url(id), ("x-test", "1")).await.err(), Some(503));
    }
    server.app.notify("Back in five minutes");
    for client in &mut clients {
        let notice = client.next().await.unwrap();
        assert_eq!((&notice["type"], &notice["message"]), (&json!("notice"), &json!("Back in five minutes")));
    }
}

#[tokio::test]
async fn pages_of_other_origins_get_no_stream() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let url = server.ws_url(&format!("/ws/orders/{id}"));
    assert_eq!(Client::try_connect(&url, ("origin", "https://evil.example")).await.err(), Some(403));
    assert!(Client::try_connect(&url, ("origin", &server.url(""))).await.is_ok());
}

/// Returns the id and the data of each server-sent event.
fn parse_events(body: &str) -> Vec<(Option<u64>, Value)> {
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    body.split("\n\n")
        .filter_map(|event| {
            let data = serde_json::from_str(&field(event, "data:")?).unwrap();
            Some((field(event, "id:").map(|id| id.parse().unwrap()), data))
        })
        .collect()
}

#[tokio::test]
async fn server_sent_events_carry_the_same_frames_and_resume() {
    let server = TestServer::start().await;
    let id = server.place_any().await;
    let (frames, _) = server.connect(&format!("/ws/orders/{id}")).await.drain().await;
    let history = events_of(&frames, &id, 0);
    let stream = |last_event_id: Option<u64>| {
        let url = server.url(&format!("/api/orders/{id}/events?after=0"));
        let mut request = server.http.get(url).header("Accept", "text/event-stream");
        if let Some(last) = last_event_id {
            request = request.header("Last-Event-ID", last);
        }
        request.send()
    };
    let response = stream(None).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = parse_events(&response.text().await.unwrap());
    let data: Vec<Value> = events.iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(events_of(&data, &id, 0), history);
    assert!(events[2..].iter().all(|(id, data)| data["seq"].as_u64() == *id && id.is_some()));

    let resumed = parse_events(&stream(Some(3)).await.unwrap().text().await.unwrap());
    let data: Vec<Value> = resumed.into_iter().map(|(_, data)| data).collect();
    assert_eq!(events_of(&data, &id, 3), history[3..]);

    // No event will follow, so the browser must not reconnect.
    assert_eq!(stream(Some(history.len() as u64)).await.unwrap().status(), 204);
}

#[tokio::test]
async fn server_sent_events_end_with_the_server() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let request = server.http.get(server.url(&format!("/api/orders/{id}/events")));
    let mut response = request.header("Accept", "text/event-stream").send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    assert_eq!(server.app.streams(), 1);
    let stopping = server.begin_to_stop();
    while response.chunk().await.unwrap().is_some() {}
    stopping.await.unwrap();
}
